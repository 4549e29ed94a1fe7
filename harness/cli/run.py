"""The commands that run, judge and replay: selection in, run folder and terminal text out."""

from __future__ import annotations

import platform
import shutil
import signal
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from time import perf_counter  # noqa: TID251 - how long the command took, for the person who waits
from typing import Any

import click
import orjson

from harness.checker import CHECKERS
from harness.cli.progress import Progress
from harness.cli.selection import Selection, seeds, select
from harness.cli.suite import SUITE, load, make_target, target_spec
from harness.cli.terminal import fail, near
from harness.cli.text import print_verdict
from harness.contract import Contract, ContractError, load_requirements
from harness.contract.loader import contract_from_json
from harness.history import HistoryError, read_history
from harness.runner import (
    EXIT_FAIL,
    EXIT_HARNESS,
    EXIT_UNREACHABLE,
    EXIT_USAGE,
    Job,
    build_verdict,
    rejudge,
    run_job,
    run_jobs,
)
from harness.target import Target, TargetError

RUNS = Path("runs")


def run_command(
    names: tuple[str, ...],
    target: str,
    contract_path: str,
    upstreams_url: str,
    keys: tuple[str, ...],
    mode: str | None,
    profiles: tuple[str, ...],
    requirements: tuple[str, ...],
    mutant: str,
    seed: int | None,
    seeds_: str,
    last_failed: bool,
    list_only: bool,
    exit_first: bool,
    workers: int | None,
    out: Path | None,
    quiet: bool,
) -> int:
    """Run what was selected and return the exit code."""
    load()
    if (keys or upstreams_url) and "://" not in target:
        raise click.UsageError("--key and --upstreams go with --target URL alone")
    if out is not None and str(out) in ("", "."):
        raise click.UsageError("--out: give a folder of its own")
    made, spec = _target(target, keys, upstreams_url, contract_path)
    mode = mode or ("remote" if "://" in target else "sim")
    if mode not in made.modes:
        raise click.UsageError(f"--mode {mode}: target {target} can be run in {' or '.join(made.modes)}")
    _check_mutant(mutant, target)
    overlay = "short" if mode == "local" else ""
    contract = made.contract([overlay] if overlay else [])
    selection = select(names, profiles, requirements, contract)
    if last_failed:
        selection = _last_failed(selection)
    span = seeds(seed, seeds_)
    if list_only:
        for name in selection.scenarios:
            click.echo(name)
        return 0
    folder = _run_folder(out)
    jobs = [
        Job(
            scenario=name,
            seed=one,
            mode=mode,
            target=spec,
            mutant=mutant,
            overlay=overlay,
            requirements=selection.requirements,
            folder=str(folder),
            keep_passes=len(span) == 1,
        )
        for one in span
        for name in selection.scenarios
    ]
    run = {
        "target": target,
        "mode": mode,
        "seeds": [span.start, span.stop - 1],
        "mutant": mutant,
        "overlay": overlay,
        "selection": list(names),
        "profiles": list(profiles),
        "requirements": sorted(selection.requirements),
    }
    return execute(jobs, run, selection, made, folder, workers=workers, exit_first=exit_first, quiet=quiet)


def execute(
    jobs: list[Job],
    run: dict[str, Any],
    selection: Selection,
    target: Target,
    folder: Path,
    *,
    workers: int | None,
    exit_first: bool = False,
    quiet: bool = False,
    show: bool = True,
) -> int:
    """Run ``jobs``, write the run folder, print the verdict and return the exit code. Ctrl-C keeps what is there."""
    records: list[dict[str, Any]] = []
    started = perf_counter()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a cancelled job keeps its partial record too
    local_workers = 4 if run["mode"] == "local" else 0  # a local run waits most of its time
    with Progress(len(jobs), quiet=quiet or not show) as progress:
        try:
            for record in run_jobs(jobs, SUITE, workers=workers or local_workers, stop_at_first=exit_first):
                records.append(record)
                progress.finished(record)
        except KeyboardInterrupt:
            run["interrupted"] = True
    order = {(job.scenario, job.seed): n for n, job in enumerate(jobs)}
    records.sort(key=lambda record: order[record["scenario"], record["seed"]])
    run["seconds"] = round(perf_counter() - started, 2)
    verdict = build_verdict(
        run,
        records,
        load_requirements(),
        target.claims,
        expected=selection.expected,
        assumed=_assumed(target.contract()),
    )
    try:
        write(folder, verdict)
    except OSError as error:
        fail(f"the record could not be written to {folder}", cause=error.strerror or str(error))
        return EXIT_HARNESS
    if show:
        print_verdict(verdict, folder)
    return int(verdict["exit"])


