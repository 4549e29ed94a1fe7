"""Run folders: made, emptied, found and written; what stands in them is judged elsewhere."""

from __future__ import annotations

import fcntl
import os
import platform
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import orjson

from harness.cli.terminal import fail
from harness.contract import Contract, contract_to_json
from harness.runner import EXIT_USAGE
from harness.runner.shapes import Power, Verdict
from harness.shape import problems

RUNS = Path("runs")
PROBLEMS_SHOWN = 10
CONTRACT = "contract.json"
"""The contract that the run's scenarios were made from; what a scenario's world makes of it stands in its plan."""
WRITTEN = (
    *("verdict.json", "run.json", CONTRACT, "report.html", "summary.md", "junit.xml"),
    *("power.json", "power.md", "power.svg", "power.html", "swarm.json"),
    *("limiter.json", "limiter.html"),
    *("bench.json", "bench.md", "bench.html"),
    *("load.html", "load.md", "load.json"),
    *(f"load-{what}.{kind}" for what in ("calls", "seconds", "memory") for kind in ("csv", "parquet")),
)
"""What a run leaves in its folder besides histories."""
LEFT = ("*/history.jsonl", "load.*/locust-*.txt")
"""What marks a folder below it as a run's: a history, or what a load printed that came to none."""


def run_folder(out: Path | None) -> Path:
    """Make an empty run folder and show that it can be written to; ends the command if not.

    A folder that holds an earlier run is emptied of it; one that holds anything else, or that another command is
    writing to, is refused.
    """
    try:
        folder = _next_folder() if out is None else out
        folder.mkdir(parents=True, exist_ok=True)
        _hold(folder)
        _clear(folder)
        probe = folder / ".probe"
        try:
            probe.write_bytes(bytes(1 << 20))  # a full disk shows itself now and not after the run
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        fail(
            f"cannot write to {out or RUNS}", cause=error.strerror or str(error), help="give another folder with --out"
        )
        raise SystemExit(EXIT_USAGE) from None
    return folder


def _hold(folder: Path) -> None:
    """Hold ``folder`` until the command ends, so that two runs never mix. Raises OSError while another one holds it."""
    held = os.open(folder, os.O_RDONLY)
    click.get_current_context().call_on_close(lambda: os.close(held))
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OSError("another command is writing to it") from None


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
    started = {path.parent for left in LEFT for path in folder.glob(left)}
    if (
        present
        and not present & {"verdict.json", "power.json", "swarm.json", "bench.json", CONTRACT, ".probe"}
        and not started
    ):
        raise OSError(f"it holds other files: {', '.join(sorted(present)[:3])}")
    for recorded in started:
        shutil.rmtree(recorded)
    if (folder / "audit" / "audit.json").is_file():
        shutil.rmtree(folder / "audit")
    for name in WRITTEN:
        (folder / name).unlink(missing_ok=True)


def recorded(folder: Path) -> list[Path]:
    """Return the scenario folders of a run folder, or the folder itself; ends the command if it holds no history."""
    if (folder / "history.jsonl").is_file():
        return [folder]
    found = sorted(path.parent for path in folder.glob("*/history.jsonl")) if folder.is_dir() else []
    if not found:
        fail(f"{folder} holds no recorded history", **_why_none(folder))
        raise SystemExit(EXIT_USAGE)
    return found


def _why_none(folder: Path) -> dict[str, str]:
    verdict = verdict_of(folder)
    if not verdict:
        empty = "there is no history.jsonl in it, nor in a folder below it"
        return {
            "cause": empty if folder.is_dir() else "there is no such folder",
            "help": "harness run --out DIR records one",
        }
    first, last = verdict["run"].get("seeds", (0, 0))
    if first != last:
        return {
            "cause": "a run of several seeds keeps the histories of what did not pass alone, and here all passed",
            "help": f"record one seed of it whole: harness run ... --seed {first} --out DIR",
        }
    return {"cause": "nothing of it could be run: its verdict.json says why", "help": f"see {folder / 'report.html'}"}


