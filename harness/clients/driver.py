"""Performs one call over an httpx transport and tells what the caller saw; it judges nothing and records no secret.

The transport is called directly: no pool of its own, no cookies, no redirects. It must raise ``httpx.HTTPError`` or
``OSError`` when a connection fails. What became of a call, first match wins:

========  ==============================================================================================
aborted   the client left, by the call's plan, before the answer's end was read
open      the call was still going on after ``limit_s``
cut       no answer came at all
refused   status 4xx or 503
error     any other status above 299; an error object in the body; an error event in the stream
ok        a whole body or a terminal event, every event readable, and the clean end of the framing
cut       the rest: the transport broke, or the answer ended cleanly without being whole
========  ==============================================================================================
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress
from functools import lru_cache
from operator import attrgetter
from typing import Any

import httpx
import orjson

from harness.clients.reader import Reader
from harness.clients.request import Request
from harness.clients.surfaces import reader_for
from harness.history import CallOutcome, Reading
from harness.scenario import Call

CHUNKS_KEPT = 512
"""How many instants of arrival one span keeps; its detail tells how many more there were."""
BLOT = "[credential]"
"""What stands in a span where the answer gave the caller's credential back."""
_SECRET_MIN = 8
"""Credentials shorter than this are a scenario's nonsense, and likely to be part of honest text."""
_BROKEN = (httpx.HTTPError, OSError, EOFError)
_NO_TIMEOUTS = {"timeout": {"connect": None, "read": None, "write": None, "pool": None}}
_DROPPED = frozenset({"connection", "content-length", "date", "keep-alive", "server", "transfer-encoding"})
_READING = tuple(Reading.__dataclass_fields__)
_reading_values = attrgetter(*_READING)


async def drive(
    call: Call,
    request: Request,
    transport: httpx.AsyncBaseTransport,
    base_url: str,
    clock_us: Callable[[], int],
    *,
    key: str = "",
    limit_s: float,
    bodies: bool = False,
) -> tuple[dict[str, Any], bytes, bytes]:
    """Perform ``call`` and return the fields of its span, the body sent and the body received.

    The client leaves after ``abort_ms`` or ``abort_chunks``, and after ``limit_s`` in any case. The body sent is
    returned with ``bodies`` alone; the one received always, as it came, so that it can be searched for secrets.
    Only a cancellation from outside is raised.
    """
    prepared = _prepared(request, base_url, call.upload_ms / 1e3)
    exchange = _Exchange(call, clock_us)
    aborts = call.abort_ms is not None and call.abort_ms / 1e3 <= limit_s
    patience_s = call.abort_ms / 1e3 if aborts and call.abort_ms is not None else limit_s
    sent = clock_us()
    try:
        async with asyncio.timeout(patience_s):
            await exchange.perform(prepared, transport)
    except TimeoutError:
        exchange.left = "aborted" if aborts else "open"
    span = exchange.span(key, sent)
    answer = b"".join(exchange.raw)
    span["answer_bytes"] = len(answer)
    span["request_bytes"] = len(request.body)
    return _blotted(span, request.credentials), request.body if bodies else b"", answer


class _Exchange:
    """One request and what came of it, filled as it happens."""

    __slots__ = (
        "broke", "call", "chunks", "clock_us", "end", "first_byte", "headers", "left", "raw", "reader", "status",
    )  # fmt: skip

    def __init__(self, call: Call, clock_us: Callable[[], int]) -> None:
        self.call = call
        self.clock_us = clock_us
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.reader = Reader()
        self.first_byte: int | None = None
        self.end: int | None = None
        self.chunks: list[int] = []
        self.raw: list[bytes] = []
        self.broke = ""
        self.left: CallOutcome | None = None

    async def perform(self, request: httpx.Request, transport: httpx.AsyncBaseTransport) -> None:
        """Send the request and read the answer to its end, whatever end that is."""
        try:
            response = await transport.handle_async_request(request)
        except _BROKEN as error:
            self.broke = f"{type(error).__name__} before the head"
            return
        self.first_byte = self.clock_us()
        self.status = response.status_code
        self.headers = _kept(response.headers)
        self.reader = reader_for(
            self.call.surface, self.headers.get("content-type", ""), head_only=request.method == "HEAD"
        )
        encoding = self.headers.get("content-encoding", "identity")
        if encoding != "identity":
            self.reader.notes.append(f"content-encoding {encoding}, and identity was asked for")
        assert isinstance(response.stream, httpx.AsyncByteStream)
        chunks = aiter(response.stream)  # as it came: httpx's own decoding costs more than all the rest of a chunk
        try:
            await self._read(chunks)
        except _BROKEN as error:
            self.broke = f"{type(error).__name__} after {len(self.raw)} chunks"
        finally:
            self.end = self.clock_us()
            with suppress(*_BROKEN):
                if isinstance(chunks, AsyncGenerator):
                    await chunks.aclose()
                await response.aclose()

    async def _read(self, chunks: AsyncIterator[bytes]) -> None:
        clock_us, feed, raw, instants = self.clock_us, self.reader.feed, self.raw, self.chunks
        last, pause_s = self.call.abort_chunks, self.call.read_pause_ms / 1e3
        if last == 0:
            self.left = "aborted"
            return
        async for chunk in chunks:
            if not chunk:
                continue
            now = clock_us()
            raw.append(chunk)
            if len(instants) < CHUNKS_KEPT:
                instants.append(now)
            feed(chunk, now)
            if len(raw) == last:
                self.left = "aborted"
                return
            if pause_s:
                await asyncio.sleep(pause_s)

    def span(self, key: str, sent: int) -> dict[str, Any]:
        """Finish the reading and return the fields of the call's span."""
        call, reader = self.call, self.reader
        reading = reader.finish(clean=not self.broke and self.left is None)
        return {
            "id": call.id,
            "account": call.account,
            "key": key,
            "surface": call.surface,
            "model": call.model,
            "stream": call.stream,
            "sent": sent,
            "first_byte": self.first_byte,
            "first_content": reader.first_content,
            "end": self.end if self.end is not None else self.clock_us(),
            "outcome": self._outcome(reading),
            "status": self.status,
            "headers": self.headers,
            "reading": dict(zip(_READING, _reading_values(reading), strict=True)),
            "chunks": self.chunks,
            "pings": reader.pings,
            "claims": reader.claims,
            "request_sha": "",
            "answer_sha": "",
            "answer_bytes": 0,
            "detail": self._detail(),
        }

    def _outcome(self, reading: Reading) -> CallOutcome:
        if self.left is not None:
            return self.left
        if self.status is None:
            return "cut"
        if self.status == 503 or 400 <= self.status < 500:
            return "refused"
        if self.status >= 300 or self.reader.failed:
            return "error"
        return "ok" if reading.terminal and not self.broke and not self.reader.malformed else "cut"

    def _detail(self) -> str:
        notes = [self.broke, *self.reader.notes] if self.broke else self.reader.notes
        beyond = len(self.raw) - len(self.chunks)
        if beyond:
            notes = [*notes, f"{beyond} more chunks"]
        return "; ".join(notes)


