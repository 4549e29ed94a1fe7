"""Latency insurance: what a finished call is paid for having been slow; pure arithmetic, it credits nobody itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from harness.contract import Contract

NONE = "none"


@dataclass(slots=True)  # made at every call: a frozen one costs five times as much
class Settlement:
    """What the policy says of one finished call; ``trigger`` and ``reason`` are ``none`` unless it is paid."""

    status: str
    trigger: str
    reason: str
    latency_ms: int
    threshold_ms: int
    credits_charged: int
    credits_compensated: int

    def as_json(self) -> dict[str, Any]:
        """Return the ``hypereal.insurance`` object."""
        return {
            "status": self.status,
            "trigger": self.trigger,
            "reason": self.reason,
            "latency_ms": self.latency_ms,
            "threshold_ms": self.threshold_ms,
            "credits_charged": self.credits_charged,
            "credits_compensated": self.credits_compensated,
        }


class Insurer:
    """The contract's insurance: paid when a charged, eligible call took longer than the threshold, not at it."""

    def __init__(self, contract: Contract) -> None:
        self._policy = contract.insurance
        self._ratio = Fraction(contract.insurance.payout_ratio)
        self._headers = contract.headers

    def settle(self, charged: int, latency_us: int, eligible: bool) -> Settlement:
        """Return the settlement of a call that ended ``latency_us`` after its receipt and was charged ``charged``."""
        policy = self._policy
        latency_ms = self.latency_ms(latency_us)
        if not eligible or charged <= 0:
            return self._unpaid("not_eligible", latency_ms, charged)
        if latency_ms <= policy.threshold_ms:
            return self._unpaid("not_triggered", latency_ms, charged)
        payout = self.payout(charged)
        return Settlement("paid", policy.trigger, policy.reason, latency_ms, policy.threshold_ms, charged, payout)

    def latency_ms(self, latency_us: int) -> int:
        """Return the latency in the unit of the policy: milliseconds that are over."""
        return latency_us // 1000

    def payout(self, charged: int) -> int:
        """Return the policy's share of the charge, rounded up to whole credits."""
        return min(charged, math.ceil(self._ratio * charged))

    def pending(self) -> Mapping[str, str]:
        """Return the headers that a stream starts with: the policy, before anyone can know what it comes to."""
        return {
            self._headers.insurance_status: "pending",
            self._headers.insurance_trigger: NONE,
            self._headers.insurance_threshold_ms: str(self._policy.threshold_ms),
        }

    def _unpaid(self, status: str, latency_ms: int, charged: int) -> Settlement:
        return Settlement(status, NONE, NONE, latency_ms, self._policy.threshold_ms, charged, 0)
