"""What a run stands on, whatever the mode: the gateway's address, the upstreams' control, and the taps."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import httpx

from harness.contract import Contract
from harness.environment.control import UpstreamControl
from harness.environment.log import Log
from harness.scenario import Crash
from harness.target import Mode, Running, Start, UpstreamAddress

Kill = Callable[[Crash, Callable[[], None]], Awaitable[Start | None]]
"""Kills the gateway, calls back in that instant, and starts it again on what was committed.

Returns what became of the start in between that had to fail, if the crash asks for one and it could be tried. Raises
CrashNeverCame if what it was to crash in never happened: the gateway lives on.
"""


class CrashNeverCame(Exception):  # noqa: N818 - what did not happen, not a failure
    """The commit in which the gateway was to crash was never made."""


@dataclass(slots=True)
class Stage:
    """Everything a run stands on: the gateway's address, the upstreams' control, and the taps of this mode.

    ``zero_s`` is the run's zero where it was fixed before the gateway started, ``gateway_zero_s`` that of the gateway's
    stamps. ``crash`` is None where the gateway cannot be killed.
    """

    mode: Mode
    target: str
    mutant: str
    claims: tuple[str, ...]
    contract: Contract
    base_url: str
    transport: httpx.AsyncBaseTransport
    running: Running
    control: UpstreamControl | None
    upstreams: Mapping[str, UpstreamAddress]
    secrets: Mapping[str, str]
    zero_s: float | None
    gateway_zero_s: float
    epoch_s: int
    skew_us: int
    log: Log
    crash: Kill | None = None
    upstreams_pid: int | None = None
    """The process of the mock upstreams, where it is ours."""
    upstreams_alive: Callable[[], None] = lambda: None
    """Raises TargetError once that process has ended."""
