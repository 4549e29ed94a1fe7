"""What code of the target let out in sim, as notes of the history: nothing in them depends on the machine."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from harness.history import Recording
from harness.sim import Crash
from harness.sim.cycle import BROKEN_OFF

__all__ = ["BROKEN_OFF", "NOTE", "note_raised", "raised_in", "without_machine"]

NOTE = "target_raised"
_MESSAGE_MOST = 300
_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b")


def note_raised(
    recording: Recording, crashes: Iterable[Crash], count: int, zero_s: float, secrets: Iterable[str]
) -> str:
    """Note each kind of exception once, with how often it was kept, and return the first one's traceback.

    ``count`` is how many there were, kept or not; ``zero_s`` the run's zero on the loop's clock.
    """
    secrets = tuple(secrets)
    alike: dict[tuple[str, str, str], list[Crash]] = {}
    for crash in crashes:
        message = without_machine(_without(crash.message, secrets))[:_MESSAGE_MOST]
        alike.setdefault((crash.request, crash.kind, message), []).append(crash)
    kept = sum(map(len, alike.values()))
    for (request, kind, message), found in alike.items():
        at_us = found[0].at_us - round(zero_s * 1e6)
        recording.note(NOTE, at_us, type=kind, message=message, request=request, count=len(found))
    if count > kept:
        recording.note(NOTE, at_us, type="", message="more, not kept", request="", count=count - kept)
    return next((_without(found[0].traceback, secrets) for found in alike.values()), "")


def without_machine(text: str) -> str:
    """Return ``text`` without addresses of memory and folders of this machine."""
    places = {*sys.path, sys.prefix, sys.base_prefix, str(Path.cwd()), tempfile.gettempdir(), str(Path.home())}
    for place in sorted(places, key=len, reverse=True):
        if len(place) > 1:
            text = text.replace(place.rstrip(os.sep) + os.sep, "")
    return _ADDRESS.sub("0x", text)


def raised_in(notes: Iterable[Mapping[str, object]], traceback: str) -> dict[str, object] | None:
    """Return what the record of a scenario says of such notes' details, None if there are none."""
    found = list(notes)
    if not found:
        return None
    first = found[0]
    return {
        "count": sum(int(str(note["count"])) for note in found),
        "type": first["type"],
        "message": first["message"],
        "request": first["request"],
        "traceback": traceback,
    }


def _without(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "[credential]")
    return text