def demo_command(out: Path | None) -> int:
    """Run the core on the reference gateway, then one mutant on one scenario; 0 if both went as they should."""
    from harness.mutants import MUTANTS

    load()
    folder = _run_folder(out)
    target, spec = _target("reference", (), "", "")
    contract = target.contract()
    click.echo("The reference gateway, on simulated time:\n")
    core = select(("core",), (), (), contract)
    jobs = [Job(name, 0, "sim", spec, folder=str(folder)) for name in core.scenarios]
    run = {"target": "reference", "mode": "sim", "seeds": [0, 0], "mutant": "", "selection": ["core"]}
    right = execute(jobs, dict(run), core, target, folder, workers=None, quiet=True)
    mutant = MUTANTS["bills_failed_calls"]
    click.echo(f"\nNow a gateway that is wrong in one way, {mutant.name}: {mutant.lie}\n")
    wrong_folder = folder / "mutant"
    broken = select((), (), (mutant.breaks,), contract)
    jobs = [
        Job(name, 0, "sim", spec, mutant=mutant.name, requirements=broken.requirements, folder=str(wrong_folder))
        for name in broken.scenarios
    ]
    wrong_run = {**run, "mutant": mutant.name, "selection": list(broken.scenarios)}
    caught = execute(jobs, wrong_run, broken, target, wrong_folder, workers=None, quiet=True)
    if right == 0 and caught == EXIT_FAIL:
        click.echo("\nThe right gateway passed and the wrong one was caught. Next: harness run --help")
        return 0
    return right or EXIT_HARNESS


def judge_command(folder: Path) -> int:
    """Judge and render a run folder, or one scenario's folder in it, again."""
    load()
    folders = _recorded(folder)
    records = []
    try:
        for one in folders:
            records.append(rejudge(one, CHECKERS))
        plan = read_history(folders[0]).plan
    except HistoryError as error:
        fail("this run cannot be judged", cause=str(error))
        return EXIT_USAGE
    except KeyError as error:
        fail(f"this run was recorded with a check that is gone: {error}", help="harness list checkers")
        return EXIT_USAGE
    earlier = _earlier_run(folder)
    run: dict[str, Any] = {
        **{name: earlier[name] for name in ("interrupted", "overlay", "profiles", "requirements") if name in earlier},
        "target": plan.target,
        "mode": plan.mode,
        "mutant": plan.mutant,
        "seeds": [min(r["seed"] for r in records), max(r["seed"] for r in records)],
        "selection": sorted({r["scenario"] for r in records}),
        "judged_again": True,
    }
    catalogue = load_requirements()
    whole = bool(earlier) and not earlier.get("selection") and not earlier.get("requirements")
    verdict = build_verdict(
        run,
        records,
        catalogue,
        plan.claims,
        expected=frozenset(catalogue) if whole else frozenset(),
        assumed=_assumed(contract_from_json(plan.contract)),
    )
    write(folder, verdict, again=True)
    print_verdict(verdict, folder)
    return int(verdict["exit"])


