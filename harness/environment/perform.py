"""One run of one scenario, the same in every mode: plan, calls, healing, recovery, and what everybody's books say."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import httpx
import orjson

from harness.clients import build, drive, path_of
from harness.contract import Contract
from harness.contract.loader import contract_to_json
from harness.environment.control import UpstreamControl
from harness.history import SCHEMA, Recorder
from harness.scenario import Account, Call, Reply, Scenario, World, as_data, chat, messages
from harness.target import Mode, Running, UpstreamAddress

PROBE_ACCOUNT = "recovery"
"""An account of the harness's own, in every world: its lone probes tell whether the gateway recovered."""
LEAD_S = 0.05
"""From the end of the preparations to the run's zero."""
_CALL_DEFAULTS = {field.name: field.default for field in fields(Call)}
_REPLY_FIELDS = tuple(field.name for field in fields(Reply))
_UNPLANNED = frozenset(
    {
        "surface",
        "model",
        "at_ms",
        "id",
        "account",
        "key",
        "stream",
        "path",
        "secret",
        "prompt",
        "body",
        "after",
        "fields",
    }
)


@dataclass(slots=True)
class Stage:
    """Everything a run stands on: the gateway's address, the upstreams' control, and the taps of this mode.

    ``zero_s`` is the run's zero where it was fixed before the gateway started, ``gateway_zero_s`` that of the gateway's
    stamps. ``crash`` is None where the store cannot be crashed.
    """

    mode: Mode
    target: str
    mutant: str
    claims: tuple[str, ...]
    contract: Contract
    base_url: str
    transport: httpx.AsyncBaseTransport
    running: Running
    control: UpstreamControl | None
    upstreams: Mapping[str, UpstreamAddress]
    secrets: Mapping[str, str]
    zero_s: float | None
    gateway_zero_s: float
    epoch_s: int
    skew_us: int
    log: list[str]
    crash: Callable[[int | None], Awaitable[None]] | None = None


def with_probe_account(world: World) -> World:
    """Return ``world`` with the harness's own account in it."""
    return replace(world, accounts=(*world.accounts, Account(PROBE_ACCOUNT)))


def recovery_calls(scenario: Scenario, contract: Contract) -> tuple[Call, ...]:
    """Return, per model that the scenario calls, probes that close its circuits and then one lone probe."""
    probes: list[Call] = []
    seen: set[tuple[str, str]] = set()
    for call in scenario.workload.calls:
        model = contract.model("enterprise" if call.tier == "managed" else "general", call.model)
        if call.surface not in ("chat", "messages", "responses") or call.path or model is None or model.cli_only:
            continue
        if (call.tier, model.id) in seen or not {"chat", "messages"} & set(model.surfaces):
            continue
        seen.add((call.tier, model.id))
        make = chat if "chat" in model.surfaces else messages
        for n in range(contract.breaker.successes_to_close + 1):
            last = n == contract.breaker.successes_to_close
            probes.append(
                make(
                    model.id,
                    tier=call.tier,
                    account=PROBE_ACCOUNT,
                    id=f"r{len(probes) + 1}",
                    at_ms=None,
                    after=(f"r{len(probes)}",) if probes else (),
                    max_tokens=16,
                    reply=Reply(chunks=1, ttft_ms=1, gap_ms=0),
                    tag="recovery" if last else "recovery_warmup",
                )
            )
    return tuple(probes)


