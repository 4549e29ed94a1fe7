"""The command that joins shards: run folders or power folders in, one folder of the whole out."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.cli.folder import CONTRACT, RecordError, record_in, run_folder, write
from harness.cli.power import finish
from harness.cli.suite import load
from harness.cli.terminal import fail
from harness.cli.text import print_verdict
from harness.contract import load_requirements
from harness.runner import EXIT_HARNESS, EXIT_USAGE
from harness.runner.merging import merge_power, merge_verdicts
from harness.runner.shards import MisfitError

KINDS = ("verdict.json", "power.json")


def merge_command(folders: Sequence[Path], out: Path) -> int:
    """Join ``folders`` into ``out`` and return the exit code of the whole."""
    load()
    if out.resolve() in {folder.resolve() for folder in folders}:
        fail(f"--out {out} is one of the shards", help="give a folder of its own")
        return EXIT_USAGE
    kind, named = _read(folders)
    try:
        whole = (merge_power if kind == "power.json" else merge_verdicts)(named, load_requirements())
    except MisfitError as error:
        fail("the shards do not make one whole", cause="\n       ".join(error.problems), help="nothing was written")
        return EXIT_USAGE
    folder = run_folder(out)
    if kind == "power.json":
        return finish(folder, whole)
    try:
        for source in folders:
            for history in source.glob("*/history.jsonl"):
                shutil.copytree(history.parent, folder / history.parent.name)
        if (folders[0] / CONTRACT).is_file():
            shutil.copy(folders[0] / CONTRACT, folder / CONTRACT)
        write(folder, whole)
    except OSError as error:
        fail(f"the record could not be written to {folder}", cause=error.strerror or str(error))
        return EXIT_HARNESS
    print_verdict(whole, folder)
    return int(whole["exit"])


def _read(folders: Sequence[Path]) -> tuple[str, list[tuple[str, Mapping[str, Any]]]]:
    """Return the kind of the folders and their records by name; ends the command if they are not of one kind."""
    problems = []
    found: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for folder in folders:
        kind = next((name for name in reversed(KINDS) if (folder / name).is_file()), "")
        if not kind:
            problems.append(f"{folder}: there is no {' or '.join(KINDS)} in it")
            continue
        try:
            found.setdefault(kind, []).append((str(folder), record_in(folder / kind)))
        except RecordError as error:
            problems += error.problems
    if len(found) > 1:
        problems.append("runs and power runs do not mix")
    if problems:
        fail("these folders cannot be merged", cause="\n       ".join(problems), help="harness merge DIR... --out DIR")
        raise SystemExit(EXIT_USAGE)
    return next(iter(found.items()))
