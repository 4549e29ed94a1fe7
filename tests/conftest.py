"""What every test starts from: a process that hears Ctrl-C, as its children then do."""

from __future__ import annotations

import signal

import pytest


@pytest.fixture(autouse=True)
def _signals() -> None:
    """Undo what a shell's background is deaf to, which is inherited."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