def _prepared(request: Request, base_url: str, upload_s: float) -> httpx.Request:
    """Return ``request`` as httpx has it, the costly parts (URL, header lists) made the short way."""
    url = _url(f"{base_url}{request.path}?{request.query}" if request.query else base_url + request.path)
    headers = [(name.encode(), value.encode()) for name, value in request.headers]
    given = {name.lower() for name, _ in headers}
    if b"host" not in given:
        headers.insert(0, (b"host", url.netloc))
    if b"content-length" not in given and (request.body or request.method not in ("GET", "HEAD")):
        headers.append((b"content-length", b"%d" % len(request.body)))
    stream = _SlowUpload(request.body, upload_s) if upload_s else httpx.ByteStream(request.body)
    prepared = httpx.Request(request.method, url, headers=headers, stream=stream, extensions=_NO_TIMEOUTS)
    if not upload_s:
        prepared.read()
    return prepared


class _SlowUpload(httpx.AsyncByteStream):
    """A body whose second half goes out ``pause_s`` after its first; no generator, so nothing is left to be closed."""

    def __init__(self, body: bytes, pause_s: float) -> None:
        half = len(body) // 2
        self._pieces = [body[half:], body[:half]]
        self._pause_s = pause_s

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self._pieces:
            raise StopAsyncIteration
        if len(self._pieces) == 1:
            await asyncio.sleep(self._pause_s)
        return self._pieces.pop()


@lru_cache(maxsize=1024)
def _url(text: str) -> httpx.URL:
    return httpx.URL(text)


def _kept(headers: httpx.Headers) -> dict[str, str]:
    """Return the headers by lower-case name, without those of framing and date; repeated ones joined by commas."""
    kept: dict[str, str] = {}
    for raw_name, raw_value in headers.raw:
        name, value = _name(raw_name), raw_value.decode("latin-1")
        if name not in _DROPPED:
            kept[name] = f"{kept[name]}, {value}" if name in kept else value
    return kept


@lru_cache(maxsize=1024)
def _name(raw: bytes) -> str:
    return raw.decode("latin-1").lower()


def _blotted(span: dict[str, Any], credentials: tuple[str, ...]) -> dict[str, Any]:
    """Return ``span`` with every credential in it replaced, and without what is nested too deeply to be written.

    Where one was replaced the claims say ``leaked``: for header values nobody else can tell any more.
    """
    try:
        text = orjson.dumps(span)
    except TypeError:
        span["reading"]["usage"], span["reading"]["tools"], span["claims"] = None, [], {}
        text = orjson.dumps(span)
    seen = [secret for secret in credentials if len(secret) >= _SECRET_MIN and _quoted(secret) in text]
    if not seen:
        return span
    for secret in sorted(seen, key=len, reverse=True):
        text = text.replace(_quoted(secret), BLOT.encode())
    blotted: dict[str, Any] = orjson.loads(text)
    blotted["claims"]["leaked"] = True
    blotted["detail"] = "; ".join(filter(None, (blotted["detail"], "the answer held the caller's credential")))
    return blotted


def _quoted(secret: str) -> bytes:
    return orjson.dumps(secret)[1:-1]
