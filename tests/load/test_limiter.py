"""Each kind of limiter is told from all others, is never ruled out itself, and over-admission is claimed if proved."""

from __future__ import annotations

from random import Random

import pytest

from harness.load.families import (
    CountingLog,
    Family,
    FirstCallWindow,
    FixedWindow,
    SlidingCounter,
    SlidingLog,
    TokenBucket,
)
from harness.load.limiter import explains, finding, identify, over_admission
from harness.load.observations import Observation, Seen
from scenarios.limiter import probing
from tests.load.limiters import (
    Ask,
    asked,
    counting_log,
    first_call_window,
    fixed_window,
    gcra,
    sliding_counter,
    sliding_log,
    token_bucket,
)

S = 1_000_000


def made(family: type[Family], limit: int, window: int, rng: Random) -> Ask:
    """Return a limiter of that family, its phase drawn."""
    phase = rng.randrange(window)
    if family is SlidingLog:
        return sliding_log(limit, window)
    if family is CountingLog:
        return counting_log(limit, window)
    if family is FixedWindow:
        return fixed_window(limit, window, phase)
    if family is FirstCallWindow:
        return first_call_window(limit, window)
    if family is SlidingCounter:
        return sliding_counter(limit, window, phase, down=rng.random() < 0.5)
    return token_bucket(limit, window // limit)


FAMILIES = (SlidingLog, FixedWindow, FirstCallWindow, TokenBucket, SlidingCounter, CountingLog)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_true_family_is_never_ruled_out_whatever_is_asked(family: type[Family]) -> None:
    for seed in range(4):
        rng = Random(f"{seed}/{family.name}")
        limit, window = rng.randint(1, 7), rng.randint(S // 2, 30 * S)
        times, at = [], 0
        for _ in range(40):
            at += rng.choice((0, rng.randrange(1, window // 20), rng.randrange(1, window)))
            times.append(at)
        seen = asked(made(family, limit, window, rng), times, rng, blur_us=rng.choice((0, 0, window // 50)))
        found = finding(family(Seen(seen)))
        assert found.fits, (seed, limit, window)
        low, high = found.ranges["burst" if family is TokenBucket else "limit"]
        assert low <= limit <= high
        if family is not TokenBucket:
            shortest, longest = found.ranges["window"]
            assert shortest <= window / S <= longest or window / S > 2 * Seen(seen).span_s


@pytest.mark.parametrize("family", FAMILIES)
def test_the_probes_rule_out_all_other_kinds(family: type[Family]) -> None:
    rng = Random(f"probes/{family.name}")
    limit, window = rng.randint(5, 7), rng.randint(2 * S, 90 * S)
    times = [round(at * window) for at in probing(limit)]
    found = identify(asked(made(family, limit, window, rng), times, rng, blur_us=window // 500))
    assert family.name in {one.family for one in found.kept}
    assert {one.kind for one in found.kept} == {family.kind}
    names = {one.id for one in asked(made(family, limit, window, rng), times, rng)}
    for one in found.findings:
        assert one.fits or (one.against and set(one.against) <= names)


def test_gcra_and_a_token_bucket_decide_alike() -> None:
    for seed in range(30):
        rng = Random(seed)
        burst, interval = rng.randint(1, 6), rng.randint(2, 2_000)
        bucket, other = token_bucket(burst, interval), gcra(interval, (burst - 1) * interval)
        at = 0
        for _ in range(80):
            at += rng.choice((0, rng.randrange(interval), rng.randrange(4 * interval)))
            assert bucket(at) == other(at)


@pytest.mark.parametrize("family", [one for one in FAMILIES if one is not CountingLog])
def test_no_lawful_limiter_is_said_to_let_in_too_much(family: type[Family]) -> None:
    for seed in range(4):
        rng = Random(f"{seed}/lawful/{family.name}")
        limit, window = rng.randint(2, 8), rng.randint(S, 60 * S)
        times = [rng.randrange(5 * window) for _ in range(12 * limit)]
        over = over_admission(asked(made(family, limit, window, rng), times, rng), limit, window / S)
        assert family.name in over.possible
        assert not over.proved


def test_two_limits_within_an_instant_prove_nothing_and_three_do() -> None:
    twice = [Observation(f"c{n}", 0, 1_000, True) for n in range(12)]
    over = over_admission(twice, 6, 60)
    assert not over.proved
    assert "fixed window" in over.possible
    assert "sliding log" in over.impossible
    thrice = [*twice, *(Observation(f"d{n}", 2_000, 3_000, True) for n in range(6))]
    proof = over_admission(thrice, 6, 60)
    assert proof.proved
    assert proof.against


def test_a_leak_is_proved_for_every_alignment() -> None:
    rng = Random(7)
    lawful = sliding_log(5, 10 * S)
    leaking = asked(lambda at: lawful(at) or rng.random() < 0.5, (n * S // 2 for n in range(80)), rng, blur_us=S // 100)
    assert over_admission(leaking, 5, 10).proved


def test_intervals_that_leave_the_order_open_rule_out_nothing() -> None:
    blurred = [Observation(f"c{n}", 0, 100 * S, n % 2 == 0) for n in range(10)]
    assert len(identify(blurred, (0.001,)).kept) == len(FAMILIES)


def test_a_call_of_which_nobody_can_say_may_have_counted() -> None:
    """Two let in, one untold and one refused, then nothing for long: a limit of two explains it, and one of three."""
    known = [Observation("c0", 0, 0, True), Observation("c1", 10, 10, True), Observation("c3", 30, 30, False)]
    untold = [*known, Observation("c2", 20, 20, None)]
    assert finding(SlidingLog(Seen(known))).ranges["limit"] == (2, 2)
    assert finding(SlidingLog(Seen(untold))).ranges["limit"] == (2, 3)


def test_a_clock_of_whole_seconds_is_found_where_no_finer_one_fits() -> None:
    rng = Random(3)
    exact = sliding_log(5, 10 * S)
    seen = asked(lambda at: exact(at // S * S), (rng.randrange(60 * S) for _ in range(60)), rng)
    found = identify(seen)
    assert found.clock_s == 1
    assert "sliding log" in {one.family for one in found.kept}


def test_what_is_none_of_them_is_said_to_be_none() -> None:
    """A window that every request renews."""
    last, used = -60 * S, 0

    def renewing(at: int) -> bool:
        nonlocal last, used
        if at - last >= 60 * S:
            used = 0
        admitted = used < 6
        last, used = (at, used + 1) if admitted else (last, used)
        return admitted

    times = [round(at * 60 * S) for at in probing(6)]
    assert identify(asked(renewing, times, Random(1))).kept == ()


def test_figures_that_each_fit_by_themselves_need_not_fit_together() -> None:
    at = {0.63: True, 1.18: True, 4.72: True, 5.69: True, 7.61: True, 8.02: False}
    seen = [Observation(f"c{n}", round(s * S), round(s * S), let_in) for n, (s, let_in) in enumerate(at.items())]
    ranges = finding(SlidingLog(Seen(seen, 0.001))).ranges
    assert ranges["limit"][0] <= 1 <= ranges["limit"][1]
    assert ranges["window"][0] <= 0.771 <= ranges["window"][1]
    assert not explains(SlidingLog, seen, 0.001, 1, 0.771)
    assert explains(SlidingLog, seen, 0.001, 1, 0.5)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_true_figures_always_explain_what_their_limiter_did(family: type[Family]) -> None:
    for seed in range(6):
        rng = Random(f"{seed}/point/{family.name}")
        limit, window = rng.randint(1, 7), rng.randint(2, 30) * 420 * S // 100
        times = [rng.randrange(6 * window) for _ in range(12 * limit)]
        seen = asked(made(family, limit, window, rng), times, rng, blur_us=window // 50)
        assert explains(family, seen, 0.001, limit, window / S), (seed, limit, window)
