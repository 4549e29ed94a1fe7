"""``harness load``: a shape of load against a gateway, live while it goes on, and a run folder like any other's."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from time import perf_counter  # noqa: TID251 - how long the command took, for the person who waits
from typing import Any

import click

from harness.checker import CHECKERS
from harness.cli.chosen import TargetOptions, check_mutant, chosen_target, told
from harness.cli.folder import run_folder, write
from harness.cli.load_cost import MOST_DRAWN, print_cost, simulated
from harness.cli.load_progress import LoadProgress
from harness.cli.run import assumed
from harness.cli.stopping import sigterm_as_ctrl_c
from harness.cli.suite import load as load_suite
from harness.cli.terminal import fail, near, say
from harness.cli.text import print_verdict
from harness.contract import Contract, ContractError, load_requirements, with_overlays
from harness.environment.load import LoadRun, Watch, run_load
from harness.environment.local import UpstreamsDiedError
from harness.load.fleet import FleetAsked
from harness.load.shape import SHAPES, Asked, Load, Shape
from harness.runner import EXIT_HARNESS, EXIT_UNREACHABLE, EXIT_USAGE, build_verdict, rejudge
from harness.runner.beside import JudgeLostError
from harness.sim import SimulationError
from harness.target import Mode, TargetError, Unsupported

MOST_MINUTES = 31 * 24 * 60
"""A month. What fills windows keeps a line in memory for each of them, though none for a call."""
OBJECTIVES = ("latency", "ttft", "per-token")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions(TargetOptions):
    """What ``harness load`` was asked."""

    shape: str
    mode: Mode | None = None
    minutes: float = 0
    arrivals: str = ""
    trace: Path | None = None
    overlay: str = ""
    workers: int = 1
    expect_workers: int | None = None
    expect_workers_max_wait: float = 300
    master_bind_host: str = "127.0.0.1"
    master_bind_port: int = 5557
    apart: bool = False
    seed: int = 0
    mutant: str = ""
    objectives: tuple[str, ...] = ()
    starve: int = 0
    web: int | None = None
    out: Path | None = None
    quiet: bool = False


@sigterm_as_ctrl_c()  # a job cancelled while the load is being started leaves nothing behind
def load_command(options: LoadOptions) -> int:
    """Run the shape, judge it, write the run folder, print the verdict and return the exit code."""
    import harness.load.shapes  # noqa: F401 - registers them

    load_suite()
    shape = _shape(options.shape)
    if not 0 <= options.minutes <= MOST_MINUTES:  # nor is it no number
        raise click.UsageError(f"--minutes {options.minutes:g}: at most {MOST_MINUTES:,}")
    objective = _objective(options.objectives)
    check_mutant(options.mutant, options.target)
    target, spec = chosen_target(options)
    mode: Mode = options.mode or ("remote" if options.by_address else "local")
    if mode not in target.modes:
        raise click.UsageError(f"--mode {mode}: target {options.target} can be loaded in {' or '.join(target.modes)}")
    if mode == "sim" and (options.workers > 1 or options.expect_workers is not None or options.web or options.starve):
        raise click.UsageError("--mode sim sends every call itself: it takes no workers, no --web and no --starve")
    asked = Asked(options.seed, options.minutes, options.arrivals, str(options.trace) if options.trace else "")
    try:
        base = target.contract([options.overlay] if options.overlay else [])
        made = shape.build(base, asked)
        contract = with_overlays(base, [made.world.overlay]) if made.world.overlay else base
    except ValueError as error:
        fail(f"{shape.name} cannot be made", cause=str(error), help="harness load --help")
        return EXIT_USAGE
    except ContractError as error:
        raise click.UsageError("; ".join(error.problems)) from None
    locust = _web(options.web)
    fleet = _fleet(options)
    told(target.check)
    folder = run_folder(options.out)
    run = LoadRun(
        shape=shape,
        asked=asked,
        target=target,
        base=base,
        mode=mode,
        workers=fleet.expected if fleet else options.workers,
        folder=folder / f"load.{shape.name}-{asked.seed}",
        mutant=options.mutant,
        locust=locust,
        fleet=fleet,
        starve_ms=options.starve,
    )
    asked_of = {
        "target": options.target,
        "mode": mode,
        "seeds": [asked.seed, asked.seed],
        "mutant": options.mutant,
        "overlay": options.overlay,
        "contract": options.contract_path,
        "claims": options.claims_path,
        "upstreams": options.upstreams_url,
        "keys": sorted(spec["keys"]) if options.by_address else [],
        "selection": [run.name],
        "load": {**asked.as_data(), **_senders(options), "starve": options.starve, "objective": objective},
    }
    return _execute(run, made, contract, asked_of, options)


def _execute(run: LoadRun, made: Load, contract: Contract, asked: dict[str, Any], options: LoadOptions) -> int:
    started = perf_counter()
    record: dict[str, Any] | None = None
    with LoadProgress(made, quiet=options.quiet) as progress:
        try:
            if run.mode == "sim":
                whole, error, record, asked["load"]["cost"] = simulated(run, made, contract, progress.told)
            else:
                whole, error = perform_load(run, made, contract, progress.told)
        except Unsupported as reason:
            fail(f"{run.name} cannot be run against this target", cause=str(reason))
            return EXIT_USAGE
        except TargetError as gone:
            fail(str(gone), cause=gone.cause, help=gone.help)
            return EXIT_UNREACHABLE
        except (SimulationError, JudgeLostError, UpstreamsDiedError) as wrong:
            fail(f"{type(wrong).__name__}: {wrong}", help="this is a fault of the harness itself")
            return EXIT_HARNESS
    if not whole:
        asked["interrupted"] = True
    record = judge_load(run, error, record)
    asked.update(planned=1, seconds=round(perf_counter() - started, 2))
    verdict = build_verdict(
        asked, [record], load_requirements(), run.target.claims, expected=frozenset(), assumed=assumed(contract)
    )
    try:
        write(run.folder.parent, verdict, contract=run.base)
    except OSError as broken:
        print_verdict(verdict, None)  # it is known, though it cannot be kept
        fail(f"the record could not be written to {run.folder.parent}", cause=broken.strerror or str(broken))
        return EXIT_HARNESS
    print_verdict(verdict, run.folder.parent)
    if asked["load"].get("cost"):
        print_cost(asked["load"]["cost"], run.folder, record["calls"])
    if record["calls"] <= MOST_DRAWN:
        _print_load(run)
    return int(verdict["exit"])


def perform_load(run: LoadRun, made: Load, contract: Contract, watch: Watch) -> tuple[bool, dict[str, Any] | None]:
    """Run the load; return whether it ran to its end, and how the target or the mocks died meanwhile, if they did.

    Raises Unsupported, and TargetError or UpstreamsDiedError where it came to no history.
    """
    try:
        return asyncio.run(run_load(run, made, contract, watch)), None
    except UpstreamsDiedError as died:
        if not (run.folder / "history.jsonl").is_file():
            raise
        return True, {"kind": "harness", "message": str(died), "cause": "", "help": "the gateway is not to blame"}
    except TargetError as gone:
        if not (run.folder / "history.jsonl").is_file():
            raise
        return True, {"kind": "target", "message": str(gone), "cause": gone.cause, "help": gone.help}


def _print_load(run: LoadRun) -> None:
    """Print what the load came to in numbers, and where the rest of them is."""
    from reports.load import render_load

    told = render_load(run.folder.parent, run.folder)
    say(
        f"load    {told['sent']:,} of {told['planned']:,} sent, {told['rate']:g} a second; {told['ok']:,} answered, "
        f"{told['refused']:,} refused, {told['failed']:,} failed; {told['tokens']:,} tokens served"
    )
    if told["cores"] is not None:
        each = ", ".join(f"{name} {used:.2f}" for name, used in told["cores_of"].items())
        say(f"        {told['cores']:g} cores while it went on: {each}")
    for name, words in (("response", "latency"), ("ttft", "first token"), ("late", "lateness")):
        if told[name]:
            half, _, most_of_them, most = told[name]
            say(f"        {words}: p50 {half:,.1f} ms, p99 {most_of_them:,.1f} ms, most {most:,.1f} ms")
    for one in told["memory"]:
        say(f"        memory of {one['process']}: {_memory(one)}")
    if told["objective"]:
        say(f"        goodput: {told['good']:,} calls, {told['goodput']:g} a second, with {told['objective']}")
    say(f"load    {run.folder.parent / 'load.html'}")


def _memory(one: Mapping[str, Any]) -> str:
    """Return what a process had in memory, and how that grew."""
    if one["most"] is None:
        return str(one["why"])
    slope = "" if one["slope"] is None else ", {slope:g} MB ({low:g} to {high:g}) per 10,000 calls".format(**one)
    return f"{one['at_start']:g} MB at the start, most {one['most']:g} MB{slope}"


def judge_load(run: LoadRun, error: Mapping[str, Any] | None, record: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the record of the load as it was recorded; a target that died is an error, whatever it did before.

    ``record`` is that of a load that was judged as it went on.
    """
    record = record or rejudge(run.folder, CHECKERS)
    record.update(part="load", promise=run.shape.promise, cpu_s=0.0)
    if error is not None:
        record.update(outcome="error", error=dict(error))
    elif record["errors"]:
        message = f"{len(record['errors'])} checkers crashed"
        record.update(outcome="error", error={"kind": "harness", "message": message})
    return record


