"""The stories of the link told over real sockets: uvicorn and stock httpx do what the simulated link does."""

import asyncio
import logging
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

import tests.sim.link_stories_more  # noqa: F401 - adds its stories
from harness.sim import Link, run
from harness.sim.asgi import Receive, Scope, Send
from tests.sim.link_stories import STORIES, Caller, Story
from tests.sim.test_sim_stories import tell

pytestmark = pytest.mark.local


class Connection:
    """The seam between an application and the socket that carries it."""

    def __init__(self, protocol: HttpToolsProtocol) -> None:
        self.protocol = protocol

    def reset(self) -> None:
        self.protocol.cycle.disconnected = True
        peer = self.protocol.transport.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.protocol.transport.abort()

    def cut(self) -> None:
        self.protocol.cycle.disconnected = True
        self.protocol.transport.close()


class Protocol(HttpToolsProtocol):
    def on_headers_complete(self) -> None:
        extensions: dict[Any, Any] = {"harness.connection": Connection(self)}
        self.scope["extensions"] = extensions
        super().on_headers_complete()


class Sockets:
    """One loop with one uvicorn in it, which serves the story that is being told."""

    def __init__(self, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        self.runner = asyncio.Runner(loop_factory=new_loop)
        self.story: Story | None = None
        self.log: list[str] = []
        self.ended = asyncio.Event()
        config = uvicorn.Config(self.app, interface="asgi3", http=Protocol, log_config=None, access_log=False)
        config.load()
        self.server = uvicorn.Server(config)
        self.server.lifespan = config.lifespan_class(config)
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.runner.run(self.server.startup(sockets=[self.listener]))

    async def app(self, scope: Scope, receive: Receive, send: Send) -> object:
        if scope["type"] == "lifespan":
            raise NotImplementedError
        assert self.story is not None
        try:
            return await self.story.app(scope, receive, send, self.log.append)
        finally:
            self.ended.set()

    async def tell(self, story: Story) -> list[str]:
        self.story, self.log = story, []
        self.ended.clear()
        async with httpx.AsyncHTTPTransport() as transport:
            base = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
            await story.client(Caller(transport, base, self.log.append))
            if story.reaches_the_app:
                await asyncio.wait_for(self.ended.wait(), 10)
        return self.log

    def close(self) -> None:
        self.runner.run(self.server.shutdown(sockets=[self.listener]))
        self.runner.close()


@pytest.fixture(scope="module", params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def sockets(request: pytest.FixtureRequest) -> Iterator[Sockets]:
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
    served = Sockets(request.param)
    yield served
    served.close()


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_a_story_is_the_same_on_sockets_and_on_the_link(story: Story, sockets: Sockets) -> None:
    assert sockets.runner.run(sockets.tell(story)) == run(tell(story, Link()))
