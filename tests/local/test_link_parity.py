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
from harness.sim import Link, Network, SimTransport, run
from harness.sim.asgi import Receive, Scope, Send
from mock_upstreams.joined import JoiningProtocol
from tests.sim.link_stories import STORIES, Caller, Log, Story
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


class Joining(Protocol, JoiningProtocol):
    """The one that the mocks and the reference gateway are served with."""


class Sockets:
    """One loop with one uvicorn in it, which serves the story that is being told."""

    def __init__(self, new_loop: Callable[[], asyncio.AbstractEventLoop], protocol: type[Protocol]) -> None:
        self.runner = asyncio.Runner(loop_factory=new_loop)
        self.story: Story | None = None
        self.log: list[str] = []
        self.ended = asyncio.Event()
        config = uvicorn.Config(self.app, interface="asgi3", http=protocol, log_config=None, access_log=False)
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
        async with httpx.AsyncHTTPTransport(
            verify=False
        ) as transport:  # authorities take long to load, and none is asked
            base = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
            await story.client(Caller(transport, base, self.log.append))
            if story.reaches_the_app:
                await asyncio.wait_for(self.ended.wait(), 10)
        return self.log

    def close(self) -> None:
        self.runner.run(self.server.shutdown(sockets=[self.listener]))
        self.runner.close()


@pytest.fixture(
    scope="module",
    params=[(asyncio.new_event_loop, Protocol), (uvloop.new_event_loop, Protocol), (uvloop.new_event_loop, Joining)],
    ids=["asyncio", "uvloop", "joining"],
)
def sockets(request: pytest.FixtureRequest) -> Iterator[Sockets]:
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
    served = Sockets(*request.param)
    yield served
    served.close()


class Errors:
    """What a client gets from those who do not let it in."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self.transport = transport

    async def of(self, url: str) -> list[str]:
        request = httpx.Request("GET", url, extensions={"timeout": {"connect": 0.3}})
        try:
            await self.transport.handle_async_request(request)
        except httpx.TransportError as error:
            causes: list[BaseException] = [error]
            while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
                causes.append(cause)
            last = causes[-1]
            kind = type(last).__name__ if isinstance(last, OSError) else ""
            return [type(error).__name__, str(error).split(" (_ssl")[0], kind]
        return []


async def _errors_on_sockets(port: int) -> list[list[str]]:
    with socket.socket() as refusing, socket.socket() as hanging:
        refusing.bind(("127.0.0.1", 0))
        hanging.bind(("127.0.0.1", 0))
        hanging.listen(0)
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(hanging.getsockname())
        async with httpx.AsyncHTTPTransport(verify=False) as transport:
            errors = Errors(transport)
            told = [
                await errors.of(f"http://127.0.0.1:{refusing.getsockname()[1]}/"),
                await errors.of(f"https://127.0.0.1:{port}/"),
                (await errors.of(f"http://127.0.0.1:{hanging.getsockname()[1]}/"))[:2],
                await errors.of(f"ftp://127.0.0.1:{port}/"),
            ]
        for one in waiting:
            one.close()
        return told


async def _errors_on_the_link() -> list[list[str]]:
    network = Network()
    network.serve("refusing", _nothing, state="refusing")
    network.serve("tls", _nothing, state="tls_failing")
    network.serve("hanging", _nothing, state="hanging")
    errors = Errors(SimTransport(network, "client"))
    return [
        await errors.of("http://refusing/"),
        await errors.of("https://tls/"),
        (await errors.of("http://hanging/"))[:2],
        await errors.of("ftp://tls/"),
    ]


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None: ...


def test_the_errors_of_connecting_are_the_same(sockets: Sockets) -> None:
    port = sockets.listener.getsockname()[1]
    assert sockets.runner.run(_errors_on_sockets(port)) == run(_errors_on_the_link())


def test_the_scope_is_the_same(sockets: Sockets) -> None:
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send, log: Log) -> None:
        scopes.append(scope)
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    async def client(caller: Caller) -> None:
        headers = [("Host", "example.test"), ("X-Upper", "Value"), ("x-twice", "1"), ("x-twice", "2")]
        await caller.get("/a%20b/%C3%BC//?x=%20y&z", method="POST", headers=headers, content=b"{}")
        await caller.get("", method="DELETE", headers=headers[:1])

    story = Story("the scope", app, client)
    sockets.runner.run(sockets.tell(story))
    run(tell(story, Link()))
    assert len(scopes) == 4
    for scope in scopes:
        assert list(scope.pop("extensions")) == ["harness.connection"]
        assert [address[0] for address in (scope.pop("client"), scope.pop("server"))] == ["127.0.0.1"] * 2
    assert scopes[:2] == scopes[2:]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_a_story_is_the_same_on_sockets_and_on_the_link(story: Story, sockets: Sockets) -> None:
    assert sockets.runner.run(sockets.tell(story)) == run(tell(story, Link()))
