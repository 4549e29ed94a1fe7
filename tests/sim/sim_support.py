"""Small applications and requests for tests of the simulated network."""

import asyncio

import httpx

from harness.sim import ASGIApp, SimTransport, VirtualLoop
from harness.sim.asgi import Receive, Scope, Send

SECOND = 1_000_000


def now_us() -> int:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop.now_us


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with what was sent."""
    body = b""
    while True:
        event = await receive()
        body += event["body"]
        if not event["more_body"]:
            break
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


def ticking(*, times: int, every_s: float) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(times):
            await asyncio.sleep(every_s)
            await send({"type": "http.response.body", "body": b"%d" % number, "more_body": True})
        await send({"type": "http.response.body"})

    return app


def request(
    url: str = "http://server/", method: str = "POST", content: object = b"", **timeouts: float
) -> httpx.Request:
    return httpx.Request(method, url, content=content, extensions={"timeout": timeouts})  # type: ignore[arg-type]


async def call(transport: SimTransport, sent: httpx.Request | None = None) -> bytes:
    response = await transport.handle_async_request(sent if sent is not None else request())
    return await response.aread()