def _shape(name: str) -> Shape:
    if name not in SHAPES:
        raise click.UsageError(f"no shape {name!r}{near(name, SHAPES)}; there are {', '.join(sorted(SHAPES))}")
    return SHAPES[name]


def _objective(given: Sequence[str]) -> dict[str, float]:
    """Return the bounds in milliseconds by what is bounded. Raises UsageError."""
    found: dict[str, float] = {}
    for one in given:
        name, _, text = one.partition("=")
        try:
            bound_ms = float(text)
        except ValueError:
            bound_ms = 0.0
        if name not in OBJECTIVES or not 0 < bound_ms < float("inf"):
            raise click.UsageError(f"--objective {one}: give {', '.join(f'{name}=MS' for name in OBJECTIVES)}")
        found[name] = bound_ms
    return found


def _senders(options: LoadOptions) -> dict[str, Any]:
    """Return who sends, as the record has it."""
    if options.expect_workers is None:
        return {"workers": options.workers}
    return {"expect-workers": options.expect_workers, "apart": options.apart}


def _fleet(options: LoadOptions) -> FleetAsked | None:
    """Return the workers that are to be waited for, if any. Raises UsageError."""
    if options.expect_workers is None:
        if options.apart:
            raise click.UsageError(
                "--apart goes with --expect-workers: the clocks of workers that are started here compare"
            )
        return None
    if options.workers > 1:
        raise click.UsageError("--workers starts workers here, --expect-workers waits for others: give one of the two")
    host = options.master_bind_host
    _check_free("--master-bind-port", host, options.master_bind_port)
    if not _is_loopback(host):
        say(
            f"warning: {host} is no loopback address: whoever reaches port {options.master_bind_port} there is given "
            "the accounts' keys, and they cross the network in clear (docs/load.md has the way through ssh)",
            err=True,
        )
    return FleetAsked(
        expected=options.expect_workers,
        host=host,
        port=options.master_bind_port,
        wait_s=options.expect_workers_max_wait,
        apart=options.apart,
        told=lambda text: say(text, err=True),
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _web(port: int | None) -> tuple[str, ...]:
    """Return Locust's options for its page, on loopback alone: it can stop a load, and asks nobody who he is.

    Raises UsageError for a port that cannot be had.
    """
    if port is None:
        return ()
    _check_free("--web", "127.0.0.1", port)
    return "--autostart", "--autoquit", "0", "--web-host", "127.0.0.1", "--web-port", str(port)


def _check_free(option: str, host: str, port: int) -> None:
    """Raise UsageError for a port that cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server(("" if host == "*" else host, port), family=family).close()
    except OSError as error:
        raise click.UsageError(f"{option} {port}: {error.strerror or error}") from None
