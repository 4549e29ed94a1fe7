"""How the command line speaks: errors, near names, colour; results go to stdout, the rest to stderr."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterable
from typing import TextIO

import click

_COLOURS = {
    "PASS": "green",
    "FAIL": "red",
    "ERROR": "red",
    "INCONCLUSIVE": "yellow",
    "UNSUPPORTED": "cyan",
    "KILLED": "green",
    "SURVIVED": "red",
    "ELSEWHERE": "red",
    "ERRORED": "red",
}


def fail(message: str, *, cause: str = "", help: str = "") -> None:  # noqa: A002 - the word users see
    """Say one error on standard error: what happened, why, and what to do about it."""
    say(f"{_paint('error:', 'red', sys.stderr)} {message}", err=True)
    if cause:
        say(f"cause: {hanging(cause, 7)}", err=True)
    if help:
        say(f"help:  {hanging(help, 7)}", err=True)


def hanging(text: str, indent: int) -> str:
    """Return ``text`` with every line but the first indented."""
    return f"\n{' ' * indent}".join(line.rstrip() for line in text.strip().splitlines())


def near(given: str, known: Iterable[str]) -> str:
    """Return ``, did you mean 'x' or 'y'?`` for the names near ``given``, or nothing."""
    names = difflib.get_close_matches(given, list(known), n=3, cutoff=0.5)
    return f", did you mean {' or '.join(repr(name) for name in names)}?" if names else ""


def say(text: str = "", *, err: bool = False, newline: bool = True) -> None:
    """Print a line to standard output or error; escape codes stay in it only where colour is wanted.

    Where the reader is gone (``| head``) the rest is dropped: what the command does and how it exits stay the same.
    """
    stream = sys.stderr if err else sys.stdout
    try:
        click.echo(text, err=err, nl=newline, color=_wants_colour(stream))
    except BrokenPipeError:
        hush(stream)


def hush(stream: TextIO) -> None:
    """Let what is written to ``stream`` from now on, and what waits in its buffer, go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def status(outcome: str, *, err: bool = False) -> str:
    """Return an outcome as a word of fixed width, coloured for the stream that it goes to."""
    word = outcome.upper()
    return _paint(f"{word:<12}", _COLOURS.get(word, "white"), sys.stderr if err else sys.stdout)


def live() -> bool:
    """Say whether progress may be drawn live: standard error is a terminal and this is no CI system."""
    return sys.stderr.isatty() and not os.environ.get("CI") and os.environ.get("TERM") != "dumb"


def _paint(text: str, colour: str, stream: object) -> str:
    return click.style(text, fg=colour) if _wants_colour(stream) else text


def _wants_colour(stream: object) -> bool:
    """NO_COLOR beats FORCE_COLOR beats what the stream is."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return os.environ["FORCE_COLOR"] != "0"
    return bool(getattr(stream, "isatty", lambda: False)()) and os.environ.get("TERM") != "dumb"
