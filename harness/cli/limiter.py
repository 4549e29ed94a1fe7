"""The command that tells which limiter a gateway has: asks it few calls, or reads a run, and says what is left."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import orjson

from harness.cli.chosen import TargetOptions, check_mutant, chosen_target, told
from harness.cli.folder import recorded, run_folder
from harness.cli.limiter_record import Asked, limiter_record, print_limiter, tier_of
from harness.cli.suite import load, mutate
from harness.cli.terminal import fail, say
from harness.contract import Contract, ContractError
from harness.contract.requirements import matches
from harness.environment.local import run_locally
from harness.environment.remote import run_remotely
from harness.environment.sim import run_in_sim
from harness.history import History, HistoryError, Recorder, read_history
from harness.load.observed import observations
from harness.runner import EXIT_HARNESS, EXIT_UNREACHABLE, EXIT_USAGE
from harness.scenario import Account, Call, Scenario, chat
from harness.target import Mode, Target, TargetError, Unsupported

RECORD = "limiter.json"


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
    from scenarios.limiter import PROBE, SCOPES

    load()
    if options.folder is not None:
        if useless := sorted(options.said - {"folder"}):
            raise click.UsageError(
                f"{', '.join(map(_option, useless))}: of no use with a recorded run, which says itself what was asked"
            )
        history = _recorded(options.folder)
        return _told(history, Asked(PROBE, SCOPES, _was_promised(options.folder, history)), options.folder)
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
    promised = (not options.by_address or bool(options.claims_path)) and _claimed(target.claims, options.tier)
    return _told(history, Asked(PROBE, SCOPES, promised, options.limit, options.window), folder)


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


def _was_promised(folder: Path, history: History) -> bool:
    """Say whether a recorded gateway is held to the contract's limiter: as its record says, or else if it claims it.

    What a gateway by its address claims nobody recorded but its record.
    """
    from scenarios.limiter import PROBE

    try:
        return orjson.loads((folder / RECORD).read_bytes())["promised"] is True
    except (OSError, ValueError, KeyError, TypeError):
        return history.plan.mode != "remote" and _claimed(history.plan.claims, tier_of(history, PROBE))


def _claimed(claims: Sequence[str], tier: str) -> bool:
    return matches(claims, "GOV-04" if tier == "managed" else "RATE-01", "sliding")


def _told(history: History, asked: Asked, out: Path) -> int:
    """Identify, keep and render the record, print it, and return the exit code."""
    from reports import render_limiter

    record = limiter_record(history, asked)
    print_limiter(record)
    try:
        (out / RECORD).write_bytes(orjson.dumps(record, option=orjson.OPT_INDENT_2))
        page = render_limiter(out)[0]
    except OSError as error:
        fail(f"the record could not be written to {out}", cause=error.strerror or str(error))
        return EXIT_HARNESS
    say(f"\n{out / RECORD}\n{page}")
    return int(record["exit"])