def replay_command(folder: Path) -> int:
    """Run recorded simulations again and compare; 1 if a single bit differs."""
    load()
    folders = _recorded(folder)
    worst = 0
    for one in folders:
        try:
            plan = read_history(one).plan
        except HistoryError as error:
            fail("this run cannot be replayed", cause=str(error))
            return EXIT_USAGE
        if plan.mode != "sim":
            fail(
                f"{one} was recorded in mode {plan.mode}",
                cause="only simulated time repeats itself",
                help=f"harness judge {one} judges what was recorded",
            )
            return EXIT_USAGE
        again = _run_again(plan, one.parent / f".replay-{one.name}")
        before = (one / "history.jsonl").read_bytes()
        if again is None:
            fail(f"{one}: scenario {plan.scenario} could not be run again")
            return EXIT_HARNESS
        same = again == before
        click.echo(f"{'identical' if same else 'DIFFERENT'}  {plan.scenario}  seed {plan.seed}  {len(before)} bytes")
        if not same:
            line = next(
                (n for n, (a, b) in enumerate(zip(before.splitlines(), again.splitlines(), strict=False), 1) if a != b),
                0,
            )
            fail(f"{one}/history.jsonl differs from line {line} on", help="was it recorded by another version?")
            worst = EXIT_FAIL
    return worst


def _run_again(plan: Any, scratch: Path) -> bytes | None:
    _, spec = _target(plan.target, (), "", "")
    try:
        job = Job(plan.scenario, plan.seed, "sim", spec, mutant=plan.mutant, folder=str(scratch))
        record = run_job(job, SUITE)
        if "folder" not in record:
            return None
        return (scratch / str(record["folder"]) / "history.jsonl").read_bytes()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write(folder: Path, verdict: Mapping[str, Any], *, again: bool = False) -> None:
    """Write ``verdict.json``, ``run.json`` and what is rendered from them into ``folder``. Raises OSError.

    ``again``: the run was recorded earlier, and ``run.json`` stays as it was.
    """
    from reports import render_all

    folder.mkdir(parents=True, exist_ok=True)
    if not (again and (folder / "run.json").exists()):
        (folder / "run.json").write_bytes(orjson.dumps(_environment(), option=orjson.OPT_INDENT_2))
    (folder / "verdict.json").write_bytes(orjson.dumps(verdict, option=orjson.OPT_INDENT_2))
    render_all(folder)


def _argv() -> list[str]:
    """Return the command line with customers' keys blotted out."""
    shown = [Path(sys.argv[0]).name]
    for before, word in zip(sys.argv, sys.argv[1:], strict=False):
        account, equals, _ = word.removeprefix("--key=").partition("=")
        given = before == "--key" or word.startswith("--key=")
        prefix = "--key=" if word.startswith("--key=") else ""
        shown.append(f"{prefix}{account}{equals}..." if given else word)
    return shown


def _environment() -> dict[str, Any]:
    return {
        "schema": "harness.run/1",
        "argv": _argv(),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),  # noqa: TID251 - the one wall stamp, outside the record
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {
            name: version(name)
            for name in ("llm-gateway-harness", "httpx", "starlette", "uvicorn", "orjson", "pandas", "matplotlib")
        },
    }


def _target(name: str, keys: tuple[str, ...], upstreams_url: str, contract: str) -> tuple[Target, dict[str, Any]]:
    """Return the target and its spec; ends the command with what is wrong."""
    if name != "reference" and "://" not in name and ":" not in name:
        raise click.UsageError(f"no target {name!r}{near(name, ['reference'])}; give reference, MODULE:APP, or a URL")
    try:
        spec = target_spec(name, keys, upstreams_url, contract)
        target = make_target(spec)
        target.contract()
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    except ContractError as error:
        fail(f"the contract has {len(error.problems)} problems", cause="\n       ".join(error.problems))
        raise SystemExit(EXIT_USAGE) from None
    except TargetError as error:
        fail(str(error), cause=error.cause, help=error.help)
        raise SystemExit(EXIT_UNREACHABLE) from None
    return target, spec


def _check_mutant(name: str, target: str) -> None:
    if not name:
        return
    from harness.mutants import MUTANTS

    if name not in MUTANTS:
        raise click.UsageError(f"no mutant {name!r}{near(name, MUTANTS)}; there are {', '.join(sorted(MUTANTS))}")
    if target != "reference":
        raise click.UsageError("a mutant is the reference gateway made wrong: it goes with --target reference alone")


