"""How a command is told to end: a cancelled job's SIGTERM counts as Ctrl-C, so that what there is is kept."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt inside; what was to happen before is to happen again after."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        if before is not None:  # else it was nothing that Python knows
            signal.signal(signal.SIGTERM, before)
