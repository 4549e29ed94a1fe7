"""What a scenario is: world, workload, injected faults and checks as plain values; it may run nothing.

Times are milliseconds of the run, from its zero. A scenario never writes a promised number: it derives it from the
contract that its function is given.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from graphlib import CycleError, TopologicalSorter
from typing import Any, Literal, overload

from harness.branches import BRANCHES
from harness.checker import Checker
from harness.contract import Contract
from mock_upstreams.faults import FaultSpec

KeyState = Literal["active", "disabled", "expired", "suspended"]
Listener = Literal["open", "refusing", "tls_failing", "hanging"]
"""hanging: takes no connection and refuses none; sim only, so a scenario with it is ``exact``."""
ROLES = ("primary", "second", "third", "fourth", "fifth")
"""The roles of a chain's targets, in its order."""
Auth = Literal["bearer", "x-api-key", "anthropic-api-key", "none"]
Part = Literal["core", "ceilings", "chaos", "durability", "limiter"]
"""core: what every seed is asked; ceilings: the real limits, with thousands of calls; chaos: long outages; durability:
kills of a real process, in local mode; limiter: what tells kinds of limiters apart; both where asked for by name."""


@dataclass(frozen=True, slots=True)
class Key:
    """An API key of an account, by a name; the secret is made by the environment and never recorded."""

    id: str
    state: KeyState = "active"


@dataclass(frozen=True, slots=True)
class Account:
    """A customer: opening balance in credits, and keys (one active key called ``<id>-key`` unless given)."""

    id: str
    credits: int = 1_000_000
    keys: tuple[Key, ...] = ()

    def all_keys(self) -> tuple[Key, ...]:
        """Return the keys, the default one if none were given."""
        return self.keys or (Key(f"{self.id}-key"),)


