"""More stories of the link: clients that leave or wait too long, requests that stream, backpressure, misuse of ASGI."""

import asyncio
from collections.abc import AsyncIterator

import httpx

from harness.sim.asgi import Receive, Scope, Send
from tests.sim.link_stories import BROKEN, BROKEN_CHUNKED, NO_ANSWER, App, Caller, Log, body, head, pause, story, told

# Clients that leave


def _told_of_leaving(*, after: str) -> App:
    async def app(scope: Scope, receive: Receive, send: Send, log: Log) -> None:
        log(told(await receive()))
        if after != "nothing":
            await head(send)
        if after == "some":
            await body(send, "some", more=True)
        log(told(await receive()))
        await body(send, "to nobody", more=True) if after != "nothing" else await head(send)
        await body(send)
        log(told(await receive()))
        await pause()
        log("app: was not cancelled")

    return app


async def _cancels(caller: Caller) -> None:
    task = asyncio.create_task(caller.open())
    await pause()
    caller.log("client: cancels")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _closes_unread(caller: Caller) -> None:
    response = await caller.open()
    await pause()
    caller.log("client: closes")
    await response.aclose()


async def _closes_midway(caller: Caller) -> None:
    response = await caller.open()
    chunks = response.aiter_raw()
    caller.log(f"client: read {(await anext(chunks)).decode()}")
    await pause()
    caller.log("client: closes")
    await response.aclose()


async def _is_cancelled_midway(caller: Caller) -> None:
    response = await caller.open()
    task = asyncio.create_task(caller.read(response))
    await pause()
    caller.log("client: cancels")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


_LEFT = ("app: got http.disconnect", "app: got http.disconnect", "app: was not cancelled")
_HEAD = "client: 200 OK transfer-encoding=chunked"
story(
    "a client is cancelled before the head",
    _told_of_leaving(after="nothing"),
    "app: got ''",
    "client: cancels",
    *_LEFT,
    client=_cancels,
)
story(
    "a client closes after the head",
    _told_of_leaving(after="head"),
    "app: got ''",
    _HEAD,
    "client: closes",
    *_LEFT,
    client=_closes_unread,
)
story(
    "a client closes in the middle",
    _told_of_leaving(after="some"),
    "app: got ''",
    _HEAD,
    "client: read some",
    "client: closes",
    *_LEFT,
    client=_closes_midway,
)
story(
    "a client is cancelled in the middle",
    _told_of_leaving(after="some"),
    "app: got ''",
    _HEAD,
    "client: read some",
    "client: cancels",
    *_LEFT,
    client=_is_cancelled_midway,
)


async def _impatient(caller: Caller) -> None:
    await caller.get(read_s=0.1)


story(
    "a read timeout before the head",
    _told_of_leaving(after="nothing"),
    "app: got ''",
    "client: ReadTimeout",
    *_LEFT,
    client=_impatient,
)
story(
    "a read timeout in the middle",
    _told_of_leaving(after="some"),
    "app: got ''",
    _HEAD,
    "client: read some",
    "client: ReadTimeout",
    *_LEFT,
    client=_impatient,
)


async def _steady(scope: Scope, receive: Receive, send: Send, log: Log) -> None:
    await head(send)
    for number in range(5):
        await pause()
        await body(send, str(number), more=True)
    await body(send)


story(
    "a read timeout is for each read",
    _steady,
    _HEAD,
    *[f"client: read {number}" for number in range(5)],
    "client: end",
    client=_impatient,
)


async def _listens_while_it_sends(scope: Scope, receive: Receive, send: Send, log: Log) -> None:
    await receive()
    listener = asyncio.create_task(_tell_next(receive, log))
    await head(send)
    await body(send, "some", more=True)
    await pause()
    await body(send, "rest")
    await listener
    log(told(await receive()))


async def _tell_next(receive: Receive, log: Log) -> None:
    event = await receive()
    await pause()
    log(told(event))


story(
    "who listens for a disconnect hears of the answer's end",
    _listens_while_it_sends,
    _HEAD,
    "client: read some",
    "client: read rest",
    "client: end",
    "app: got http.disconnect",
    "app: got http.disconnect",
)

# Requests with bodies


async def _reads_all(scope: Scope, receive: Receive, send: Send, log: Log) -> None:
    while True:
        event = await receive()
        log(told(event))
        if not event.get("more_body"):
            break
    await head(send, ("content-length", "0"))
    await body(send)


