"""Performs one call over an httpx transport and tells what the caller saw; it judges and records nothing.

The transport is called directly: no pool of its own, no cookies, no redirects. It must raise ``httpx.HTTPError`` or
``OSError`` when a connection fails. What became of a call is told in ``exchange``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from functools import lru_cache

import httpx

from harness.clients.exchange import Exchange
from harness.clients.request import Request
from harness.scenario import Call

_BROKEN = (httpx.HTTPError, OSError, EOFError)
_NO_TIMEOUTS = {"timeout": {"connect": None, "read": None, "write": None, "pool": None}}


async def drive(
    call: Call,
    request: Request,
    transport: httpx.AsyncBaseTransport,
    base_url: str,
    clock_us: Callable[[], int],
    *,
    limit_s: float,
) -> Exchange:
    """Perform ``call`` and return what came of it.

    The client leaves after ``abort_ms`` or ``abort_chunks``, and after ``limit_s`` in any case. Only a cancellation
    from outside is raised.
    """
    prepared = _prepared(request, base_url, call.upload_ms / 1e3)
    exchange = Exchange(call, clock_us)
    aborts = call.abort_ms is not None and call.abort_ms / 1e3 <= limit_s
    patience_s = call.abort_ms / 1e3 if aborts and call.abort_ms is not None else limit_s
    try:
        with _Patience(patience_s):
            await _perform(exchange, prepared, transport)
    except TimeoutError:
        exchange.left = "aborted" if aborts else "open"
    return exchange


class _Patience:
    """What ``asyncio.timeout`` is, without its two coroutines for each call."""

    __slots__ = ("_cancelling", "_over", "_task", "_timer")

    def __init__(self, patience_s: float) -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._over = False
        self._timer = loop.call_later(patience_s, self._end) if patience_s > 0 else loop.call_soon(self._end)

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        self._timer.cancel()
        if self._over and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def _end(self) -> None:
        self._task.cancel()
        self._over = True


async def _perform(exchange: Exchange, request: httpx.Request, transport: httpx.AsyncBaseTransport) -> None:
    """Send the request and read the answer to its end, whatever end that is."""
    try:
        response = await transport.handle_async_request(request)
    except _BROKEN as error:
        exchange.broke = f"{type(error).__name__} before the head"
        return
    exchange.head(response.status_code, response.headers.raw, head_only=request.method == "HEAD")
    assert isinstance(response.stream, httpx.AsyncByteStream)
    stream: object = response.stream
    chunks = aiter(response.stream)  # as it came: httpx's own decoding costs more than all the rest of a chunk
    call, raw = exchange.call, exchange.raw
    last, pause_s = call.abort_chunks, call.read_pause_ms / 1e3
    try:
        if last == 0:
            exchange.left = "aborted"
            return
        async for chunk in chunks:
            if not chunk:
                continue
            exchange.chunk(chunk)
            if len(raw) == last:
                exchange.left = "aborted"
                return
            if pause_s:
                await asyncio.sleep(pause_s)
    except _BROKEN as error:
        exchange.broke = f"{type(error).__name__} after {len(exchange.raw)} chunks"
    finally:
        exchange.end = exchange.clock_us()
        try:
            if chunks is not stream and isinstance(chunks, AsyncGenerator):
                await chunks.aclose()
            await response.aclose()
        except _BROKEN:
            pass


def _prepared(request: Request, base_url: str, upload_s: float) -> httpx.Request:
    """Return ``request`` as httpx has it."""
    url, netloc = _url(f"{base_url}{request.path}?{request.query}" if request.query else base_url + request.path)
    headers = [(b"host", b"host", netloc)]
    given: set[bytes] = set()
    for name, value in request.headers:
        raw_name, lower_name = _named(name)
        headers.append((raw_name, lower_name, value.encode()))
        given.add(lower_name)
    if b"host" in given:
        del headers[0]
    if b"content-length" not in given and (request.body or request.method not in ("GET", "HEAD")):
        headers.append((b"content-length", b"content-length", b"%d" % len(request.body)))
    stream = _SlowUpload(request.body, upload_s) if upload_s else httpx.ByteStream(request.body)
    return _Prepared(request.method, url, _Headers(headers), stream)


class _Prepared(httpx.Request):
    """A request as httpx has it, without the copies that it would make of what is made for this request alone."""

    def __init__(self, method: str, url: httpx.URL, headers: httpx.Headers, stream: httpx.AsyncByteStream) -> None:
        self.method = method.upper()
        self.url = url
        self.headers = headers
        self.stream = stream
        self.extensions = dict(_NO_TIMEOUTS)


class _Headers(httpx.Headers):
    """Headers that are bytes already, as httpx holds them: it would look at each again, at the cost of a parser."""

    def __init__(self, triples: list[tuple[bytes, bytes, bytes]]) -> None:
        self._list = triples
        self._encoding = None


@lru_cache(maxsize=1024)
def _named(name: str) -> tuple[bytes, bytes]:
    """Return a header's name as it was given, and in lower case."""
    return name.encode(), name.lower().encode()


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
def _url(text: str) -> tuple[httpx.URL, bytes]:
    url = httpx.URL(text)
    return url, url.netloc