class RecordError(Exception):
    """A record of a run that cannot be read; ``problems`` says, line by line, of which file and field, and why."""

    def __init__(self, problems: Sequence[str]) -> None:
        more = [f"and {len(problems) - PROBLEMS_SHOWN} more"] if len(problems) > PROBLEMS_SHOWN else []
        self.problems = (*problems[:PROBLEMS_SHOWN], *more)
        super().__init__("\n".join(self.problems))


def record_in(path: Path) -> dict[str, Any]:
    """Return the ``verdict.json`` or ``power.json`` at ``path``, its shape found right. Raises RecordError."""
    try:
        record = orjson.loads(path.read_bytes())
    except OSError as error:
        raise RecordError([f"{path}: {error.strerror or error}"]) from None
    except orjson.JSONDecodeError as error:
        raise RecordError([f"{path}: not JSON: {error}"]) from None
    found = list(problems(record, Power if path.name == "power.json" else Verdict, "record"))
    if found:
        raise RecordError([f"{path}: {one.removeprefix('record.')}" for one in found])
    assert isinstance(record, dict)
    return record


def verdict_of(folder: Path) -> dict[str, Any]:
    """Return the folder's verdict.json, or nothing if there is none; ends the command if it is damaged."""
    if not (folder / "verdict.json").exists():
        return {}
    try:
        return record_in(folder / "verdict.json")
    except RecordError as error:
        fail(
            f"the record of {folder} is damaged",
            cause=str(error),
            help="mend it, or take the file away: harness judge makes another from the histories",
        )
        raise SystemExit(EXIT_USAGE) from None


def last_run() -> tuple[Path, dict[str, Any]] | None:
    """Return the newest run below runs/ that has a verdict, with it."""
    found = sorted(RUNS.glob("*/verdict.json"), key=lambda path: path.stat().st_mtime) if RUNS.is_dir() else []
    return (found[-1].parent, verdict_of(found[-1].parent)) if found else None


def contract_of(folder: Path) -> Mapping[str, Any] | None:
    """Return the contract that a run folder's scenarios were made from, as data, if it is there."""
    try:
        data = orjson.loads((folder / CONTRACT).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    return data if isinstance(data, dict) else None


def write(folder: Path, verdict: Mapping[str, Any], *, contract: Contract | None = None, again: bool = False) -> None:
    """Write ``verdict.json``, ``run.json`` and what is rendered from them into ``folder``. Raises OSError.

    ``contract`` is what the scenarios were made from, before their worlds changed it. ``again``: the run was recorded
    earlier, and ``run.json`` stays as it was.
    """
    from reports import render_all

    folder.mkdir(parents=True, exist_ok=True)
    if contract is not None:
        (folder / CONTRACT).write_bytes(orjson.dumps(contract_to_json(contract)))
    if not (again and (folder / "run.json").exists()):
        (folder / "run.json").write_bytes(orjson.dumps(environment(), option=orjson.OPT_INDENT_2))
    (folder / "verdict.json").write_bytes(orjson.dumps(verdict, option=orjson.OPT_INDENT_2))
    render_all(folder)


def _argv() -> list[str]:
    """Return the command line with customers' keys blotted out."""
    shown = [Path(sys.argv[0]).name]
    for before, word in zip(sys.argv, sys.argv[1:], strict=False):
        account, equals, _ = word.removeprefix("--key=").partition("=")
        given = before == "--key" or word.startswith("--key=")
        prefix = "--key=" if word.startswith("--key=") else ""
        shown.append(f"{prefix}{account}{equals}..." if given and equals else word)
    return shown


def command_line() -> str:
    """Return the command line as it can be typed again, customers' keys blotted out."""
    return shlex.join(["harness", *_argv()[1:]])


def environment() -> dict[str, Any]:
    """Return what ``run.json`` says of this process: outside every bit-identical promise."""
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