async def _posts(caller: Caller) -> None:
    await caller.get(method="POST", content=b"all of it")


async def _streams(caller: Caller) -> None:
    async def content() -> AsyncIterator[bytes]:
        for piece in (b"one", b"", b"two"):
            yield piece
            await pause()

    await caller.get(method="POST", content=content())


story(
    "a body comes whole",
    _reads_all,
    "app: got 'all of it'",
    "client: 200 OK content-length=0",
    "client: end",
    client=_posts,
)
story(
    "a streamed body comes in pieces",
    _reads_all,
    "app: got 'one' more",
    "app: got 'two' more",
    "app: got ''",
    "client: 200 OK content-length=0",
    "client: end",
    client=_streams,
)


async def _fails_to_stream(caller: Caller) -> None:
    async def content() -> AsyncIterator[bytes]:
        yield b"one"
        await pause()
        raise ValueError("the client's own")

    try:
        await caller.get(method="POST", content=content())
    except ValueError as error:
        caller.log(f"client: {error}")


async def _reads_until_told(scope: Scope, receive: Receive, send: Send, log: Log) -> None:
    for _ in range(2):
        log(told(await receive()))


story(
    "a body that fails half-way is a disconnect",
    _reads_until_told,
    "app: got 'one' more",
    "client: the client's own",
    "app: got http.disconnect",
    client=_fails_to_stream,
)


async def _refuses_unread(scope: Scope, receive: Receive, send: Send, log: Log) -> None:
    await head(send, ("content-length", "9"), status=403)
    await body(send, "forbidden")
    log(told(await receive()))


async def _posts_much(caller: Caller) -> None:
    async def content() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield b"x" * 100_000

    await caller.get(method="POST", content=content())


story(
    "an answer before the body was read, which is thrown away",
    _refuses_unread,
    "app: got http.disconnect",
    "client: 403 Forbidden content-length=9",
    "client: read forbidden",
    "client: end",
    client=_posts_much,
)


async def _stops_reading(scope: Scope, receive: Receive, send: Send, log: Log) -> None:
    event = await receive()
    log(f"app: got some, more: {event['more_body']}")
    await asyncio.sleep(0.3)
    while event["type"] == "http.request":
        event = await receive()
    log(told(event))


async def _cannot_write(caller: Caller) -> None:
    async def content() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b"x" * 100_000

    await caller.get(method="POST", content=content(), write_s=0.1)


story(
    "a write timeout",
    _stops_reading,
    "app: got some, more: True",
    "client: WriteTimeout",
    "app: got http.disconnect",
    client=_cannot_write,
)


async def _breaks_midway(scope: Scope, receive: Receive, send: Send, log: Log) -> None:
    await receive()
    scope["extensions"]["harness.connection"].reset()
    for _ in range(3):
        await pause()
    log(told(await receive()))


async def _posts_slowly(caller: Caller) -> None:
    async def content() -> AsyncIterator[bytes]:
        for _ in range(4):
            yield b"x"
            await pause()

    await caller.get(method="POST", content=content())


story(
    "a reset while the client writes",
    _breaks_midway,
    "client: ReadError",
    "app: got http.disconnect",
    client=_posts_slowly,
)


async def _echoes_while_reading(scope: Scope, receive: Receive, send: Send, log: Log) -> None:
    log(told(await receive()))
    await head(send)
    await body(send, "early", more=True)
    log(told(await receive()))
    await body(send, "late")


async def _two_pieces(caller: Caller) -> None:
    async def content() -> AsyncIterator[bytes]:
        for piece in (b"one", b"two"):
            yield piece
            await pause()

    await caller.get(method="POST", content=content())


story(
    "an answer that begins while the request is being written",
    _echoes_while_reading,
    "app: got 'one' more",
    "app: got 'two' more",
    _HEAD,
    "client: read early",
    "client: read late",
    "client: end",
    client=_two_pieces,
)

# Backpressure


async def _floods(scope: Scope, receive: Receive, send: Send, log: Log) -> None:
    await head(send)
    for _ in range(400):
        await body(send, "x" * 100_000, more=True)
    log("app: sent all")
    await body(send)


async def _reads_late(caller: Caller) -> None:
    response = await caller.open()
    for _ in range(5):
        await pause()
    caller.log("client: reads")
    size = 0
    async for chunk in response.aiter_raw():
        size += len(chunk)
    await pause()
    caller.log(f"client: {size}")


