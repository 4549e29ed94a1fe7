"""Router and insurer: pure arithmetic of pauses and payouts, judged at their boundaries."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest
from gw_support import CONTRACT, contract, model, settled
from hypothesis import given
from hypothesis import strategies as st

from harness.gateway.entropy import KeyedEntropy
from harness.gateway.insurer import Insurer, Settlement
from harness.gateway.router import Router

PAUSES = {
    "retries_per_target": 1,
    "backoff_ms": 200,
    "backoff_factor": 3,
    "backoff_cap_ms": 1000,
    "jitter_low_percent": 50,
    "jitter_high_percent": 150,
}


class Fixed(KeyedEntropy):
    """Entropy that always draws the same."""

    def __init__(self, draw: float) -> None:
        super().__init__(0)
        self.draw = draw

    def uniform(self, *key: object) -> float:
        return self.draw


def router(draw: float = 0.5, **changes: int) -> Router:
    return Router(contract(failover={**PAUSES, **changes}), Fixed(draw))


def test_the_chain_is_the_models_own_in_its_order() -> None:
    assert [target.role for target in router().chain(model())] == [target.role for target in model().chain]


@pytest.mark.parametrize(("retries", "tries"), [(0, 1), (1, 2), (3, 4)])
def test_a_target_is_tried_once_and_its_retries(retries: int, tries: int) -> None:
    assert router(retries_per_target=retries).tries() == tries


@pytest.mark.parametrize(
    ("draw", "n", "pause_s"),
    [(0.5, 0, 0.2), (0.5, 1, 0.6), (0.5, 2, 1.0), (0.5, 9, 1.0), (0.0, 0, 0.1), (0.0, 1, 0.3), (1.0, 0, 0.3)],
)
def test_pauses_grow_exponentially_to_the_cap_within_the_jitters_band(draw: float, n: int, pause_s: float) -> None:
    assert router(draw).pause_s("c1", n, None) == pytest.approx(pause_s)


@pytest.mark.parametrize(
    ("retry_after_s", "pause_s"),
    [(None, 0.2), (0.0, 0.2), (0.1, 0.2), (0.7, 0.7), (1.0, 1.0), (1.001, None), (60.0, None)],
)
def test_a_retry_after_is_not_undercut_and_past_the_cap_the_target_is_left(
    retry_after_s: float | None, pause_s: float | None
) -> None:
    assert router().pause_s("c1", 0, retry_after_s) == (None if pause_s is None else pytest.approx(pause_s))


def test_the_jitter_of_a_pause_depends_on_its_call_and_number_alone() -> None:
    one = Router(CONTRACT, KeyedEntropy(5))
    other = Router(CONTRACT, KeyedEntropy(5))
    other.pause_s("c2", 0, None)
    assert one.pause_s("c1", 0, None) == other.pause_s("c1", 0, None)
    assert one.pause_s("c1", 0, None) != one.pause_s("c2", 0, None)


POLICY = {"threshold_ms": 90_000, "payout_ratio": "0.25", "trigger": "latency", "reason": "too_slow"}


def insurer(**changes: object) -> Insurer:
    return Insurer(contract(insurance={**POLICY, **changes}))


@pytest.mark.parametrize(
    ("charged", "latency_us", "eligible", "status", "payout"),
    [
        (12, 94_320_000, True, "paid", 3),  # the documents' example
        (12, 90_001_000, True, "paid", 3),
        (12, 90_000_999, True, "not_triggered", 0),  # whole milliseconds, rounded down
        (12, 90_000_000, True, "not_triggered", 0),  # exactly the threshold does not pay
        (12, 89_999_000, True, "not_triggered", 0),
        (12, 0, True, "not_triggered", 0),
        (13, 94_320_000, True, "paid", 4),  # rounded up
        (1, 94_320_000, True, "paid", 1),  # never more than the charge
        (0, 94_320_000, True, "not_eligible", 0),
        (0, 5, True, "not_eligible", 0),
        (12, 94_320_000, False, "not_eligible", 0),
        (12, 5, False, "not_eligible", 0),
    ],
)
def test_a_charged_eligible_call_is_paid_for_past_the_threshold_only(
    charged: int, latency_us: int, eligible: bool, status: str, payout: int
) -> None:
    paid = status == "paid"
    assert insurer().settle(charged, latency_us, eligible) == Settlement(
        status=status,
        trigger="latency" if paid else "none",
        reason="too_slow" if paid else "none",
        latency_ms=latency_us // 1000,
        threshold_ms=90_000,
        credits_charged=charged,
        credits_compensated=payout,
    )


@settled
@given(st.integers(1, 10**12), st.decimals("0.0001", 2, places=4))
def test_the_payout_is_the_exact_share_rounded_up_and_at_most_the_charge(charged: int, ratio: Decimal) -> None:
    settlement = insurer(payout_ratio=str(ratio)).settle(charged, 90_001_000, True)
    assert settlement.credits_compensated == min(charged, math.ceil(ratio * charged))


def test_a_stream_starts_with_the_policy_and_no_result() -> None:
    names = CONTRACT.headers
    assert insurer().pending() == {
        names.insurance_status: "pending",
        names.insurance_trigger: "none",
        names.insurance_threshold_ms: "90000",
    }
