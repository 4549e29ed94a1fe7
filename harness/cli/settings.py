"""What a server is told by ``--config``: read from the command line or standard input, refused with all problems."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from harness.cli.terminal import fail
from harness.contract.problems import near
from harness.runner import EXIT_USAGE

STDIN = "-"
HELP = "docs/serving.md shows one"


def read_settings(config: str) -> dict[str, Any]:
    """Return the settings given as JSON, or those on standard input; ends the command if they are none.

    Of standard input one line is read, so that a parent can leave it open; all of it where it is a file.
    """
    if not config:
        return {}
    text = config.encode()
    if config == STDIN:
        text = sys.stdin.buffer.read() if _kind_of_input() == "file" else sys.stdin.buffer.readline()
    try:
        settings = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        refuse([f"it is not JSON: {error}"])
    if not isinstance(settings, dict):
        refuse(["it is not a JSON object"])
    made: dict[str, Any] = settings
    return made


def refuse(problems: Sequence[str]) -> None:
    """End the command with what is wrong with its configuration, if anything is."""
    if problems:
        fail("the configuration cannot be used", cause="\n".join(problems), help=HELP)
        raise SystemExit(EXIT_USAGE)


def shape_problems(settings: Mapping[str, Any], known: Sequence[str], needed: Sequence[str] = ()) -> list[str]:
    """Return what is wrong with the fields of ``settings``: unknown, missing, or no object."""
    found = [f"{name}: unknown field{near(name, known)}" for name in settings if name not in known]
    found += [f"{name}: missing" for name in needed if name not in settings]
    return found + [
        f"{name}: must be an object" for name in known if name in settings and not isinstance(settings[name], dict)
    ]


def watch_input(loop: asyncio.AbstractEventLoop, ended: Callable[[], None]) -> None:
    """Call ``ended`` when standard input ends, whatever comes before: so the death of a parent that holds it shows.

    A file has no parent at its other end, and is not watched.
    """
    if _kind_of_input() == "file":
        return
    number = sys.stdin.fileno()

    def read() -> None:
        if not os.read(number, 1 << 16):
            loop.remove_reader(number)
            ended()

    loop.add_reader(number, read)


def _kind_of_input() -> str:
    """Say what standard input is: a pipe (or a socket, or a terminal), or a file (or a device that is none)."""
    mode = os.fstat(sys.stdin.fileno()).st_mode
    return "pipe" if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or sys.stdin.isatty() else "file"