@dataclass(frozen=True, slots=True)
class World:
    """What a scenario starts from. ``overlay`` maps dotted contract keys (``text.requests``) to values."""

    accounts: tuple[Account, ...] = (Account("a"),)
    overlay: Mapping[str, Any] = field(default_factory=dict)
    listeners: Mapping[str, Listener] = field(default_factory=dict)
    """State of the upstreams' listeners by role, where it is not open."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the upstream is asked to answer to one call, carried as directives in the call's marker.

    ``chunks`` pieces of text, ``gap_ms`` apart after ``ttft_ms``; ``usage`` in the four disjoint billing classes
    (in: fresh input, cached: cache reads, written: cache writes, out: output with reasoning in it), reported in the
    provider's own shape. ``shape``: text, tools, thinking, structured, mixed (see mock_upstreams/providers).
    """

    chunks: int = 4
    ttft_ms: float = 50
    gap_ms: float = 5
    input: int | None = None
    cached: int = 0
    written: int = 0
    output: int | None = None
    reasoning: int = 0
    shape: str = "text"


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the workload, made by the function of its surface: ``chat``, ``images``, ``models`` and so on.

    ``at_ms`` is its scheduled time; or it follows ``after`` (another call's id, or several) by ``delay_ms``, plus that
    call's Retry-After when ``wait_retry_after``. ``abort_ms`` (from sending) or ``abort_chunks`` (body chunks read)
    makes the client go away; ``read_pause_ms`` makes it read slowly. ``fields`` go into the request body as they are;
    ``path`` overrides the surface's path; ``body`` is sent as it is instead of a built one.
    """

    surface: str
    model: str
    at_ms: float | None = 0
    id: str = ""
    account: str = "a"
    key: str = ""
    tier: Literal["managed", "general"] = "managed"
    path: str = ""
    method: str = "POST"
    stream: bool = False
    auth: Auth | tuple[Auth, ...] = "bearer"
    secret: str | None = None
    """A literal credential instead of the key's own (for wrong ones)."""
    bare_key: bool = False
    """The key's own secret goes without its prefix."""
    other_key: str = ""
    """With several forms in ``auth``: the key that the last one carries, so that two good credentials disagree."""
    prompt: str = ""
    prompt_bytes: int = 0
    max_tokens: int | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    reply: Reply = Reply()
    after: tuple[str, ...] = ()
    delay_ms: float = 0
    wait_retry_after: bool = False
    abort_ms: float | None = None
    abort_chunks: int | None = None
    read_pause_ms: float = 0
    upload_ms: float = 0
    """The body's second half goes out this much after its first."""
    body: bytes | None = None
    content_type: str = "application/json"
    marks: str = ""
    """The call whose body this one sends again, byte for byte, its marker too: a client's retry (same other fields)."""
    tag: str = ""
    """What part this call plays in its scenario (``probe``, ``storm``): checkers may select by it."""
    client: str = ""
    """The client program that sends it and repeats it as that one does (harness/clients/retries.py); none: no retry."""
    turn: str = ""
    """The first try's id, in each try of a client's turn: filled in when the run is planned."""


def chat(model: str, **options: Any) -> Call:
    """Return a chat completions call; ``options`` are fields of Call."""
    return Call("chat", model, **options)


def messages(model: str, **options: Any) -> Call:
    """Return an Anthropic messages call; ``options`` are fields of Call."""
    return Call("messages", model, **options)


def responses(model: str, **options: Any) -> Call:
    """Return a Responses API call; ``options`` are fields of Call."""
    return Call("responses", model, **options)


def images(model: str, **options: Any) -> Call:
    """Return an image generations call; ``options`` are fields of Call."""
    return Call("images", model, **options)


def count_tokens(model: str, **options: Any) -> Call:
    """Return a count_tokens call; ``options`` are fields of Call."""
    return Call("count_tokens", model, **options)


def models(**options: Any) -> Call:
    """Return a GET of the model list of ``tier`` (or of ``path``)."""
    return Call("models", "", **{"method": "GET", **options})


def raw(path: str, body: bytes = b"", **options: Any) -> Call:
    """Return a call of ``path`` with ``body`` as it is."""
    return Call("raw", "", path=path, body=body, **options)


@dataclass(frozen=True, slots=True)
class Injection:
    """A fault and where and when it strikes.

    ``role`` is the chain's (primary, second, third, ...), ``*`` for all. It applies to attempts that arrive in
    [start_ms, stop_ms), and among its own matches to the ``nth`` (1-based), the ``first`` so many, or each with
    ``probability``. ``calls``, ``accounts``, ``models`` and ``surfaces`` narrow it (by marker, hence account).
    """

    role: str
    fault: FaultSpec
    start_ms: float = 0
    stop_ms: float | None = None
    nth: int | None = None
    first: int | None = None
    probability: float | None = None
    calls: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    surfaces: tuple[str, ...] = ()
    must_fire: bool = True
    id: str = ""


@dataclass(frozen=True, slots=True)
class Crash:
    """The gateway is killed at ``at_ms``, as kill -9 does, and started again on what was committed.

    Or it is killed ``delay_ms`` after ``after``: ids of calls that have ended and of crashes that it came back from.
    A call may follow a crash by its ``id`` in the same way.
    """

    at_ms: float = 0
    after_appends: int | None = None
    """Crash inside the commit of this many-th append from then on, instead of at once; sim only."""
    id: str = ""
    after: tuple[str, ...] = ()
    delay_ms: float = 0
    read_only: bool = False
    """While it is down its file is made read-only, and a start is tried that must fail; local only."""


@dataclass(frozen=True, slots=True)
class FullDisk:
    """From ``at_ms`` to the next start the gateway's files grow by ``room_bytes`` at most; local only."""

    at_ms: float
    room_bytes: int = 0


@dataclass(frozen=True, slots=True)
class SecondGateway:
    """At ``at_ms`` another gateway is started on the file of the one that serves, and must not come up; local only."""

    at_ms: float


@dataclass(frozen=True, slots=True)
class StoreFailure:
    """From ``at_ms`` on the gateway's store refuses so many appends: the handlers that need them crash; sim only."""

    at_ms: float
    appends: int = 1


@dataclass(frozen=True, slots=True)
class Workload:
    """The calls of a run. Ids are given in order (c1, c2, ...) to calls that have none."""

    calls: tuple[Call, ...]

    def numbered(self, crashes: Iterable[Crash] = ()) -> tuple[Call, ...]:
        """Return the calls with ids.

        Raises ValueError for an id used twice, an ``after`` that names no call or crash, and for some that wait for one
        another.
        """
        crashes = tuple(crashes)
        calls = tuple(call if call.id else _named(call, f"c{n}") for n, call in enumerate(self.calls, 1))
        named = [crash.id for crash in crashes if crash.id]
        count = Counter([*(call.id for call in calls), *named])
        if len(count) != len(calls) + len(named):
            raise ValueError(f"call ids used twice: {sorted(i for i, times in count.items() if times > 1)}")
        waiting: tuple[Call | Crash, ...] = (*calls, *crashes)
        for one in waiting:
            unknown = [before for before in one.after if before not in count]
            if unknown:
                kind = "call" if isinstance(one, Call) else "crash"
                raise ValueError(f"{kind} {one.id} comes after {unknown}, which are not in the workload")
        try:
            TopologicalSorter({one.id: one.after for one in waiting if one.after}).prepare()
        except CycleError as error:
            raise ValueError(f"these wait for one another: {', '.join(error.args[1][1:])}") from None
        return calls


def _named(call: Call, name: str) -> Call:
    """Return a copy of ``call`` with an id: what ``dataclasses.replace`` does, at a third of its cost."""
    made = object.__new__(Call)
    for field_name in Call.__slots__:
        object.__setattr__(made, field_name, getattr(call, field_name))
    object.__setattr__(made, "id", name)
    return made


def evenly(count: int, over_ms: float, start_ms: float = 0) -> tuple[float, ...]:
    """Return ``count`` times spread evenly over [start_ms, start_ms + over_ms)."""
    return tuple(start_ms + over_ms * n / count for n in range(count))


def at_once(count: int, at_ms: float = 0) -> tuple[float, ...]:
    """Return the same instant ``count`` times."""
    return (at_ms,) * count


def drawn(count: int, over_ms: float, rng: random.Random, start_ms: float = 0) -> tuple[float, ...]:
    """Return exactly ``count`` times of a Poisson process on [start_ms, start_ms + over_ms), whole microseconds."""
    return tuple(sorted(start_ms + rng.randrange(int(over_ms * 1000)) / 1000 for _ in range(count)))


def repeat(call: Call, times_ms: Iterable[float], **changes: Any) -> tuple[Call, ...]:
    """Return ``call`` once per arrival time."""
    return tuple(replace(call, at_ms=at_ms, **changes) for at_ms in times_ms)


@dataclass(frozen=True, slots=True)
class Scenario:
    """World + workload + injections + checks. ``name`` and ``promise`` come from its function.

    ``exact``: its verdict needs exact times, so only sim can judge it. ``bodies``: keep request and answer bodies.
    ``settle_ms``: how long the run goes on after the last call ended, for drains and settlements; None takes the
    contract's drain time and settlement time together. ``reaches`` names branches (``harness list branches``) that a
    run must be seen to take: one that did not has proved nothing. ``process``: it needs a gateway in a process of its
    own, so only local mode can run it.
    """

    world: World
    workload: Workload
    checks: tuple[Checker, ...]
    injections: tuple[Injection, ...] = ()
    crashes: tuple[Crash, ...] = ()
    store_failures: tuple[StoreFailure, ...] = ()
    full_disks: tuple[FullDisk, ...] = ()
    second_gateways: tuple[SecondGateway, ...] = ()
    part: Part = "core"
    exact: bool = False
    process: bool = False
    bodies: bool = False
    settle_ms: float | None = None
    connect_ms: float = 0.0
    latency_ms: float = 0.0
    """Delays of the simulated link: connecting, and each way."""
    chop: bool = False
    """Merge and split the chunks of both links at random (keyed by the seed)."""
    recovers: bool = True
    """End with a recovery check, a lone probe per model, also where no fault was injected (else a run always does)."""
    reaches: tuple[str, ...] = ()
    name: str = ""
    promise: str = ""


ScenarioFunction = Callable[..., Scenario]


@dataclass(frozen=True, slots=True)
class NamedScenario:
    """A scenario's function with the name people select it by (``<file>.<function>``) and its promise."""

    name: str
    promise: str
    build: ScenarioFunction
    part: Part
    reaches: tuple[str, ...] = ()

    def __call__(self, contract: Contract, seed: int = 0) -> Scenario:
        """Build the scenario for ``contract``; random choices of the workload are keyed by ``seed``."""
        rng = random.Random(f"{seed}/{self.name}/workload")
        wants_rng = self.build.__code__.co_argcount > 1
        made = self.build(contract, rng) if wants_rng else self.build(contract)
        return replace(made, name=self.name, promise=self.promise, part=self.part, reaches=self.reaches)


SCENARIOS: dict[str, NamedScenario] = {}
"""All scenarios by name, filled by ``@scenario`` as the modules of ``scenarios`` are imported."""


@overload
def scenario(build: ScenarioFunction) -> NamedScenario: ...
@overload
def scenario(*, part: Part = "core", reaches: tuple[str, ...] = ()) -> Callable[[ScenarioFunction], NamedScenario]: ...
def scenario(
    build: ScenarioFunction | None = None,
    *,
    part: Part = "core",
    reaches: tuple[str, ...] = (),
) -> NamedScenario | Callable[[ScenarioFunction], NamedScenario]:
    """Register a function ``(contract) -> Scenario`` or ``(contract, rng) -> Scenario`` under ``<file>.<function>``.

    ``reaches`` names the branches that it is made for. Raises ValueError for a name used twice or an unknown branch.
    """

    def register(function: ScenarioFunction) -> NamedScenario:
        name = f"{function.__module__.rsplit('.', 1)[-1]}.{function.__name__}"
        if name in SCENARIOS:
            raise ValueError(f"two scenarios are called {name}")
        unknown = [branch for branch in reaches if branch not in BRANCHES]
        if unknown:
            raise ValueError(f"scenario {name} reaches {unknown}, which are no branches")
        doc = (function.__doc__ or "").strip()
        SCENARIOS[name] = NamedScenario(name, doc.splitlines()[0] if doc else "", function, part, reaches)
        return SCENARIOS[name]

    return register(build) if build is not None else register


def as_data(made: Scenario) -> dict[str, Any]:
    """Return a scenario as plain JSON data (checks by name) but for its calls, which the plan holds themselves."""
    data = asdict(replace(made, checks=(), workload=Workload(())))
    data["checks"] = [check.name for check in made.checks]
    del data["workload"]
    return data
