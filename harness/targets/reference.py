"""The reference gateway as a target: in process on simulated time, or as a child process on loopback."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import orjson
import uvicorn

from harness.contract import ContractError, contract_from_json, contract_to_json
from harness.target import ASGIApp, Bookmark, Mode, Mutate, Running, TargetError, Wiring, pages_of
from harness.targets.process import serving_process
from harness.targets.promised import Promised
from harness.targets.registry import Spec, target
from mock_upstreams.joined import JoiningProtocol

GATEWAY = "harness.gateway.app"
DEPLOYMENT = "harness.gateway.deployment"
STORES = "harness.gateway.memory_store"
SQLITE = "harness.gateway.sqlite_store"
ENTROPY = "harness.gateway.entropy"
TRANSPORT = "harness.gateway.transport"
_COMMIT_MS = (0.2, 1.5)
"""The simulated store's commit takes a keyed time in this band: one that never waits would hide the interleavings."""
_COMMITS = 997
"""So many delays are drawn, and come again at other calls: a draw for each commit would cost more than the commit."""


@target("reference", modes=("sim", "local"), use="harness run, harness run --mode local")
class Reference(Promised):
    """The reference gateway of this project, complete for what it claims."""

    modes: tuple[Mode, ...] = ("sim", "local")
    ours = True

    def __init__(self, spec: Spec | None = None) -> None:
        super().__init__(spec or {"name": "reference"})

    @asynccontextmanager
    async def start(self, wiring: Wiring) -> AsyncIterator[Running]:
        """Start it in process (sim) or as a child (local). Raises TargetError if it does not come up."""
        token = hashlib.sha256(f"{wiring.seed}/books".encode()).hexdigest()
        if wiring.mode == "sim":
            running = await _in_process(wiring, token)
            yield running
        else:
            async with _as_child(wiring, token) as running:
                yield running


def deployment(wiring: Wiring, token: str) -> dict[str, Any]:
    """Return what the gateway is given besides the contract: digests of keys, never a customer's secret."""
    return {
        "accounts": [
            {
                "id": account.id,
                "credits": account.credits,
                "keys": [
                    {
                        "id": key.id,
                        "sha256": hashlib.sha256(wiring.secrets[key.id].encode()).hexdigest(),
                        "state": key.state,
                    }
                    for key in account.all_keys()
                ],
            }
            for account in wiring.world.accounts
        ],
        "upstreams": {
            role: {"openai": address.openai, "anthropic": address.anthropic, "credential": address.credential}
            for role, address in wiring.upstreams.items()
        },
        "books_token_sha256": hashlib.sha256(token.encode()).hexdigest(),
        "zero_s": wiring.zero_s,
        "epoch_s": wiring.epoch_s,
    }


def problems_of(*, contract: Mapping[str, Any] | None = None, deployment: Mapping[str, Any] | None = None) -> list[str]:
    """Return what is wrong with a contract and a deployment that a gateway shall be served with, as far as given."""
    problems: list[str] = []
    try:
        if contract is not None:
            contract_from_json(contract)
    except ContractError as error:
        problems += error.problems
    try:
        if deployment is not None:
            importlib.import_module(DEPLOYMENT).Deployment.from_json(deployment)
    except ValueError as error:
        problems += [f"deployment: {line.strip()}" for line in str(error).splitlines()[1:]]
    return problems


async def _in_process(wiring: Wiring, token: str) -> Running:
    gateway = importlib.import_module(GATEWAY)
    stores = importlib.import_module(STORES)
    entropy = importlib.import_module(ENTROPY)
    keyed = entropy.KeyedEntropy(wiring.seed)
    low, high = _COMMIT_MS
    delay_s = cache(lambda n: (low + (high - low) * keyed.uniform("commit", n)) / 1e3)
    store = stores.MemoryStore(lambda n: delay_s(n % _COMMITS))
    starts = 0

    async def start() -> ASGIApp:
        nonlocal starts
        starts += 1
        components = gateway.start(
            wiring.contract,
            deployment(wiring, token),
            store=store,
            entropy=entropy.KeyedEntropy(f"{wiring.seed}/{starts}"),
            transport=wiring.transport,
            mutate=wiring.mutate,
            log=wiring.log,
        )
        app: ASGIApp = gateway.create_app(components)
        return app

    def crash(after_appends: int | None, crashed: Callable[[], None]) -> Callable[[], None]:
        if after_appends is None:
            store.crash()
            crashed()
        else:
            store.crash_inside(after_appends, crashed)
        call_off: Callable[[], None] = store.crash_no_more
        return call_off

    return Running(
        app=await start(),
        books=_books_reader(token),
        crash=crash,
        restart=start,
        fail_store=store.fail,
        crashed=crashed_in,
        taps=("books", "log"),
    )


