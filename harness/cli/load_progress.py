"""How far a load is, on standard error: one line that is drawn over on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from harness.cli.terminal import live, say
from harness.load.shape import Load

EVERY_S = 10.0
"""Seconds between two lines where nothing can be drawn over."""


class LoadProgress:
    """Tells what was sent and what came of it, as it happens."""

    def __init__(self, load: Load, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._live = live()
        self._next_us = 0.0
        self._late_us = 0
        self._length_s = load.length_ms / 1e3

    def __enter__(self) -> LoadProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live and not self._quiet and self._next_us:
            say("", err=True)

    def told(self, at: Mapping[str, Any]) -> None:
        """Tell where the load is."""
        self._late_us = max(self._late_us, at["late_us"])
        if self._quiet or (not self._live and at["now_us"] < self._next_us):
            return
        self._next_us = at["now_us"] + (1 if self._live else EVERY_S * 1e6)
        outcomes = ", ".join(f"{count:,} {name}" for name, count in sorted(at["outcomes"].items()))
        line = (
            f"{max(0, at['now_us']) / 1e6:6.1f} of {self._length_s:g} s  {at['sent']:,} of {at['planned']:,} sent, "
            f"{at['sent'] - at['ended']:,} under way, {outcomes or 'none ended'}, "
            f"at most {self._late_us / 1e3:.1f} ms late"
        )
        if at["lost"]:
            line += f", {at['lost']} workers lost"
        if self._live:
            sys.stderr.write(f"\r\x1b[K{line}")
            sys.stderr.flush()
        else:
            say(line, err=True)
