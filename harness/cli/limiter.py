"""The command that tells which limiter a gateway has: asks it few calls, or reads a run, and says what is left."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import orjson

from harness.cli.chosen import TargetOptions, check_mutant, chosen_target, told
from harness.cli.folder import recorded, run_folder
from harness.cli.suite import load, mutate
from harness.cli.terminal import fail, say
from harness.contract import Contract, ContractError
from harness.contract.requirements import matches
from harness.environment.local import run_locally
from harness.environment.remote import run_remotely
from harness.environment.sim import run_in_sim
from harness.history import History, HistoryError, Recorder, read_history
from harness.load.families import SlidingLog
from harness.load.limiter import Finding, Identification, OverAdmission, explains, identify, over_admission
from harness.load.observations import Observation, Seen
from harness.load.observed import Shared, observations, scopes, told_scope
from harness.runner import EXIT_FAIL, EXIT_HARNESS, EXIT_INCONCLUSIVE, EXIT_OK, EXIT_UNREACHABLE, EXIT_USAGE
from harness.scenario import Account, Call, Scenario, chat
from harness.target import Mode, Target, TargetError, Unsupported

RECORD = "limiter.json"
PROMISED = SlidingLog
"""What GOV-04 and RATE-01 promise: it must be among what was not ruled out, with the contract's own figures."""
SHOWN = 8
"""So many of the calls that rule a kind out are named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimiterOptions(TargetOptions):
    """What ``harness limiter`` was asked."""

    folder: Path | None = None
    mode: Mode | None = None
    tier: str = "managed"
    path: str = ""
    model: str = ""
    other_model: str = ""
    limit: int | None = None
    window: float | None = None
    mutant: str = ""
    seed: int = 0
    out: Path | None = None
    said: frozenset[str] = frozenset()
    """The names of the options that the command line has."""


def limiter_command(options: LimiterOptions) -> int:
    """Ask the target, or read the folder, print which limiter it is, and return the exit code."""
    load()
    if options.folder is not None:
        if useless := sorted(options.said - {"folder"}):
            raise click.UsageError(
                f"{', '.join(map(_option, useless))}: of no use with a recorded run, which says itself what was asked"
            )
        history = _recorded(options.folder)
        return _told(history, options, promised=False, out=None)
    check_mutant(options.mutant, options.target)
    target, spec = chosen_target(options)
    mode: Mode = options.mode or ("remote" if options.by_address else "sim")
    if mode not in target.modes:
        raise click.UsageError(f"--mode {mode}: target {options.target} can be run in {' or '.join(target.modes)}")
    try:
        made, contract = _made(options, target, mode, sorted(spec["keys"]))
    except ContractError as error:
        raise click.UsageError(f"the limit cannot be set so: {'; '.join(error.problems)}") from None
    if not options.path:  # a gateway of another API need not answer on this one's paths
        told(target.check)
    folder = run_folder(options.out)
    with closing(Recorder()) as recorder:
        try:
            _run(made, target, contract, options, mode, recorder)
        except Unsupported as reason:
            fail("this gateway's limiter cannot be asked", cause=str(reason))
            return EXIT_USAGE
        except TargetError as error:
            fail(str(error), cause=error.cause, help=error.help)
            return EXIT_UNREACHABLE
        finally:
            recorder.write(folder / f"{made.name}-{options.seed}")
        history = recorder.history()
    promised = not options.by_address or bool(options.claims_path)
    claimed = matches(target.claims, "GOV-04" if options.tier == "managed" else "RATE-01", "sliding")
    return _told(history, options, promised=promised and claimed, out=folder)


def _option(field: str) -> str:
    """Return the option that gives a field."""
    return {
        "contract_path": "--contract",
        "claims_path": "--claims",
        "upstreams_url": "--upstreams",
        "keys": "--key",
    }.get(field, f"--{field.replace('_', '-')}")


def _made(options: LimiterOptions, target: Target, mode: Mode, given: list[str]) -> tuple[Scenario, Contract]:
    """Return the scenario that asks, and the contract in force. Raises ContractError."""
    from scenarios.limiter import ACCOUNTS, LIMIT, MODEL, OTHER, REPLY, probing_scenario

    block = "text" if options.tier == "managed" else "user_rate"
    overlays: list[Any] = ["short"] if mode == "local" else []
    contract = target.contract(overlays)
    found = contract.text if block == "text" else contract.user_rate
    window_ms = round(options.window * 1000) if options.window else found.window_ms
    # A gateway that is already there keeps its own limits: there the contract's, or what was given, is a guess at them.
    limit = options.limit or (found.requests if mode == "remote" else LIMIT)
    if mode == "remote" and limit > MOST:
        raise click.UsageError(
            f"--limit: {limit} calls at once are too many to ask; say about how many this gateway lets in (--limit N)"
        )
    models = _models(options, contract, (MODEL, OTHER))
    like = chat(models[0], reply=REPLY, key="" if mode == "remote" else "a1", tier=options.tier, path=options.path)
    others: dict[str, Call] = {}
    accounts: tuple[Account, ...] = ACCOUNTS
    if mode != "remote":
        others = {"key": replace(like, key="a2"), "account": replace(like, account="b", key="")}
    else:
        accounts = (Account("a"), *(Account(name) for name in given if name in ("a2", "b")))
        others = {"key": replace(like, account="a2")} if "a2" in given else {}
        others |= {"account": replace(like, account="b")} if "b" in given else {}
    if len(models) > 1:
        others["model"] = replace(like, model=models[1])
    made = probing_scenario(limit, window_ms, like, others, accounts)
    if mode != "remote":
        overlay = {f"{block}.requests": limit, f"{block}.window_ms": window_ms}
        made = replace(made, world=replace(made.world, overlay=overlay))
        contract = target.contract([*overlays, overlay])
    return made, contract


MOST = 1_000
"""More calls than so many at once are a load, not a question."""


def _models(options: LimiterOptions, contract: Contract, preferred: tuple[str, str]) -> list[str]:
    """Return the model to ask, and another one if there is any."""
    if options.model:
        return [options.model, *filter(None, [options.other_model])]
    tier = "enterprise" if options.tier == "managed" else "general"
    known = [m.id for m in contract.models if m.tier == tier and "chat" in m.surfaces and not m.cli_only]
    first = [name for name in preferred if name in known]
    return list(dict.fromkeys([*first, *known]))[:2]


def _run(
    made: Scenario, target: Target, contract: Contract, options: LimiterOptions, mode: Mode, recorder: Recorder
) -> None:
    if mode == "sim":
        wrong = mutate(options.mutant) if options.mutant else None
        run_in_sim(made, target, contract, seed=options.seed, recorder=recorder, mutate=wrong, mutant=options.mutant)
    elif mode == "local":
        run_locally(made, target, contract, seed=options.seed, recorder=recorder, mutant=options.mutant)
    else:
        run_remotely(made, target, contract, seed=options.seed, recorder=recorder)


def _recorded(folder: Path) -> History:
    """Return the first recorded run of ``folder`` in which a limiter was asked; ends the command if there is none."""
    from scenarios.limiter import PROBE

    for path in recorded(folder):
        try:
            history = read_history(path)
        except HistoryError as error:
            fail("the history cannot be read", cause=str(error))
            raise SystemExit(EXIT_USAGE) from None
        if observations(history, PROBE):
            return history
    fail(f"in {folder} no limiter was asked", help="harness limiter --out DIR records a run in which one is")
    raise SystemExit(EXIT_USAGE)


def _told(history: History, options: LimiterOptions, *, promised: bool, out: Path | None) -> int:
    """Identify, print, keep the record, and return the exit code."""
    from scenarios.limiter import PROBE, SCOPES

    seen = observations(history, PROBE)
    found, shared = identify(seen), scopes(history, SCOPES)
    tier = _tier(history, PROBE)
    limits = history.plan.contract["text" if tier == "managed" else "user_rate"]
    contract = limits["requests"], limits["window_ms"] / 1000
    # What was given of a gateway that is already there is a guess at its limit, and no promise of it.
    over = over_admission(seen, options.limit or contract[0], options.window or contract[1])
    kept = kept_promise(seen, found, shared, tier, *contract) if promised else None
    _print(found, shared, over)
    if promised:
        say(f"  contract  {_promise(kept, *contract)}")
    record = {
        "schema": "harness.limiter/1",
        "target": history.plan.target,
        "mode": history.plan.mode,
        "identification": asdict(found),
        "scope": told_scope(shared),
        "shared": [asdict(one) for one in shared],
        "over_admission": {**asdict(over), "proved": over.proved},
        "promise_kept": kept,
        "observations": [asdict(one) for one in seen],
    }
    if out is not None:
        try:
            (out / RECORD).write_bytes(orjson.dumps(record, option=orjson.OPT_INDENT_2))
        except OSError as error:
            fail(f"the record could not be written to {out}", cause=error.strerror or str(error))
            return EXIT_HARNESS
        say(f"\n{out / RECORD}")
    if kept is False:
        return EXIT_FAIL
    return EXIT_OK if found.refused and len({one.kind for one in found.kept}) == 1 else EXIT_INCONCLUSIVE


def _tier(history: History, tag: str) -> str:
    """Return which of the two limits the calls of that tag asked."""
    details = (call.detail for call in history.planned.values() if call.detail.get("tag") == tag)
    return next((str(detail["tier"]) for detail in details if detail.get("tier")), "managed")


def kept_promise(
    seen: list[Observation], found: Identification, shared: list[Shared], tier: str, limit: int, window_s: float
) -> bool | None:
    """Say whether the contract's own limiter was not ruled out; None where it was never asked for more than it gives.

    A refusal below that is of something else: another limit, or one of a gateway that is set otherwise.
    """
    if Seen(seen).most_within(window_s) <= limit:
        return None
    if not explains(PROMISED, seen, found.clock_s, limit, window_s) or not _scope_holds(shared, tier):
        return False
    return True if found.refused else None


def _promise(kept: bool | None, limit: int, window_s: float) -> str:
    figures = f"a sliding log of its figures ({limit} in {window_s:g} s) and scope"
    if kept is None:
        return f"not judged: what was asked does not put {figures} to the test"
    return f"{figures} {'is not ruled out' if kept else 'is ruled out: the promise is broken'}"


def _scope_holds(shared: list[Shared], tier: str) -> bool:
    """Say whether no other scope was seen than the contract's: per account, and on managed paths per model."""
    expected = {"key": True, "account": False, "model": tier == "general"}
    return all(one.shared is None or one.shared == expected[one.differs_in] for one in shared)