class Performance:
    """Runs one scenario on a stage into a recorder."""

    def __init__(self, scenario: Scenario, stage: Stage, recorder: Recorder, seed: int, *, probes: bool = True) -> None:
        self.scenario = scenario
        self.stage = stage
        self.recorder = recorder
        self.seed = seed
        self.world = with_probe_account(scenario.world) if probes else scenario.world
        self.calls = scenario.workload.numbered()
        self.probes = recovery_calls(scenario, stage.contract) if scenario.recovers and probes else ()
        self._loop = asyncio.get_running_loop()
        self._zero_s = 0.0
        self._done: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._secret_bytes = {secret.encode(): key for key, secret in stage.secrets.items()}

    def now_us(self) -> int:
        """Return the time since the run's zero in whole microseconds."""
        return round((self._loop.time() - self._zero_s) * 1e6)

    async def run(self) -> None:
        """Plan, run the calls, heal, probe for recovery and read everybody's records.

        Raises TargetError when the gateway or the upstreams are gone; what was recorded until then stays.
        """
        stage = self.stage
        injections = self._injections()
        self._zero_s = self._loop.time() + LEAD_S if stage.zero_s is None else stage.zero_s
        self.recorder.plan(self._plan(injections))
        if stage.control is not None:
            await stage.control.start(
                zero_s=self._zero_s, seed=self.seed, injections=injections, bodies=self.scenario.bodies
            )
        await self._until(0)
        self.recorder.note("start", 0)
        crashes = [self._loop.create_task(self._crash(c.at_ms, c.after_appends)) for c in self.scenario.crashes]
        failures = [self._loop.create_task(self._fail_store(f.at_ms, f.appends)) for f in self.scenario.store_failures]
        await self._workload(self.calls)
        for planned in (*crashes, *failures):
            await planned
        await self._settle()
        if stage.control is not None:
            await stage.control.heal()
        self.recorder.note("heal", self.now_us())
        if self.probes:
            await self._rest()
            await self._workload(self.probes)
            await self._settle()
        self.recorder.note("end", self.now_us())
        await self._collect()

    async def _until(self, at_us: float) -> None:
        delay = self._zero_s + at_us / 1e6 - self._loop.time()
        if delay > 0:
            await asyncio.sleep(delay)

    async def _settle(self) -> None:
        contract = self.stage.contract
        default = contract.timeouts.drain_ms + contract.insurance.settle_within_ms
        settle_ms = self.scenario.settle_ms if self.scenario.settle_ms is not None else default
        await asyncio.sleep(settle_ms / 1e3)

    async def _rest(self) -> None:
        """Wait until every window and every cool-down that the storm left behind has run out."""
        contract = self.stage.contract
        longest = max(
            contract.text.window_ms,
            contract.image.window_ms,
            contract.user_rate.window_ms,
            contract.breaker.cooldown_cap_ms,
            contract.breaker.window_ms,
        )
        await asyncio.sleep(longest / 1e3)

    async def _workload(self, calls: Sequence[Call]) -> None:
        """Send scheduled calls at their instants, whatever became of the others, and followers after theirs."""
        late_us = 0
        tasks: list[asyncio.Task[None]] = []
        self._done.update((call.id, self._loop.create_future()) for call in calls)
        followers = [call for call in calls if call.after or call.at_ms is None]
        scheduled = sorted((call for call in calls if not call.after and call.at_ms is not None), key=_at_ms)
        tasks.extend(self._loop.create_task(self._follow(call), name=call.id) for call in followers)
        for call in scheduled:
            at_us = _at_ms(call) * 1e3
            await self._until(at_us)
            late_us = max(late_us, self.now_us() - round(at_us))
            tasks.append(self._loop.create_task(self._call(call), name=call.id))
            self.stage.running.alive()
        for task in tasks:
            await task
        if scheduled:
            self.recorder.note("lateness", self.now_us(), max_us=late_us, calls=len(scheduled))

    async def _follow(self, call: Call) -> None:
        spans = [await asyncio.shield(self._done[before]) for before in call.after]
        wait_s = call.delay_ms / 1e3
        if call.wait_retry_after:
            told = [float(span["headers"].get("retry-after", 0)) for span in spans]
            wait_s += max(told, default=0.0)
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        await self._call(call)

    async def _call(self, call: Call) -> None:
        stage = self.stage
        key = call.key or self._default_key(call.account)
        other = stage.secrets[call.other_key] if call.other_key else ""
        request = build(call, secret=stage.secrets[key], contract=stage.contract, other_secret=other)
        span, sent, answer = await drive(
            call,
            request,
            stage.transport,
            stage.base_url,
            self.now_us,
            key=key,
            limit_s=self._limit_s,
            bodies=self.scenario.bodies,
        )
        self._scan("answer", call.id, answer, *(value.encode() for value in span["headers"].values()))
        if span["claims"].get("leaked"):
            # The driver has blotted out the caller's own key already: only its word tells of it.
            self.recorder.note("secret_seen", self.now_us(), where="answer", key=key, call=call.id)
        if self.scenario.bodies:
            span["request_sha"] = self.recorder.body(sent)
            span["answer_sha"] = self.recorder.body(self._without_secrets(answer))
        self.recorder.span("call", span["end"], span)
        self._done[call.id].set_result(span)

    @property
    def _limit_s(self) -> float:
        contract = self.stage.contract
        longest = contract.timeouts.text_call_ms + contract.text.queue_wait_ms + contract.timeouts.drain_ms
        return longest / 1e3 + 30.0

    def _default_key(self, account: str) -> str:
        for known in self.world.accounts:
            if known.id == account:
                return known.all_keys()[0].id
        raise ValueError(f"scenario {self.scenario.name}: no account {account!r} in its world")

    async def _crash(self, at_ms: float, after_appends: int | None) -> None:
        assert self.stage.crash is not None
        await self._until(at_ms * 1e3)
        await self.stage.crash(after_appends)
        self.recorder.note("crash", self.now_us(), after_appends=after_appends)

    async def _fail_store(self, at_ms: float, appends: int) -> None:
        assert self.stage.running.fail_store is not None
        await self._until(at_ms * 1e3)
        self.stage.running.fail_store(appends)
        self.recorder.note("store_failure", self.now_us(), appends=appends)

    def _injections(self) -> list[dict[str, Any]]:
        """Return the injections as data; accounts are resolved to calls, which is what an upstream can see."""
        made = []
        for number, injection in enumerate(self.scenario.injections, 1):
            data = asdict(injection)
            data["id"] = injection.id or f"i{number}"
            if injection.accounts:
                theirs = [call.id for call in self.calls if call.account in injection.accounts]
                data["calls"] = [call for call in theirs if not injection.calls or call in injection.calls]
            made.append(data)
        return made

    def _plan(self, injections: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        stage = self.stage
        scenario_data = as_data(self.scenario)
        return {
            "schema": SCHEMA,
            "seed": self.seed,
            "mode": stage.mode,
            "scenario": self.scenario.name,
            "target": stage.target,
            "mutant": stage.mutant,
            "epoch_s": stage.epoch_s,
            "contract": contract_to_json(stage.contract),
            "overlay": dict(self.scenario.world.overlay),
            "claims": list(stage.claims),
            "accounts": [
                {
                    "id": account.id,
                    "credits": account.credits,
                    "keys": [
                        {"id": key.id, "state": key.state, "digest": digest(stage.secrets[key.id])}
                        for key in account.all_keys()
                    ],
                }
                for account in self.world.accounts
            ],
            "upstreams": [
                {
                    "name": role,
                    "role": role,
                    "listener": self.world.listeners.get(role, "open"),
                    "credential": digest(address.credential),
                }
                for role, address in stage.upstreams.items()
            ],
            "calls": [self._planned(call) for call in (*self.calls, *self.probes)],
            "injections": list(injections),
            "skew_us": stage.skew_us,
            "taps": [
                *stage.running.taps,
                *(("journal",) if stage.control else ()),
                *(("bodies",) if self.scenario.bodies else ()),
            ],
            "options": {**orjson.loads(orjson.dumps(scenario_data, default=_as_text)), **self._wall()},
        }

    def _wall(self) -> dict[str, int]:
        """Return the gateway's wall time at the run's zero in microseconds, where the harness is the one to set it."""
        if self.stage.mode == "remote":
            return {}
        return {"wall_us": round((self.stage.epoch_s + self._zero_s - self.stage.gateway_zero_s) * 1e6)}

    def _planned(self, call: Call) -> dict[str, Any]:
        detail = {
            name: getattr(call, name)
            for name, default in _CALL_DEFAULTS.items()
            if name not in _UNPLANNED and getattr(call, name) != default
        }
        if call.secret is not None:
            detail["literal_secret"] = True  # nobody's key; which one, no record tells
        if "reply" in detail:
            detail["reply"] = {name: getattr(call.reply, name) for name in _REPLY_FIELDS}
        if call.fields:
            detail["fields"] = sorted(call.fields)  # their names alone: values may be anything
        if call.body is not None:
            detail["own_body"] = True
        return {
            "id": call.id,
            "account": call.account,
            "key": call.key or self._default_key(call.account),
            "surface": call.surface,
            "model": call.model,
            "stream": call.stream,
            "at": None if call.at_ms is None or call.after else round(call.at_ms * 1e3),
            "after": ",".join(call.after),
            "path": path_of(call).partition("?")[0],
            "detail": detail,
        }

    async def _collect(self) -> None:
        """Read the upstreams' journal, the gateway's books and its log into the history."""
        stage = self.stage
        wanted: set[str] = set()
        if stage.control is not None:
            for line in await stage.control.journal():
                span = orjson.loads(line)
                attempt = span["span"] == "attempt"
                if attempt:
                    wanted.add(span["request_sha"])
                self.recorder.line(span["end"] if attempt else span["at"], line)
                self._scan("upstream", span["call"], line)
            for sha in sorted(wanted - {""} - set(self.recorder.bodies)):
                body = await stage.control.body(sha)
                self._scan("upstream", "", body)
                self.recorder.body(body)
        if stage.running.books is not None:
            shift_us = round((stage.gateway_zero_s - self._zero_s) * 1e6)
            books = await stage.running.books(stage.transport, stage.base_url)
            for line in books.splitlines(keepends=True):
                span = orjson.loads(line)
                if shift_us:
                    span["at"] += shift_us
                    line = orjson.dumps(span, option=orjson.OPT_APPEND_NEWLINE)
                self.recorder.line(span["at"], line)
                self._scan("books", span["call"], line)
        for said in stage.log:
            self._scan("log", "", said.encode())
        if "log" in stage.running.taps:
            self.recorder.note("log", self.now_us(), lines=len(stage.log))

    def _without_secrets(self, body: bytes) -> bytes:
        if b"ck_" in body:
            for secret in self._secret_bytes:
                body = body.replace(secret, b"[credential]")
        return body

    def _scan(self, where: str, call: str, *texts: bytes) -> None:
        """Note every place where a customer's secret turns up: the history itself never holds one."""
        for text in texts:
            if b"ck_" not in text:
                continue
            for secret, key in self._secret_bytes.items():
                if secret in text:
                    self.recorder.note("secret_seen", self.now_us(), where=where, key=key, call=call)


def digest(secret: str) -> str:
    """Return the first 16 hex digits of a secret's sha256: how histories name it."""
    return hashlib.sha256(secret.encode()).hexdigest()[:16]


def _at_ms(call: Call) -> float:
    assert call.at_ms is not None
    return call.at_ms


def _as_text(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    raise TypeError(f"not JSON: {value!r}")
