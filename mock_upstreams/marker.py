"""Finds a call's marker in the raw bytes of a request and reads its directives; it knows nothing of any dialect.

``[call:c17]`` says which call this is; ``[call:c17 chunks=50 ttft=0.05 gap=0.02 in=1000 out=200]`` also what to answer.
The marker stands in the prompt's text because prompts survive every gateway; the last one in the body counts, since
a conversation carries those of its earlier turns along.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from functools import lru_cache

MOST_CHUNKS = 100_000
LONGEST_PAUSE_S = 1e6
LARGEST_COUNT = 2**53
SHAPES = ("text", "tools", "thinking", "structured", "mixed", "unknown")
"""What an answer is made of: see ``mock_upstreams.answer``."""

_MARKER = re.compile(rb"\[call:([A-Za-z0-9_.\-]{1,128})((?: [a-z_]+=[^ \]\"\\]+)*)\]")
_OPENING = b"[call:"


@dataclass(frozen=True, slots=True)
class Directives:
    """What a marker asks for. Times are seconds; None and "" leave it to the upstream.

    ``input``, ``cached``, ``written``, ``output`` are the four disjoint billing classes (fresh input, cache reads,
    cache writes, output with reasoning in it), ``reasoning`` the part of the output that is reasoning.
    """

    chunks: int = 4
    ttft: float = 0.0
    gap: float = 0.0
    input: int | None = None
    cached: int | None = None
    written: int | None = None
    output: int | None = None
    reasoning: int = 0
    shape: str = ""


_NAMES = {"in": "input", "out": "output"}
_KNOWN = ("chunks", "ttft", "gap", "in", "cached", "written", "out", "reasoning", "shape")


def find_marker(body: bytes) -> tuple[str, Directives]:
    """Return the call id and the directives of the last marker in ``body``; ``""`` and defaults if there is none.

    Raises ValueError, naming the near ones, for a directive that is unknown or has no value of its kind.
    """
    at = body.rfind(b"[")  # often the marker's own, and a single byte is found much sooner
    if not body.startswith(_OPENING, max(at, 0)):
        at = body.rfind(_OPENING)
    while at >= 0:
        found = _MARKER.match(body, at)
        if found:
            return found[1].decode("ascii"), _directives(found[2])
        at = body.rfind(_OPENING, 0, at)
    return "", _directives(b"")


@lru_cache(maxsize=4096)
def _directives(text: bytes) -> Directives:
    asked: dict[str, int | float | str] = {}
    for word in text.decode("utf-8", "replace").split():
        name, _, value = word.partition("=")
        if name not in _KNOWN:
            near = difflib.get_close_matches(name, _KNOWN)
            hint = f"; near: {', '.join(near)}" if near else ""
            raise ValueError(f"the marker has no directive {name!r}{hint}; it has {', '.join(_KNOWN)}")
        asked[_NAMES.get(name, name)] = _value(name, value)
    return Directives(**asked)  # type: ignore[arg-type]  # each name's value was read by its own kind


def _value(name: str, text: str) -> int | float | str:
    if name == "shape":
        if text not in SHAPES:
            raise ValueError(f"the marker's shape {text!r} is none of {', '.join(SHAPES)}")
        return text
    kind, most = (float, LONGEST_PAUSE_S) if name in ("ttft", "gap") else (int, LARGEST_COUNT)
    try:
        value = kind(text)
    except ValueError:
        raise ValueError(
            f"the marker's {name}={text!r} is not {'seconds' if kind is float else 'a whole number'}"
        ) from None
    most = MOST_CHUNKS if name == "chunks" else most
    least = 1 if name == "chunks" else 0
    if not least <= value <= most:
        raise ValueError(f"the marker's {name}={text} is not between {least} and {most:g}")
    return value
