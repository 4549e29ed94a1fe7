"""The gateway as an ASGI app: makes a fresh set of components, and wires paths to them; it serves nothing itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

import httpx
import orjson

from harness.contract import Contract
from harness.contract.loader import contract_from_json
from harness.gateway.admission import Admission
from harness.gateway.asgi import ASGIApp, Client, Headers, Receive, Scope, Send
from harness.gateway.books import Books
from harness.gateway.breaker import Breaker
from harness.gateway.call import Endpoint, EndpointTier
from harness.gateway.cli_gate import CliGate
from harness.gateway.clock import Clock
from harness.gateway.components import Components
from harness.gateway.deployment import Deployment
from harness.gateway.entropy import Entropy
from harness.gateway.error_writer import ErrorWriter
from harness.gateway.errors import Refusal
from harness.gateway.failures import FailureClassifier
from harness.gateway.governor import Governor
from harness.gateway.headers import JSON, HeaderWriter
from harness.gateway.insurer import Insurer
from harness.gateway.keys import Identity, KeyRing
from harness.gateway.ledger import Ledger
from harness.gateway.log import LogWriter, Sink, to_stderr
from harness.gateway.models import Catalogue
from harness.gateway.pipeline import Pipeline
from harness.gateway.prices import PriceList
from harness.gateway.reader import RequestReader
from harness.gateway.redact import Redactor
from harness.gateway.relay import Relay
from harness.gateway.replays import Replays
from harness.gateway.router import Router
from harness.gateway.settlement import Settler
from harness.gateway.store import Store
from harness.gateway.surfaces import all_surfaces
from harness.gateway.upstream import UpstreamRequests
from harness.gateway.usage_log import UsageLog
from harness.gateway.user_rate import UserRate

BOOKS_UPTO = b"x-books-upto"
"""Tells up to which of the store's records the books were read: who asks for those after it goes on from there."""
_BEARER = frozenset({b"authorization"})
_ANTHROPIC = _BEARER | {b"x-api-key"}
_MANAGED_MESSAGES = _ANTHROPIC | {b"anthropic-api-key"}


def start(
    contract: Contract | Mapping[str, Any],
    deployment_json: Mapping[str, Any],
    *,
    store: Store,
    entropy: Entropy,
    transport: httpx.AsyncBaseTransport,
    mutate: Callable[[Components], Components] | None = None,
    log: Sink | None = None,
) -> Components:
    """Return the components of a gateway, one of them made wrong by ``mutate`` if it is given.

    The contract may be one or its JSON data; the deployment is JSON data.

    Raises ContractError, ValueError (deployment) and StoreError, each with every problem it found.
    """
    if not isinstance(contract, Contract):
        contract = contract_from_json(contract)
    deployment = Deployment.from_json(deployment_json)
    parts = build(contract, deployment, store=store, entropy=entropy, transport=transport, log=log)
    return parts if mutate is None else mutate(parts)


def build(
    contract: Contract,
    deployment: Deployment,
    *,
    store: Store,
    entropy: Entropy,
    transport: httpx.AsyncBaseTransport,
    log: Sink | None = None,
) -> Components:
    """Return a fresh set of components. Raises ValueError if the contract's chains name a role that is not deployed."""
    roles = {target.role for model in contract.models for target in model.chain}
    missing = sorted(roles - deployment.upstreams.keys())
    if missing:
        raise ValueError(f"the deployment has no upstream for {', '.join(missing)}, which the contract's chains name")
    clock = Clock(deployment.zero_s, deployment.epoch_s)
    redactor = Redactor(deployment)
    surfaces = all_surfaces()
    return Components(
        contract=contract,
        deployment=deployment,
        clock=clock,
        entropy=entropy,
        store=store,
        transport=transport,
        keys=KeyRing(deployment.accounts, store),
        catalogue=Catalogue(contract),
        reader=RequestReader(contract, redactor),
        cli_gate=CliGate(contract),
        surfaces=surfaces,
        prices=PriceList(contract),
        admission=Admission(contract),
        governor=Governor(contract, clock),
        user_rate=UserRate(contract, clock),
        router=Router(contract, entropy),
        breaker=Breaker(contract),
        upstream=UpstreamRequests(contract, deployment, surfaces),
        failures=FailureClassifier(contract),
        relay=Relay(contract),
        settler=Settler(contract),
        insurer=Insurer(contract),
        ledger=Ledger(store, clock),
        usage_log=UsageLog(store),
        replays=Replays(contract, clock, store),
        headers=HeaderWriter(contract),
        errors=ErrorWriter(contract, redactor),
        redactor=redactor,
        log=LogWriter(redactor, log if log is not None else to_stderr),
        books=Books(deployment),
        pipeline=Pipeline(),
    )


def create_app(parts: Components) -> ASGIApp:
    """Return the ASGI app of ``parts``; its lifespan starts them. What they stand on is closed by whoever opened it."""
    return Gateway(parts)