@asynccontextmanager
async def _as_child(wiring: Wiring, token: str) -> AsyncIterator[Running]:
    config = orjson.dumps({"contract": contract_to_json(wiring.contract), "deployment": deployment(wiring, token)})
    async with serving_process(config, mutant=wiring.mutant, log=wiring.log) as process:
        yield Running(
            base_url=process.base_url,
            books=_books_reader(token),
            alive=process.alive,
            process=process,
            crashed=crashed_in,
            taps=("books", "log"),
        )


def crashed_in(line: str) -> str:
    """Return the error and the place that a line of the gateway's log tells of a crash inside it, or nothing."""
    if not line.startswith('{"crash"'):
        return ""
    told = orjson.loads(line)
    return f"{told['crash']} at {', '.join(told['at'][-1:]) or 'an unknown place'}"


def _books_reader(token: str) -> Callable[[httpx.AsyncBaseTransport, str, Bookmark], AsyncGenerator[bytes, None]]:
    async def read(transport: httpx.AsyncBaseTransport, base_url: str, mark: Bookmark) -> AsyncGenerator[bytes, None]:
        request = httpx.Request(
            "GET",
            f"{base_url}/internal/books?after={mark.at}",
            headers={"authorization": f"Bearer {token}"},
            extensions={"timeout": {"connect": 10.0, "read": 60.0, "write": 10.0, "pool": 10.0}},
        )
        try:
            response = await transport.handle_async_request(request)
            try:
                if response.status_code != 200:
                    raise TargetError("the gateway's books could not be read", cause=f"status {response.status_code}")
                assert isinstance(response.stream, httpx.AsyncByteStream)
                async with aclosing(pages_of(response.stream)) as pages:
                    async for page in pages:
                        yield page
                mark.at = int(response.headers["x-books-upto"])
            finally:
                await response.aclose()
        except httpx.TransportError as error:
            raise TargetError("the gateway's books could not be read", cause=repr(error)) from error

    return read


class _Server(uvicorn.Server):
    """uvicorn that leaves the process's signals to its caller, and says when it is up."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does, then tell."""
        await super().startup(sockets)
        self.up.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serve(
    contract: Mapping[str, Any],
    settings: Mapping[str, Any],
    *,
    database: Path,
    mutate: Mutate | None,
    host: str,
    port: int,
    transport: httpx.AsyncBaseTransport | None = None,
) -> AsyncIterator[str]:
    """Serve the gateway on a socket with a SQLite ledger at ``database``, and yield its address.

    ``transport`` answers for the upstreams in place of sockets.

    Raises OSError for a port that is taken, ValueError for a deployment or a database that cannot be used.
    """
    gateway = importlib.import_module(GATEWAY)
    entropy = importlib.import_module(ENTROPY)
    store = importlib.import_module(SQLITE).SqliteStore(database)
    upstreams: httpx.AsyncBaseTransport = transport or importlib.import_module(TRANSPORT).SocketTransport()
    async with AsyncExitStack() as held:
        held.push_async_callback(store.close)
        held.push_async_callback(upstreams.aclose)
        components = gateway.start(
            contract, settings, store=store, entropy=entropy.SystemEntropy(), transport=upstreams, mutate=mutate
        )
        await components.start()  # not by the server, which would end without telling what is wrong with the books
        listener = socket.create_server((host, port), backlog=2048)
        config = uvicorn.Config(
            gateway.create_app(components),
            http=JoiningProtocol,
            lifespan="on",
            access_log=False,
            proxy_headers=False,
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        server = _Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            up = asyncio.create_task(server.up.wait())
            await asyncio.wait((serving, up), return_when=asyncio.FIRST_COMPLETED)
            up.cancel()
            if serving.done() or not server.started:
                raise OSError("the gateway's server ended while it started")
            bound_host, bound_port = listener.getsockname()[:2]
            yield f"http://{bound_host}:{bound_port}"
        finally:
            server.should_exit = True
            await serving
