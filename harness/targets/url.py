"""Any gateway that speaks the documents' API, by its address; the harness can neither start it nor change its world."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import orjson

from harness.clients import path_of
from harness.scenario import chat, messages, models
from harness.target import Mode, NotATarget, Running, TargetError, Unsupported, Wiring
from harness.targets.promised import Promised
from harness.targets.registry import URL, Spec, target

PATIENCE_S = 15.0
"""A gateway that answers none of the first questions for so long is taken not to answer at all."""
_TIMEOUTS = {"timeout": {"connect": 5.0, "read": PATIENCE_S, "write": 5.0, "pool": 5.0}}
_MODELS = ("GET", path_of(models(tier="general")))
_PATHS = (
    _MODELS,
    *(("POST", path_of(make("m", tier=tier))) for make in (chat, messages) for tier in ("managed", "general")),
)
"""Questions that a gateway of this API has an answer in JSON to, whoever asks; none of them costs anything."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    kind: str
    is_object: bool


@target(URL, modes=("remote",), use="harness run --target https://gateway.example --key a=ck_...")
class UrlTarget(Promised):
    """A gateway that is already there, by its address, and the keys of the accounts that it knows."""

    modes: tuple[Mode, ...] = ("remote",)

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self._base_url = _base_url(self.name)
        self._keys: Mapping[str, str] = spec.get("keys") or {}
        self._upstreams_url = _base_url(spec["upstreams_url"]) if spec.get("upstreams_url") else ""

    def check(self) -> None:
        """Ask at the address whether a gateway is there and takes the keys. Raises NotATarget, TargetError."""
        asyncio.run(self._check())

    async def _check(self) -> None:
        async with httpx.AsyncHTTPTransport() as transport:
            answers = [await self._ask(transport, method, path) for method, path in _PATHS]
            if not any(answer.is_object and answer.status not in (404, 405) for answer in answers):
                told = (f"{m} {p} gave {a.status} {a.kind}" for (m, p), a in zip(_PATHS, answers, strict=True))
                raise TargetError(
                    f"what answers at {self._base_url} is no gateway of this API",
                    cause="; ".join(told),
                    help="give the address below which /v1/... and /api/v1/... are served",
                )
            if not self._keys:
                raise NotATarget(
                    f"a gateway answers at {self._base_url}, and no key for it was given",
                    help="give --key ACCOUNT=SECRET for each account, or HARNESS_KEY for account a",
                )
            refused = [account for account, key in self._keys.items() if await self._refuses(transport, key)]
        if refused:
            raise TargetError(
                f"the gateway at {self._base_url} refuses the key of {', '.join(refused)}",
                cause="it answers 401 or 403 to it on every path",
                help="give keys that it knows, with --key ACCOUNT=SECRET",
            )

    async def _refuses(self, transport: httpx.AsyncBaseTransport, key: str) -> bool:
        """Say whether ``key`` is turned away everywhere: on one path alone it may lack a scope."""
        for method, path in _PATHS:
            if (await self._ask(transport, method, path, key)).status not in (401, 403):
                return False
        return True

    async def _ask(self, transport: httpx.AsyncBaseTransport, method: str, path: str, key: str = "") -> _Answer:
        headers = {"content-type": "application/json", **({"authorization": f"Bearer {key}"} if key else {})}
        content = b"{}" if method == "POST" else b""
        request = httpx.Request(method, self._base_url + path, headers=headers, content=content, extensions=_TIMEOUTS)
        try:
            async with asyncio.timeout(PATIENCE_S):
                response = await transport.handle_async_request(request)
                body = await response.aread()
        except (TimeoutError, httpx.TransportError, OSError) as error:
            raise self._absent(error) from error
        try:
            is_object = isinstance(orjson.loads(body), dict)
        except orjson.JSONDecodeError:
            is_object = False
        return _Answer(response.status_code, response.headers.get("content-type", "without a type"), is_object)

    def _absent(self, error: Exception) -> TargetError:
        """Return what it means that no answer came: nobody there, nobody who speaks HTTP, or nobody in time."""
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            message, help_ = f"no gateway answered at {self._base_url}", "is it running, and is the address right?"
        elif isinstance(error, TimeoutError | httpx.TimeoutException):
            message, help_ = f"the gateway at {self._base_url} took a connection and did not answer", "is it stuck?"
        else:
            message, help_ = f"what listens at {self._base_url} gave no HTTP answer", "is the port right?"
        return TargetError(message, cause=str(error) or type(error).__name__, help=help_)

    @asynccontextmanager
    async def start(self, wiring: Wiring) -> AsyncIterator[Running]:
        """Give the address. Raises TargetError if nobody answers there, Unsupported for a world that it has not got."""
        async with httpx.AsyncHTTPTransport() as transport:
            await self._ask(transport, *_MODELS)
        world = wiring.world
        if world.overlay:
            raise Unsupported("it changes the contract, and this gateway cannot be reconfigured from here")
        if world.listeners:
            raise Unsupported("it needs upstream listeners that refuse, and this gateway's are not the harness's")
        secrets = {f"{account}-key": secret for account, secret in self._keys.items()}
        for account in world.accounts:
            if account.id not in self._keys:
                raise Unsupported(f"it needs an account {account.id!r}: give its key with --key {account.id}=ck_...")
            if any(key.state != "active" for key in account.all_keys()):
                raise Unsupported("it needs keys in other states than active")
            secrets.update({key.id: self._keys[account.id] for key in account.all_keys()})
        yield Running(base_url=self._base_url, upstreams_url=self._upstreams_url, secrets=secrets)


def _base_url(given: str) -> str:
    """Return an http or https address without a final slash. Raises NotATarget."""
    try:
        url = httpx.URL(given)
        lawful = url.port is None or 0 < url.port < 1 << 16
        if url.scheme in ("http", "https") and url.host and lawful and not url.query and not url.fragment:
            return given.rstrip("/")
        cause = "a scheme http or https, a host, a port from 1 to 65535, and nothing after the path are wanted"
    except httpx.InvalidURL as error:
        cause = str(error)
    raise NotATarget(f"{given} is no address of a gateway", cause=cause, help="give it as https://gateway.example")