def call_endpoints() -> dict[str, Endpoint]:
    """Return the paths that take calls. Hosts do not matter, and /v1/X is /api/v1/X for every general X."""
    endpoints: list[Endpoint] = [
        Endpoint("/v1/managed/chat/completions", "chat", "enterprise", _BEARER),
        Endpoint("/v1/managed/responses", "responses", "enterprise", _BEARER),
        Endpoint("/v1/managed/images/generations", "images", "enterprise", _BEARER),
    ]
    for prefix in ("/v1", "/api/v1"):
        endpoints += [
            Endpoint(f"{prefix}/chat/completions", "chat", "general", _BEARER),
            Endpoint(f"{prefix}/responses", "responses", "general", _BEARER),
            Endpoint(f"{prefix}/codex/responses", "responses", "general", _BEARER),
        ]
    messages: tuple[tuple[str, EndpointTier, frozenset[bytes]], ...] = (
        ("/v1/managed/messages", "enterprise", _MANAGED_MESSAGES),
        ("/v1/messages", "root", _ANTHROPIC),
        ("/api/v1/messages", "general", _ANTHROPIC),
        ("/api/v1/v1/messages", "general", _ANTHROPIC),
    )
    for path, tier, credentials in messages:
        endpoints += [
            Endpoint(path, "messages", tier, credentials),
            Endpoint(f"{path}/count_tokens", "count_tokens", tier, credentials),
        ]
    return {endpoint.path: endpoint for endpoint in endpoints}


class Gateway:
    """The app: an exact table of paths, and one answer in the contract's shape for everything else."""

    def __init__(self, parts: Components) -> None:
        self._parts = parts
        self._calls = call_endpoints()
        self._gets: dict[str, Callable[[Client, str], Awaitable[None]]] = {
            "/v1/managed/models": self._enterprise_models,
            "/v1/models": self._general_models,
            "/api/v1/models": self._general_models,
            "/api/ledger": self._ledger,
            "/internal/books": self._books,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            client = Client(scope, receive, send)
            endpoint = self._calls.get(client.path)
            if endpoint is not None and client.method == "POST":
                await self._parts.pipeline.run(self._parts, endpoint, client)
            else:
                await self._other(client, endpoint)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1000})

    async def _other(self, client: Client, endpoint: Endpoint | None) -> None:
        """Answer what is no call."""
        parts = self._parts
        request_id = f"req_{parts.entropy.token('request')}"
        try:
            get = self._gets.get(client.path)
            if get is not None and client.method in ("GET", "HEAD"):
                await get(client, request_id)
            elif endpoint is not None:
                self._identify(client, endpoint.credential_headers)
                raise _method_not_allowed("POST")
            elif get is not None and get != self._books:
                self._identify(client, _BEARER)
                raise _method_not_allowed("GET, HEAD")
            else:
                raise _not_found()
        except Refusal as refusal:
            await parts.errors.answer(client, refusal, request_id, self._governor(client))
        except Exception as error:
            parts.log.crash(request_id, error)
            if client.answered:
                raise  # the answer is under way: the server breaks it off
            await parts.errors.answer(client, Refusal("internal", "the gateway failed"), request_id)

    def _identify(self, client: Client, accepted: frozenset[bytes]) -> Identity:
        return self._parts.keys.identify(self._parts.reader.credentials(client, accepted))

    def _governor(self, client: Client) -> Headers:
        names = self._parts.contract.headers
        return [(names.governor.encode(), b"active")] if client.path.startswith("/v1/managed/") else []

    async def _enterprise_models(self, client: Client, request_id: str) -> None:
        self._identify(client, _BEARER)
        await self._json(client, request_id, self._parts.catalogue.listing("enterprise"))

    async def _general_models(self, client: Client, request_id: str) -> None:
        catalogue = self._parts.catalogue
        if client.header("anthropic-version"):
            self._identify(client, _ANTHROPIC)
            await self._json(client, request_id, catalogue.anthropic_listing("general"))
        else:
            self._identify(client, _BEARER)
            await self._json(client, request_id, catalogue.listing("general"))

    async def _ledger(self, client: Client, request_id: str) -> None:
        identity = self._identify(client, _BEARER)
        pieces = self._parts.books.as_json(self._parts, identity.account)
        await client.respond_in_pieces([JSON, *self._own(request_id)], pieces)

    async def _books(self, client: Client, request_id: str) -> None:
        if not self._parts.books.may_read_all(client.header("authorization")):
            raise _not_found()  # whoever may not read them need not know that they are here
        after = parse_qs(client.query.decode("latin-1")).get("after", ["0"])[-1]
        if not after.isdecimal() or len(after) > 18:
            raise Refusal("bad_request", "after must be the number of a record")
        upto = self._parts.store.committed
        headers = [(b"content-type", b"application/x-ndjson"), (BOOKS_UPTO, b"%d" % upto), *self._own(request_id)]
        await client.respond_in_pieces(headers, self._parts.books.everything(self._parts, int(after), upto))

    async def _json(self, client: Client, request_id: str, value: Mapping[str, Any]) -> None:
        await client.respond(200, [JSON, *self._own(request_id), *self._governor(client)], orjson.dumps(value))

    def _own(self, request_id: str) -> Headers:
        return [(self._parts.contract.headers.request_id.encode(), request_id.encode())]

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await self._parts.start()
                except Exception as error:
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                await send({"type": "lifespan.startup.complete"})
            else:
                await send({"type": "lifespan.shutdown.complete"})
                return


def _method_not_allowed(allowed: str) -> Refusal:
    return Refusal("method_not_allowed", f"this path takes {allowed}", headers={"allow": allowed})


def _not_found() -> Refusal:
    return Refusal("not_found", "nothing is served at this path")
