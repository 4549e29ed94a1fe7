"""Text made safe and short, and numbers made readable; it knows no record and no format."""

from __future__ import annotations

import re

BODY_CAP = 4096
"""Bytes of one body, message or expectation that a report shows."""

_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\uffff]"
)
"""What no text format may carry, or what would make a line read otherwise than it is written."""


def safe(value: object) -> str:
    """Return ``value`` as text with control, direction and other unseen characters shown as escapes."""
    return _UNSEEN.sub(_escape, str(value))


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def clipped(value: object, cap: int = BODY_CAP) -> str:
    """Return ``value`` as safe text of at most ``cap`` bytes of UTF-8; what was left out is told as a count."""
    text = safe(value)
    raw = text.encode()
    if len(raw) <= cap:
        return text
    kept = raw[:cap].decode(errors="ignore")
    return f"{kept}… ({len(text) - len(kept):,} more characters)"


def line(value: object, cap: int = 200) -> str:
    """Return ``value`` as one line of safe text."""
    return clipped(" ".join(str(value).split()), cap)


def milliseconds(us: float | None) -> str:
    """Return a time in microseconds as milliseconds, exact to the microsecond, or a dash for none."""
    if us is None:
        return "–"
    return f"{us / 1e3:,.3f}".rstrip("0").rstrip(".") + " ms"


def seconds(us: float | None) -> str:
    """Return a time in microseconds as seconds to the millisecond, or a dash for none."""
    return "–" if us is None else f"{us / 1e6:,.3f}".rstrip("0").rstrip(".") + " s"


def plural(count: int, noun: str) -> str:
    """Return ``count`` with its noun: ``1 call``, ``1,204 calls``, ``3 promises``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def slug(value: str) -> str:
    """Return ``value`` as an HTML id: letters, digits, dots, dashes and underscores, starting with a letter."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", value if value[:1].isalpha() else f"x{value}")
