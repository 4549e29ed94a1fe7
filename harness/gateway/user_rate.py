"""The general API's request limit: one sliding log per user, whatever keys they call with; it knows no model."""

from __future__ import annotations

from harness.contract import Contract
from harness.gateway.clock import Clock
from harness.gateway.errors import Refusal
from harness.gateway.windows import SlidingLog, retry_after_s


class UserRate:
    """Admits the contract's requests per window and account. A refused request counts for nothing."""

    def __init__(self, contract: Contract, clock: Clock) -> None:
        self._limits = contract.user_rate
        self._headers = contract.headers
        self._clock = clock
        self._logs: dict[str, SlidingLog] = {}

    def admit(self, account: str) -> None:
        """Count one request of ``account``. Raises Refusal rate_limited when its window is full."""
        log = self._logs.get(account)
        if log is None:
            log = self._logs[account] = self._new_log()
        now_us = self._clock.now_us()
        wait_us = log.wait_us(now_us, 1)
        if wait_us:
            raise self._refusal(wait_us)
        log.take(now_us, 1)

    def _new_log(self) -> SlidingLog:
        """Return the window of an account that never called."""
        return SlidingLog(self._limits.requests, self._limits.window_ms * 1000)

    def _refusal(self, wait_us: int) -> Refusal:
        limits, names = self._limits, self._headers
        seconds = retry_after_s(wait_us, limits)
        return Refusal(
            "rate_limited",
            f"more than {limits.requests} requests in {limits.window_ms / 1000:g} s; retry in {seconds} s",
            headers={
                names.rate_limit: str(limits.requests),
                names.rate_remaining: "0",
                names.rate_reset: str(-(-(self._clock.wall_us() + wait_us) // 1_000_000)),
                names.retry_after: str(seconds),
            },
        )