def _run_folder(out: Path | None) -> Path:
    """Make an empty run folder and show that it can be written to; ends the command if not.

    A folder that holds an earlier run is emptied of it; one that holds anything else is refused.
    """
    try:
        folder = _next_folder() if out is None else out
        folder.mkdir(parents=True, exist_ok=True)
        _clear(folder)
        probe = folder / ".probe"
        probe.write_bytes(bytes(1 << 20))  # a full disk shows itself now and not after the run
        probe.unlink()
    except OSError as error:
        fail(
            f"cannot write to {out or RUNS}", cause=error.strerror or str(error), help="give another folder with --out"
        )
        raise SystemExit(EXIT_USAGE) from None
    return folder


def _next_folder() -> Path:
    """Make runs/<n> with the next number that is free, also when two runs ask at once."""
    RUNS.mkdir(exist_ok=True)
    number = max((int(path.name) for path in RUNS.iterdir() if path.name.isdigit()), default=0)
    while True:
        number += 1
        try:
            (RUNS / str(number)).mkdir()
        except FileExistsError:
            continue
        return RUNS / str(number)


def _clear(folder: Path) -> None:
    """Remove an earlier run's record from ``folder``, so that two runs never mix."""
    present = {path.name for path in folder.iterdir()}
    if present and "verdict.json" not in present and not list(folder.glob("*/history.jsonl")):
        raise OSError(f"it holds other files: {', '.join(sorted(present)[:3])}")
    for recorded in folder.glob("*/history.jsonl"):
        shutil.rmtree(recorded.parent)
    for name in ("verdict.json", "run.json", "report.html", "summary.md", "junit.xml"):
        (folder / name).unlink(missing_ok=True)


def _recorded(folder: Path) -> list[Path]:
    """Return the scenario folders of a run folder, or the folder itself; ends the command if it holds no run."""
    if (folder / "history.jsonl").is_file():
        return [folder]
    found = sorted(path.parent for path in folder.glob("*/history.jsonl")) if folder.is_dir() else []
    if not found:
        fail(
            f"{folder} holds no recorded run",
            cause="there is no history.jsonl in it, nor in a folder below it",
            help="harness run --out DIR records one",
        )
        raise SystemExit(EXIT_USAGE)
    return found


def _earlier_run(folder: Path) -> dict[str, Any]:
    """Return what the folder's earlier verdict says was asked, nothing if there is none."""
    try:
        run: dict[str, Any] = orjson.loads((folder / "verdict.json").read_bytes())["run"]
    except (OSError, orjson.JSONDecodeError, KeyError):
        return {}
    return run


def _last_failed(selection: Selection) -> Selection:
    """Return what of ``selection`` did not pass in the newest run below runs/; nothing left is a usage error."""
    found = sorted(RUNS.glob("*/verdict.json"), key=lambda path: path.stat().st_mtime) if RUNS.is_dir() else []
    if not found:
        raise click.UsageError(f"there is no last run below {RUNS}/")
    last = orjson.loads(found[-1].read_bytes())
    failed = {r["scenario"] for r in last["scenarios"] if r["outcome"] not in ("pass", "unsupported")}
    chosen = tuple(name for name in selection.scenarios if name in failed)
    if not chosen:
        raise click.UsageError(f"nothing selected: all of it passed in {found[-1].parent}")
    return Selection(chosen, selection.requirements, frozenset())


def _assumed(contract: Contract) -> dict[str, list[str]]:
    """Return, per requirement, the assumed blocks of the contract that its verdict rests on."""
    assumed: dict[str, list[str]] = {}
    if contract.user_rate.origin == "assumed":
        for identifier in ("RATE-01", "GOV-08"):
            assumed.setdefault(identifier, []).append("the per-user limit of the general API")
    if any(model.price is not None and model.price.origin == "assumed" for model in contract.models):
        for identifier in ("BILL-01", "RESP-04", "MSG-06"):
            assumed.setdefault(identifier, []).append("prices of the general models")
    return assumed