async def _never_reads(caller: Caller) -> None:
    response = await caller.open()
    for _ in range(5):
        await pause()
    caller.log("client: closes")
    await response.aclose()


story(
    "a sender waits for a reader",
    _floods,
    _HEAD,
    "client: reads",
    "app: sent all",
    "client: 40000000",
    client=_reads_late,
)
story(
    "a waiting sender goes on when the reader leaves",
    _floods,
    _HEAD,
    "client: closes",
    "app: sent all",
    client=_never_reads,
)

# Misuse


async def _sends_too_much(scope: Scope, receive: Receive, send: Send, log: Log) -> None:
    await head(send, ("content-length", "10"))
    await body(send, "1234567", more=True)
    await pause()
    try:
        await body(send, "8901")
    except RuntimeError as error:
        log(f"app: {error}")
        raise


story(
    "more than was announced",
    _sends_too_much,
    "client: 200 OK content-length=10",
    "client: read 1234567",
    "app: Response content longer than Content-Length",
    f"{BROKEN} (received 7 bytes, expected 10)",
)


async def _sends_too_little(scope: Scope, receive: Receive, send: Send, log: Log) -> None:
    await head(send, ("content-length", "10"))
    try:
        await body(send, "123")
    except RuntimeError as error:
        log(f"app: {error}")
        await pause()
        raise


story(
    "less than was announced",
    _sends_too_little,
    "app: Response content shorter than Content-Length",
    "client: 200 OK content-length=10",
    "client: read 123",
    f"{BROKEN} (received 3 bytes, expected 10)",
)


async def _sends_twice(scope: Scope, receive: Receive, send: Send, log: Log) -> None:
    await head(send)
    await body(send, "all")
    await pause()
    try:
        await body(send, "more")
    except RuntimeError as error:
        log(f"app: {error}")


story(
    "a body after the end",
    _sends_twice,
    _HEAD,
    "client: read all",
    "client: end",
    "app: Unexpected ASGI message 'http.response.body' sent, after response already completed.",
)


async def _reads_no_more(caller: Caller) -> None:
    response = await caller.open()
    await response.aclose()


story(
    "a body after the end to a client that left",
    _sends_twice,
    _HEAD,
    "app: Unexpected ASGI message 'http.response.body' sent, after response already completed.",
    client=_reads_no_more,
)


async def _starts_twice(scope: Scope, receive: Receive, send: Send, log: Log) -> None:
    await head(send)
    await pause()
    try:
        await head(send)
    except RuntimeError as error:
        log(f"app: {error}")
        raise


story(
    "two heads",
    _starts_twice,
    _HEAD,
    "app: Expected ASGI message 'http.response.body', but got 'http.response.start'.",
    BROKEN_CHUNKED,
)


async def _illegal_value(scope: Scope, receive: Receive, send: Send, log: Log) -> None:
    try:
        await head(send, ("x-evil", "a\r\nset-cookie: b"))
    except RuntimeError as error:
        log(f"app: {error}")
        raise


async def _illegal_name(scope: Scope, receive: Receive, send: Send, log: Log) -> None:
    try:
        await head(send, ("x evil", "a"))
    except RuntimeError as error:
        log(f"app: {error}")
        raise


async def _illegal_status(scope: Scope, receive: Receive, send: Send, log: Log) -> None:
    await head(send, status=999)


story("a header value with a line break", _illegal_value, "app: Invalid HTTP header value.", NO_ANSWER)
story("a header name with a space", _illegal_name, "app: Invalid HTTP header name.", NO_ANSWER)
story("a status out of range", _illegal_status, NO_ANSWER)


async def _returns_something(scope: Scope, receive: Receive, send: Send, log: Log) -> int:
    await head(send, ("content-length", "2"))
    await body(send, "ok")
    return 1


story(
    "an application that returns something",
    _returns_something,
    "client: 200 OK content-length=2",
    "client: read ok",
    "client: end",
)


async def _bad_request_header(caller: Caller) -> None:
    for value in ("a\nb", " a", "a ", "a\0b"):
        try:
            await caller.open(headers={"x-own": value})
        except httpx.LocalProtocolError:
            continue


async def _never_called(scope: Scope, receive: Receive, send: Send, log: Log) -> None:
    log("app: must not be called")


story(
    "request headers that are not sent",
    _never_called,
    *[f"client: LocalProtocolError Illegal header value {value!r}" for value in (b"a\nb", b" a", b"a ", b"a\0b")],
    client=_bad_request_header,
    reaches_the_app=False,
)
