"""Faults that answer something else: error statuses, empty and foreign bodies, errors inside a 200, broken JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from email.utils import formatdate
from random import Random
from typing import Any, Literal

from mock_upstreams.faults.points import (
    Chunks,
    Content,
    Images,
    Seconds,
    Share,
    Status,
    after,
    broken,
    dialect_of,
    edited,
    headed,
    measured,
)
from mock_upstreams.faults.registry import fault
from mock_upstreams.parts import Chunk, Part, Reply, Start
from mock_upstreams.providers.base import EVENT_STREAM, JSON, Problem, answer_of

HTML = b"<!DOCTYPE html><html><head><title>%d</title></head><body><h1>Upstream is having a bad day</h1></body></html>"


@fault(replaces=True)
def respond(
    reply: Reply,
    rng: Random,
    *,
    status: Status,
    retry_after_s: Seconds | None = None,
    message: str | None = None,
    body: Literal["provider", "html", "text", "empty"] = "provider",
    dated: bool = False,
    after_s: Seconds = 0.0,
) -> Iterator[Part]:
    """Answer with that status, at once, in the provider's own shape and with its rate-limit headers.

    ``dated``: Retry-After is an HTTP date, one to three seconds later than ``retry_after_s`` (it has whole seconds).
    """
    yield from after(after_s)
    problem = Problem(status, message or "")
    if body == "provider":
        for part in dialect_of(reply).error(reply.exchange, problem, retry_after_s):
            if dated and retry_after_s is not None and isinstance(part, Start):
                at_s = answer_of(reply.exchange).created + 2 + math.ceil(after_s + retry_after_s)
                part = headed(part, retry_after=formatdate(at_s, usegmt=True).encode(), retry_after_ms=None)
            yield part
        return
    headers = dialect_of(reply).error_headers(reply.exchange, problem, retry_after_s)
    kind, content = {
        "html": (b"text/html; charset=utf-8", HTML % status),
        "text": (b"text/plain; charset=utf-8", (message or "upstream error").encode()),
        "empty": (b"application/json", b""),
    }[body]
    yield Start(status, ((b"content-type", kind), (b"content-length", b"%d" % len(content)), *headers))
    if content:
        yield Chunk(content)


@fault(replaces=True)
def empty_200(reply: Reply, rng: Random, *, after_s: Seconds = 0.0) -> Iterator[Part]:
    """Answer 200 with an empty body under the right content type."""
    yield from after(after_s)
    kind = EVENT_STREAM if reply.exchange.stream else JSON
    yield Start(200, (kind, (b"content-length", b"0"), *dialect_of(reply).headers(reply.exchange)))


@fault(replaces=True)
def html_200(reply: Reply, rng: Random, *, after_s: Seconds = 0.0) -> Iterator[Part]:
    """Answer 200 with an HTML page, as a proxy in between would."""
    yield from after(after_s)
    page = HTML % 200
    yield Start(200, ((b"content-type", b"text/html; charset=utf-8"), (b"content-length", b"%d" % len(page))))
    yield Chunk(page)


@fault(replaces=True)
def error_in_200(
    reply: Reply, rng: Random, *, status: Status = 500, message: str | None = None, after_s: Seconds = 0.0
) -> Iterator[Part]:
    """Answer 200 with the error object of that status; a stream has it as its first and only event."""
    yield from after(after_s)
    dialect, exchange = dialect_of(reply), reply.exchange
    problem = Problem(status, message or "")
    if exchange.stream:
        yield Start(200, (EVENT_STREAM, *dialect.headers(exchange)))
        yield dialect.error_event(exchange, problem)
        return
    start, chunk = dialect.error(exchange, problem)
    assert isinstance(start, Start)
    yield Start(200, start.headers)
    yield chunk


@fault(on="stream")
def stream_error(
    reply: Reply,
    rng: Random,
    *,
    status: Status = 529,
    message: str | None = None,
    chunks: Chunks | None = None,
    content: Content | None = None,
    form: Literal["error", "failed"] = "error",
) -> Iterator[Part]:
    """Break a stream off with the provider's error event for that status (responses: also as ``response.failed``)."""
    before, _ = broken(reply, chunks, content)
    yield from (headed(part, content_length=None) if isinstance(part, Start) else part for part in before)
    problem = Problem(status, message or "")
    yield dialect_of(reply).error_event(reply.exchange, problem, failed=form == "failed")


@fault(on="whole")
def json_cut_short(
    reply: Reply, rng: Random, *, share: Share = 0.5, length: Literal["told", "untold"] = "told"
) -> Iterator[Part]:
    """End the body cleanly within its JSON; ``told``: the content length is that of what was sent."""
    cut = [
        Chunk(part.data[: max(1, int(len(part.data) * share))]) if isinstance(part, Chunk) else part for part in reply
    ]
    if length == "told":
        yield from measured(cut)
    else:
        yield from (headed(part, content_length=None) if isinstance(part, Start) else part for part in cut)


@fault
def wrong_content_type(reply: Reply, rng: Random, *, content_type: str = "text/html; charset=utf-8") -> Iterator[Part]:
    """Send the right body under a wrong content type."""
    for part in reply:
        yield headed(part, content_type=content_type.encode()) if isinstance(part, Start) else part


@fault(on="whole", surfaces=("chat", "messages", "responses"), lawful=True, replaces=True)
def sse_although_unstreamed(reply: Reply, rng: Random) -> Iterator[Part]:
    """Answer with the provider's event stream although ``stream`` is false, usage included."""
    exchange = reply.exchange
    asked = {**exchange.body, "stream": True, "stream_options": {"include_usage": True}}
    streamed = replace(exchange, stream=True, body=asked)
    yield from dialect_of(reply).stream(streamed, answer_of(exchange))


@fault(on="whole", surfaces=("images",), lawful=True)
def fewer_images(reply: Reply, rng: Random, *, count: Images) -> Iterator[Part]:
    """Answer with that many images, where more were asked for; usage stays as it was."""

    def shortened(chunk: Chunk, value: Any) -> Any:
        return {**value, "data": value["data"][:count]} if isinstance(value, dict) and "data" in value else value

    yield from edited(reply, shortened)


@fault(on="stream", replaces=True)
def json_although_streamed(reply: Reply, rng: Random) -> Iterator[Part]:
    """Answer with one JSON object although ``stream`` is true."""
    yield from dialect_of(reply).whole(reply.exchange, answer_of(reply.exchange))