def _print(found: Identification, shared: list[Shared], over: OverAdmission) -> None:
    say(f"{_headline(found)} {told_scope(shared)}")
    say(f"  asked     {found.admitted + found.refused} calls: {found.admitted} let in, {found.refused} refused")
    if found.clock_s >= 1:
        say("  clock     nothing fits a clock of milliseconds; this is what fits one of whole seconds")
    for one in found.findings:
        if one.fits:
            unsure = "" if one.whole else " (the search for a contradiction was given up)"
            say(f"  fits      {one.family}: {one.about}{unsure}")
            say(f"            {_figures(one)}")
    for one in found.findings:
        if not one.fits:
            calls = ", ".join(one.against[:SHOWN]) + (", ..." if len(one.against) > SHOWN else "")
            say(f"  not a     {one.family}: whatever its figures, it contradicts one of {calls}")
    for scope in shared:
        word = {True: "shared", False: "apart", None: "not told"}[scope.shared]
        say(f"  {scope.differs_in + 's':<9} {word}: {scope.call} {scope.why}")
    say(f"  over      {_over(over)}")


def _headline(found: Identification) -> str:
    if not found.refused:
        return "no limiter seen: nothing was refused; scope"
    kinds = list(dict.fromkeys(one.kind for one in found.kept))
    if not kinds:
        return "none of the known limiters; scope"
    return f"{' or '.join(kinds)},"


def _figures(one: Finding) -> str:
    told_as = {"limit": "limit {}", "window": "window {} s", "burst": "burst {}", "interval": "one more every {} s"}
    return ", ".join(
        form.format(f"{low:.4g}" if f"{low:.4g}" == f"{high:.4g}" else f"{low:.4g} to {high:.4g}")
        for name, form in told_as.items()
        if name in one.ranges
        for low, high in [one.ranges[name]]
    )


def _over(over: OverAdmission) -> str:
    what = f"more than {over.limit} in {over.window_s:g} s"
    if over.proved:
        return f"{what}: proved for every alignment, by {', '.join(over.against[:SHOWN])}"
    excluded = f"; not by a {' or '.join(over.impossible)}" if over.impossible else ""
    return f"{what}: not proved, a {' or '.join(over.possible)} of that limit lets in as much{excluded}"
