"""What the records that the harness reads back must have in them: verdict.json and power.json; it reads no file.

Only what is read is asked for: docs/verdict.md and docs/power.md have the whole.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

_Outcome = Literal["pass", "fail", "inconclusive", "unsupported"]
_Ended = Literal["pass", "fail", "inconclusive", "unsupported", "error"]


class _Clause(TypedDict):
    outcome: _Outcome
    passed: int
    failed: int
    inconclusive: int


class _Piece(TypedDict):
    clause: str
    outcome: _Outcome
    expected: str
    actual: str
    call: str
    attempts: list[str]
    at_us: NotRequired[int | None]


class _Check(TypedDict):
    checker: str
    requirement: str
    promise: str
    outcome: _Outcome
    clauses: dict[str, _Clause]
    untapped: NotRequired[dict[str, str]]
    evidence: list[_Piece]


class _Error(TypedDict):
    kind: Literal["target", "mutant", "harness"]
    message: str
    cause: NotRequired[str]
    help: NotRequired[str]


class _Raised(TypedDict):
    count: int
    type: str
    message: str
    request: str
    traceback: str


class _Crashed(TypedDict):
    checker: str
    traceback: str


class _Recovery(TypedDict):
    outcome: _Outcome
    bound_ms: float
    probes: NotRequired[int]
    cases: NotRequired[int]
    failed: NotRequired[int]
    unseen: NotRequired[list[str]]
    evidence: list[dict[str, Any]]


class _Memory(TypedDict):
    process: str
    outcome: _Outcome
    at_start: float | None
    most: float | None
    slope: float | None
    low: float | None
    high: float | None
    why: str
    promised: bool


class Scenario(TypedDict):
    """What became of one scenario under one seed."""

    scenario: str
    seed: int
    part: NotRequired[str]
    promise: NotRequired[str]
    outcome: _Ended
    doubts: list[str]
    checks: list[_Check]
    error: NotRequired[_Error | None]
    errors: NotRequired[list[_Crashed]]
    raised: NotRequired[_Raised | None]
    crashes: NotRequired[list[dict[str, Any]]]
    recovery: NotRequired[_Recovery | None]
    memory: NotRequired[list[_Memory]]
    branches: NotRequired[dict[str, int | None]]
    reaches: NotRequired[list[str]]
    could_judge: NotRequired[list[str]]
    overlays: NotRequired[list[str]]
    again: NotRequired[list[str]]
    folder: NotRequired[str]
    replay: NotRequired[str]
    calls: NotRequired[int]
    attempts: NotRequired[int]
    faults_planned: NotRequired[int]
    faults_fired: NotRequired[int]
    virtual_s: NotRequired[float]
    cpu_s: NotRequired[float]


class _Run(TypedDict):
    target: str
    mode: str
    mutant: str
    seeds: NotRequired[tuple[int, int]]
    selection: NotRequired[list[str]]
    profiles: NotRequired[list[str]]
    requirements: NotRequired[list[str]]
    contract: NotRequired[str]
    claims: NotRequired[str]
    upstreams: NotRequired[str]
    keys: NotRequired[list[str]]
    overlay: NotRequired[str]
    planned: NotRequired[int]
    seconds: NotRequired[float]
    shard: NotRequired[str]
    claimed: NotRequired[list[str]]


class _Requirement(TypedDict):
    assumed: list[str]


class Verdict(TypedDict):
    """``verdict.json``."""

    schema: Literal["harness.verdict/1"]
    run: _Run
    requirements: dict[str, _Requirement]
    scenarios: list[Scenario]


class ShardRun(TypedDict):
    """What the run of a shard says beside that, without which no whole can be made of it."""

    selection: list[str]
    requirements: list[str]
    claimed: list[str]


class _PowerRun(TypedDict):
    seed: int
    full: bool
    selection: list[str]
    whole: bool
    mutants: dict[str, str]
    core: int
    claimed: list[str]
    shard: NotRequired[str]
    seconds: NotRequired[float]
    interrupted: NotRequired[bool]


class _Trip(TypedDict):
    requirement: str
    checker: str
    own: bool
    clauses: list[str]
    scenarios: list[str]


class _Proof(TypedDict):
    requirement: str
    checker: str
    promise: str
    scenario: str
    seed: int
    clause: str
    expected: str
    actual: str
    call: str
    attempts: list[str]
    replay: str


class _MutantError(TypedDict):
    scenario: str
    kind: str
    message: str


class _Mutant(TypedDict):
    breaks: str
    lie: str
    status: Literal["killed", "survived", "elsewhere", "inconclusive", "errored", "not_asked"]
    why: str
    asked: list[str]
    not_asked: list[str]
    evidence: _Proof | None
    tripped: list[_Trip]
    errors: list[_MutantError]
    cpu_s: float


class _Result(TypedDict):
    outcome: _Ended
    digest: str
    error: dict[str, str] | None


class _Alarm(TypedDict):
    scenario: str
    outcome: str


class _Clean(TypedDict):
    seed: int
    runs: int
    core: int
    alarms: list[_Alarm]
    source: str


class Power(TypedDict):
    """``power.json``."""

    schema: Literal["harness.power/1"]
    run: _PowerRun
    mutants: dict[str, _Mutant]
    control: dict[str, _Result]
    clean: list[_Clean]
