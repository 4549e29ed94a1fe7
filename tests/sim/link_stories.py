"""What a client and an application do to each other, and what both see: told over the link and over real sockets.

A story's two sides write one log; pauses separate what the sides do by turns, so that its order is the same each time.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from harness.sim.asgi import Receive, Scope, Send

PAUSE_S = 0.03
Log = Callable[[str], None]
App = Callable[[Scope, Receive, Send, Log], Awaitable[object]]


class Caller:
    """The client of a story: opens requests on a transport and tells what it reads."""

    def __init__(self, transport: httpx.AsyncBaseTransport, base: str, log: Log) -> None:
        self.transport = transport
        self.base = base
        self.log = log

    async def open(
        self,
        path: str = "/",
        *,
        method: str = "GET",
        read_s: float | None = 5,
        write_s: float | None = 5,
        **options: Any,
    ) -> httpx.Response:
        """Send a request, tell the head or the error, and return the answer; an error is raised."""
        timeout = {"connect": 5.0, "read": read_s, "write": write_s, "pool": 5.0}
        request = httpx.Request(method, self.base + path, extensions={"timeout": timeout}, **options)
        try:
            response = await self.transport.handle_async_request(request)
        except httpx.TransportError as error:
            self.log(f"client: {type(error).__name__} {error}".rstrip())
            raise
        framing = [name for name in ("content-length", "transfer-encoding", "connection") if name in response.headers]
        told = " ".join(f"{name}={response.headers[name]}" for name in framing)
        self.log(f"client: {response.status_code} {response.extensions['reason_phrase'].decode()} {told}".rstrip())
        return response

    async def read(self, response: httpx.Response) -> None:
        """Read the body to its end and tell each read."""
        try:
            async for chunk in response.aiter_raw():
                self.log(f"client: read {chunk.decode()}")
            self.log("client: end")
        except httpx.TransportError as error:
            self.log(f"client: {type(error).__name__} {error}".rstrip())

    async def get(self, path: str = "/", **options: Any) -> None:
        """Open and read."""
        try:
            response = await self.open(path, **options)
        except httpx.TransportError:
            return
        await self.read(response)


Client = Callable[[Caller], Awaitable[None]]


@dataclass(frozen=True)
class Story:
    """Two sides and what their log must say."""

    name: str
    app: App
    client: Client
    log: list[str] = field(default_factory=list)
    reaches_the_app: bool = True


STORIES: list[Story] = []


def story(name: str, app: App, *log: str, client: Client | None = None, reaches_the_app: bool = True) -> None:
    """Add a story; by default its client gets ``/`` and reads the answer."""
    STORIES.append(Story(name, app, client if client is not None else _gets, list(log), reaches_the_app))


async def pause() -> None:
    """Let the other side act."""
    await asyncio.sleep(PAUSE_S)


async def _gets(caller: Caller) -> None:
    await caller.get()


async def head(send: Send, *headers: tuple[str, str], status: int = 200) -> None:
    """Send the start of an answer."""
    pairs = [(name.encode(), value.encode()) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": pairs})


async def body(send: Send, content: str = "", *, more: bool = False) -> None:
    """Send a piece of the body."""
    await send({"type": "http.response.body", "body": content.encode(), "more_body": more})


def told(event: Any) -> str:
    """Return what an event says, in one line."""
    if event["type"] == "http.request":
        return f"app: got {event['body'].decode()!r}{' more' if event['more_body'] else ''}"
    return f"app: got {event['type']}"


# Answers


async def _chunked(scope: Scope, receive: Receive, send: Send, log: Log) -> None:
    await head(send)
    await body(send, "one", more=True)
    await body(send, "", more=True)
    await pause()
    await body(send, "two", more=True)
    await body(send)


story(
    "a chunked answer",
    _chunked,
    "client: 200 OK transfer-encoding=chunked",
    "client: read one",
    "client: read two",
    "client: end",
)


async def _counted(scope: Scope, receive: Receive, send: Send, log: Log) -> None:
    await receive()
    await head(send, ("content-length", "6"))
    await body(send, "one", more=True)
    await body(send, "two", more=True)
    try:
        async with asyncio.timeout(3 * PAUSE_S):
            log(told(await receive()))
    except TimeoutError:
        log("app: nobody left")
    await body(send)


story(
    "a counted answer ends with its last byte and merges what arrived together",
    _counted,
    "client: 200 OK content-length=6",
    "client: read onetwo",
    "client: end",
    "app: nobody left",
)


def _breaks_when_all_is_sent(how: str) -> App:
    async def app(scope: Scope, receive: Receive, send: Send, log: Log) -> None:
        await head(send, ("content-length", "3"))
        await body(send, "all", more=True)
        await pause()
        connection = scope["extensions"]["harness.connection"]
        connection.reset() if how == "reset" else connection.cut()

    return app


async def _gets_late(caller: Caller) -> None:
    response = await caller.open()
    for _ in range(3):
        await pause()
    await caller.read(response)


for _how in ("cut", "reset"):
    story(
        f"a {_how} after the last counted byte, which is read later",
        _breaks_when_all_is_sent(_how),
        "client: 200 OK content-length=3",
        "client: read all",
        "client: end",
        client=_gets_late,
    )


async def _head_first(scope: Scope, receive: Receive, send: Send, log: Log) -> None:
    await head(send)
    await pause()
    log("app: now the body")
    await body(send, "late")


story(
    "the head goes out at once",
    _head_first,
    "client: 200 OK transfer-encoding=chunked",
    "app: now the body",
    "client: read late",
    "client: end",
)


async def _empty(scope: Scope, receive: Receive, send: Send, log: Log) -> None:
    await head(send, ("content-length", "0"))
    await body(send)


story("an empty answer", _empty, "client: 200 OK content-length=0", "client: end")


async def _no_content(scope: Scope, receive: Receive, send: Send, log: Log) -> None:
    await head(send, status=204)
    await body(send)


story("a 204 has no body", _no_content, "client: 204 No Content", "client: end")


async def _not_modified(scope: Scope, receive: Receive, send: Send, log: Log) -> None:
    await head(send, ("etag", "x"), status=304)
    await body(send)


story("a 304 has no body", _not_modified, "client: 304 Not Modified", "client: end")


async def _asks_head(caller: Caller) -> None:
    await caller.get(method="HEAD")


async def _for_head(scope: Scope, receive: Receive, send: Send, log: Log) -> None:
    await head(send, ("content-length", "5"))
    await body(send, "12345")


story("a HEAD gets no body", _for_head, "client: 200 OK content-length=5", "client: end", client=_asks_head)
story("a HEAD of a chunked answer", _chunked, "client: 200 OK", "client: end", client=_asks_head)


async def _bodiless_for_head(scope: Scope, receive: Receive, send: Send, log: Log) -> None:
    await head(send, ("content-length", "5"))
    await pause()
    await body(send)
    log("app: may send none")


story(
    "a HEAD needs no body",
    _bodiless_for_head,
    "client: 200 OK content-length=5",
    "client: end",
    "app: may send none",
    client=_asks_head,
)


async def _closes(scope: Scope, receive: Receive, send: Send, log: Log) -> None:
    await head(send, ("content-length", "2"), ("Connection", "Close"))
    await body(send, "ok")


story(
    "an answer that closes the connection",
    _closes,
    "client: 200 OK content-length=2 connection=Close",
    "client: read ok",
    "client: end",
)


async def _asks_to_close(caller: Caller) -> None:
    await caller.get(headers={"connection": "close"})


story(
    "a request that closes the connection",
    _empty,
    "client: 200 OK content-length=0 connection=close",
    "client: end",
    client=_asks_to_close,
)


async def _large(scope: Scope, receive: Receive, send: Send, log: Log) -> None:
    await head(send)
    await body(send, "x" * 200_000)


async def _reads_large(caller: Caller) -> None:
    response = await caller.open()
    sizes = [len(chunk) async for chunk in response.aiter_raw()]
    caller.log(f"client: {sum(sizes)} bytes, no read above 64 kB: {max(sizes) <= 65_536}")


story(
    "a large chunk is read in pieces",
    _large,
    "client: 200 OK transfer-encoding=chunked",
    "client: 200000 bytes, no read above 64 kB: True",
    client=_reads_large,
)

# Applications that break

BROKEN = "client: RemoteProtocolError peer closed connection without sending complete message body"
BROKEN_CHUNKED = f"{BROKEN} (incomplete chunked read)"
NO_ANSWER = "client: RemoteProtocolError Server disconnected without sending a response."
_500 = (
    "client: 500 Internal Server Error content-length=21 connection=close",
    "client: read Internal Server Error",
    "client: end",
)


async def _crash_first(scope: Scope, receive: Receive, send: Send, log: Log) -> None:
    raise ValueError("before the head")


story("a crash before the head is a 500", _crash_first, *_500)


async def _cancelled_error(scope: Scope, receive: Receive, send: Send, log: Log) -> None:
    raise asyncio.CancelledError


story("a stray CancelledError before the head is a 500", _cancelled_error, *_500)


async def _no_answer(scope: Scope, receive: Receive, send: Send, log: Log) -> None:
    return


story("no answer is a 500", _no_answer, *_500)


async def _body_first(scope: Scope, receive: Receive, send: Send, log: Log) -> None:
    await body(send, "body first")


story("a body before the head is a 500", _body_first, *_500)


def _breaking(how: str, *, counted: bool, after: str, then_pause: bool) -> App:
    async def app(scope: Scope, receive: Receive, send: Send, log: Log) -> object:
        if after != "nothing":
            await head(send, *([("content-length", "10")] if counted else []))
        if after == "some":
            await body(send, "some", more=True)
        if then_pause:
            await pause()
        if how == "crash":
            raise ValueError(after)
        if how == "return":
            return None
        connection = scope["extensions"]["harness.connection"]
        await asyncio.sleep(0)  # what was written reaches the socket when the loop turns
        connection.reset() if how == "reset" else connection.cut()
        await pause()
        log(told(await receive()))
        await body(send, "after the break", more=True)
        log("app: goes on")
        return None

    return app


def _break_told(how: str, *, counted: bool, after: str) -> list[str]:
    framing = "content-length=10" if counted else "transfer-encoding=chunked"
    seen = [] if after == "nothing" else [f"client: 200 OK {framing}"]
    if after == "some":
        seen.append("client: read some")
    broken = f"{BROKEN} (received {4 if after == 'some' else 0} bytes, expected 10)" if counted else BROKEN_CHUNKED
    if after == "nothing":
        broken = NO_ANSWER
    seen.append("client: ReadError" if how == "reset" else broken)
    return [*seen, "app: got http.disconnect", "app: goes on"] if how in ("cut", "reset") else seen


for _how in ("crash", "return", "cut", "reset"):
    for _after in ("nothing", "head", "some"):
        if _after == "nothing" and _how in ("crash", "return"):
            continue
        for _counted_too in (False, True) if _after != "nothing" else (False,):
            story(
                f"{_how} after {_after}, {'counted' if _counted_too else 'chunked'}",
                _breaking(_how, counted=_counted_too, after=_after, then_pause=True),
                *_break_told(_how, counted=_counted_too, after=_after),
            )
