"""A caller driven by hand against an ASGI application, on a loop whose clock jumps; for the tests of the mocks."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from mock_upstreams.reading import read_answer, sse_events

CHAT = "openai/v1/chat/completions"
RESPONSES = "openai/v1/responses"
MESSAGES = "anthropic/v1/messages"
COUNT = "anthropic/v1/messages/count_tokens"
IMAGES = "openai/v1/images/generations"
PATHS = {"chat": CHAT, "responses": RESPONSES, "messages": MESSAGES, "count_tokens": COUNT, "images": IMAGES}
BILLED = ("chat", "responses", "messages")
"""The billed surfaces that stream."""
KEY = (b"authorization", b"Bearer sk-upstream")


class JumpingLoop(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to the next timer; it raises where nothing could ever happen again."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 100.0

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        timers: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]
        while timers and timers[0].cancelled():
            heapq.heappop(timers)._scheduled = False  # type: ignore[attr-defined]
        if not self._ready:  # type: ignore[attr-defined]
            assert timers, "deadlock: nothing is ready and no timer is set"
            self._now = max(self._now, timers[0].when())
        super()._run_once()  # type: ignore[misc]


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run ``work`` to its end in virtual time, and see to it that no task and no timer is left behind."""
    loop = JumpingLoop()
    try:
        result = loop.run_until_complete(work)
        loop.run_until_complete(asyncio.sleep(0))
        loop.run_until_complete(asyncio.sleep(0))
        left = [task for task in asyncio.all_tasks(loop) if not task.done()]
        assert not left, f"tasks left behind: {left}"
        timers = [timer for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
        assert not timers, f"timers left behind: {timers}"
        return result
    finally:
        loop.close()


@dataclass
class Link:
    """What a caller sees of one exchange, each message with its time; also the connection that may be broken."""

    started: float
    messages: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    broken: str = ""
    push: Callable[[bytes], bool] | None = None
    when_left: Callable[[Callable[[], object]], object] | None = None

    def reset(self) -> None:
        self.broken = "reset"

    def cut(self) -> None:
        self.broken = "cut"

    @property
    def status(self) -> int | None:
        return self.messages[0][1]["status"] if self.messages else None

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.messages[0][1]["headers"]}

    @property
    def chunks(self) -> list[bytes]:
        return [m["body"] for _, m in self.messages if m["type"] == "http.response.body" and m["body"]]

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def events(self) -> list[Any]:
        return [orjson.loads(data) for _, data in sse_events(self.body) if data != "[DONE]"]

    @property
    def ended(self) -> bool:
        """Whether the answer ended cleanly."""
        return bool(self.messages) and self.messages[-1][1].get("more_body") is False

    @property
    def times(self) -> list[float]:
        """When each message came, in seconds since the request."""
        return [round(at - self.started, 6) for at, _ in self.messages]

    def reading(self, surface: str) -> dict[str, Any]:
        return read_answer(surface, self.headers.get("content-type", ""), self.body)


async def ask(
    app: Any,
    path: str,
    body: Any = b"",
    *,
    method: str = "POST",
    headers: tuple[tuple[bytes, bytes], ...] = (KEY,),
    leave_after: float | None = None,
    pieces: int = 1,
    breakable: bool = True,
    slow: Callable[[], Any] | None = None,
    takes: Callable[[bytes], bool] | None = None,
    tells: bool = False,
) -> Link:
    """Send one request and gather what comes of it; the caller may leave after a while.

    ``slow`` is awaited in each send: a transport that is full. ``takes`` says of each piece that is pushed whether the
    connection takes it; without it nothing can be pushed. ``tells`` says that the connection tells of departures.
    """
    loop = asyncio.get_running_loop()
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    link = Link(loop.time())
    gone = loop.create_future()
    step = max(1, -(-len(raw) // pieces))
    parts = [raw[at : at + step] for at in range(0, len(raw), step)] or [b""]
    pending = [{"type": "http.request", "body": p, "more_body": n < len(parts) - 1} for n, p in enumerate(parts)]

    def leave() -> None:
        if not gone.done():
            gone.set_result(None)

    async def receive() -> dict[str, Any]:
        if pending:
            return pending.pop(0)
        await asyncio.shield(gone)
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if slow is not None:
            await slow()
        if gone.done():
            return
        link.messages.append((loop.time(), message))
        if message["type"] == "http.response.body" and not message.get("more_body"):
            leave()  # after a whole answer a server says the same as after a departure

    def push(data: bytes) -> bool:
        assert takes is not None
        if taken := takes(data):
            link.messages.append((loop.time(), {"type": "http.response.body", "body": data, "more_body": True}))
        return taken

    if takes is not None:
        link.push = push
    if tells:
        link.when_left = lambda told: gone.add_done_callback(lambda _: None if link.ended else told())
    scope = {"type": "http", "method": method, "path": path, "headers": list(headers), "query_string": b""}
    if breakable:
        scope["extensions"] = {"harness.connection": link}
    timer = loop.call_later(leave_after, leave) if leave_after is not None else None
    await app(scope, receive, send)
    if timer is not None:
        timer.cancel()
    return link


def request(
    surface: str, directives: str = "", *, call: str = "c1", stream: bool = False, **more: Any
) -> dict[str, Any]:
    """Return a request body of ``surface`` whose prompt carries a marker."""
    text = f"[call:{call}{' ' + directives if directives else ''}] say something"
    turns = [{"role": "user", "content": text}]
    if surface == "chat":
        body: dict[str, Any] = {"model": "gpt-x", "messages": turns}
        if stream:
            body["stream_options"] = {"include_usage": True}
    elif surface == "responses":
        body = {"model": "gpt-x", "input": text}
    elif surface == "images":
        body = {"model": "gpt-image-x", "prompt": text}
    else:
        body = {"model": "claude-x", "messages": turns}
        if surface == "messages":
            body["max_tokens"] = 1024
    if stream:
        body["stream"] = True
    return {**body, **more}


async def start(app: Any, run: str = "r", **settings: Any) -> Link:
    """Start a run whose zero is now."""
    zero_s = asyncio.get_running_loop().time()
    return await ask(app, f"/control/{run}/start", {"zero_s": zero_s, "seed": 1, **settings}, headers=())


async def journal(app: Any, run: str = "r") -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the attempts and the faults of a run's journal."""
    link = await ask(app, f"/control/{run}/journal", method="GET", headers=())
    spans = [orjson.loads(line) for line in link.body.splitlines()]
    return [s for s in spans if s["span"] == "attempt"], [s for s in spans if s["span"] == "fault"]


def injection(
    fault: str, role: str = "primary", params: Mapping[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    """Return an injection as the harness posts it."""
    return {"role": role, "fault": {"name": fault, "params": dict(params or {})}, **more}
