"""Rates and fairness: each clause on a history that keeps it, and on one that breaks it; and what proves nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.checker import Outcome
from harness.checkers.fairness import accounts_are_served_in_turn, queue_is_shared, quotas_are_apart
from harness.checkers.general_rate import (
    general_traffic_is_ungoverned,
    refusals_tell_when_to_return,
    user_quota_holds,
)
from harness.checkers.rates import request_windows_hold
from harness.checkers.tokens import reservations_are_told, token_windows_hold
from harness.history import CallSpan, Reading
from tests.checkers.traffic_histories import NAMES, Story, Traffic, contract_with, outcome, tell_apart, usage

THREE = contract_with(text__requests=3, text__concurrency=2, user_rate__requests=3)
WINDOW = THREE.text.window_ms


def three() -> Traffic:
    return Traffic(THREE)


def burst(traffic: Traffic, count: int, at: float = 0, **options: Any) -> Traffic:
    """Let that many calls be served one after the other."""
    for n in range(count):
        traffic.served(f"{options.get('account', 'a')}{at:g}-{n}", at + n * 10, at + n * 10 + 5, **options)
    return traffic


def the_third(broken: bool) -> Traffic:
    traffic = burst(three(), 2)
    if broken:
        traffic.refused("third", 50)
    else:
        traffic.served("third", 50, 60)
    return traffic


def the_fourth(broken: bool) -> Traffic:
    traffic = burst(three(), 3)
    if broken:
        traffic.served("fourth", 50, 60)
    else:
        traffic.refused("fourth", 50)
    return traffic


def just_before_one_runs_out(broken: bool) -> Traffic:
    traffic = burst(three(), 1)
    burst(traffic, 2, at=WINDOW / 2)
    traffic.refused("early", WINDOW - 1) if not broken else traffic.served("early", WINDOW - 1, WINDOW)
    return traffic


def just_as_one_runs_out(broken: bool) -> Traffic:
    traffic = burst(three(), 1)
    burst(traffic, 2, at=WINDOW - 100)
    if broken:
        traffic.refused("due", WINDOW)
    else:
        traffic.served("due", WINDOW, WINDOW + 1)
    return traffic


def whatever_the_keys(broken: bool) -> Traffic:
    traffic = three()
    for n in range(3):
        traffic.served(f"c{n}", n * 10, n * 10 + 5, key=f"a{n}")
    if broken:
        traffic.served("fourth", 50, 60, key="a3")
    else:
        traffic.refused("fourth", 50, key="a3")
    return traffic


def beside_another(broken: bool, **other: Any) -> Traffic:
    traffic = burst(three(), 3)
    if broken:
        traffic.refused("other", 50, **other)
    else:
        traffic.served("other", 50, 60, **other)
    return traffic


def two_wait_without_a_unit(broken: bool) -> Traffic:
    traffic = three()
    traffic.served("long", 0, 1_000)
    traffic.served("busy", 1, 500)
    for n in range(2):
        traffic.served(f"waits{n}", 10 + n, 2_000, start=500 + n * 500)
    # While they wait two units are taken, so that this one is let in to wait too.
    if broken:
        traffic.refused("third", 20)
    else:
        traffic.refused("third", 20, 500)
    return traffic


def a_unit_taken_late_lasts_late(broken: bool) -> Traffic:
    traffic = Traffic(contract_with(text__requests=2, text__concurrency=1))
    traffic.served("first", 0, 1_500)
    traffic.served("waits", 10, 1_600, start=1_500)
    traffic.served("again", WINDOW + 50, WINDOW + 60)
    if broken:
        traffic.served("more", WINDOW + 100, WINDOW + 110)
    else:
        traffic.refused("more", WINDOW + 100)
    return traffic


def after_refusals(broken: bool) -> Traffic:
    traffic = burst(three(), 2)
    traffic.failed("bad", 30, 30, 400, "invalid_request_error")
    if broken:
        traffic.refused("third", 50)
    else:
        traffic.served("third", 50, 60)
    return traffic


def after_failover(broken: bool) -> Traffic:
    traffic = three()
    traffic.call("moves", 0, 40, headers=traffic.governor())
    for n in range(3):
        traffic.attempt("moves", n * 10, n * 10 + 5, status=503)
    traffic.attempt("moves", 35, 40, "second")
    if broken:
        traffic.refused("third", 50)
    else:
        traffic.served("third", 50, 60)
    return traffic


@pytest.mark.parametrize(
    ("clause", "story"),
    [
        ("nth_admitted", the_third),
        ("next_refused", the_fourth),
        ("sliding", just_before_one_runs_out),
        ("sliding", just_as_one_runs_out),
        ("all_keys", whatever_the_keys),
        ("per_account_and_model", lambda broken: beside_another(broken, account="b")),
        ("per_account_and_model", lambda broken: beside_another(broken, model="deepseek-v4-pro")),
        ("unit_at_grant", a_unit_taken_late_lasts_late),
        ("refused_do_not_count", after_refusals),
        ("failover_counts_once", after_failover),
    ],
)
def test_request_windows_hold(clause: str, story: Story) -> None:
    tell_apart(request_windows_hold, clause, story)


def test_a_refusal_while_others_wait_for_the_last_units_may_have_the_queue_for_its_reason() -> None:
    assert outcome(request_windows_hold, two_wait_without_a_unit(False), "unit_at_grant") is not Outcome.FAIL


def test_a_refusal_that_only_units_of_waiting_calls_explain_breaks_the_grant() -> None:
    traffic = Traffic(contract_with(text__requests=3, text__concurrency=1))
    traffic.served("busy", 0, 100, rpm=2)
    for n in range(2):
        traffic.served(f"waits{n}", 5 + n, 200 + n * 100, start=100 + n * 100, rpm=1 - n)
    traffic.refused("fourth", 50)
    assert outcome(request_windows_hold, traffic, "unit_at_grant") is Outcome.FAIL


def test_one_too_many_is_not_proved_where_grants_can_lie_a_window_apart() -> None:
    traffic = replace(three(), options={"latency_ms": 300})
    traffic.served("first", 0, 900, start=300)
    for n in range(2):
        traffic.served(f"c{n}", WINDOW / 2, WINDOW / 2 + 700, start=WINDOW / 2 + 300)
    traffic.served("last", WINDOW - 100, WINDOW + 500, start=WINDOW + 200)
    for clause in ("next_refused", "sliding"):
        assert outcome(request_windows_hold, traffic, clause) is not Outcome.FAIL


TOKENS = contract_with(text__tokens=1_000)


def sized(tokens: int) -> dict[str, Any]:
    """Return what makes a call reserve so many tokens, 100 of them for its 400 bytes."""
    return {"request_bytes": 400, "detail": {"max_tokens": tokens - 100}}


def told_tokens(right: int, wrong: int, **options: Any) -> Story:
    def story(broken: bool) -> Traffic:
        traffic = Traffic(TOKENS)
        traffic.served("one", 0, 100, tpm=wrong if broken else right, **options)
        return traffic

    return story


def default_tokens(broken: bool) -> Traffic:
    traffic = Traffic(contract_with(text__tokens=10_000))
    traffic.served("one", 0, 100, tpm=9_900 if broken else 10_000 - 101 - 4_096, request_bytes=401)
    return traffic


def while_another_is_at_work(broken: bool) -> Traffic:
    traffic = Traffic(TOKENS)
    traffic.served("first", 0, 5_000, tpm=400, **sized(600))
    traffic.served("second", 100, 200, tpm=700 if broken else 100, **sized(300))
    return traffic


def no_token_headers(broken: bool) -> Traffic:
    traffic = Traffic(TOKENS)
    traffic.served("one", 0, 100, tpm=400, **sized(600))
    if broken:
        kept = {name: value for name, value in traffic.calls[0].headers.items() if name != NAMES.tpm_limit}
        traffic.calls[0] = replace(traffic.calls[0], headers=kept)
    return traffic


@pytest.mark.parametrize(
    ("clause", "story"),
    [
        ("tpm_headers", no_token_headers),
        ("reserved", while_another_is_at_work),
        ("estimate_with_max_tokens", told_tokens(400, 500, **sized(600))),
        ("estimate_with_default", default_tokens),
    ],
)
def test_reservations_are_told(clause: str, story: Story) -> None:
    tell_apart(reservations_are_told, clause, story)


def alike_at_once(broken: bool) -> Traffic:
    traffic = Traffic(TOKENS)
    for n in range(4 if broken else 3):
        traffic.served(f"c{n}", 0, 100, tpm=700 - n * 300, **sized(300))
    if not broken:
        traffic.refused("c3", 0, **sized(300))
    return traffic


def after_one_that_used_200(broken: bool, fits: bool) -> Traffic:
    """A probe of what is left exactly, or of a token more; and the answer that it must not get."""
    traffic = Traffic(TOKENS)
    traffic.served("first", 0, 100, tpm=100, tokens=200, **sized(900))
    probe = sized(800 if fits else 801)
    if broken is fits:
        traffic.refused("probe", 5_000, **probe)
    else:
        traffic.served("probe", 5_000, 5_100, tpm=0, **probe)
    return traffic


def as_the_first_runs_out(broken: bool) -> Traffic:
    traffic = Traffic(TOKENS)
    traffic.served("first", 0, 3_000, tpm=100, tokens=900, **sized(900))
    traffic.served("probe", WINDOW, WINDOW + 10, tpm=100 if broken else 500, **sized(500))
    return traffic


def tokens_beside_another(broken: bool) -> Traffic:
    traffic = Traffic(TOKENS)
    traffic.served("first", 0, 100, tpm=0, tokens=1_000, **sized(1_000))
    if broken:
        traffic.refused("other", 5_000, account="b", **sized(500))
    else:
        traffic.served("other", 5_000, 5_100, account="b", tpm=500, **sized(500))
    return traffic


@pytest.mark.parametrize(
    ("clause", "story"),
    [
        ("concurrent", alike_at_once),
        ("probe_fits", lambda broken: after_one_that_used_200(broken, fits=True)),
        ("probe_does_not_fit", lambda broken: after_one_that_used_200(broken, fits=False)),
        ("settled_to_actual", lambda broken: after_one_that_used_200(broken, fits=True)),
        ("settled_at_admission_time", as_the_first_runs_out),
        ("per_account_and_model", tokens_beside_another),
    ],
)
def test_token_windows_hold(clause: str, story: Story) -> None:
    tell_apart(token_windows_hold, clause, story)


def test_nothing_is_said_of_tokens_where_a_body_s_length_is_unknown() -> None:
    traffic = Traffic(TOKENS)
    traffic.served("first", 0, 5_000, request_bytes=0)
    traffic.served("second", 100, 200, tpm=900, **sized(800))
    assert token_windows_hold(traffic.history(), traffic.contract).clauses == {}


def general(broken: bool, *, wrong: dict[str, str] | None = None, changes: dict[str, Any] | None = None) -> Traffic:
    """Three requests and a refused one; a probe comes back in time."""
    traffic = three()
    for n in range(3):
        traffic.served(f"c{n}", n * 1_000, n * 1_000 + 5, tier="general", key=f"a{n % 2}", model="gpt-5.5")
    refused(traffic, "fourth", 3_000, wrong if broken else None)
    if changes and broken:
        traffic.calls[-1] = replace(traffic.calls[-1], **changes)
    traffic.served("back", WINDOW + 500, WINDOW + 505, tier="general", model="gpt-5.5")
    return traffic


def refused(traffic: Traffic, id_: str, at: float, wrong: dict[str, str] | None = None) -> CallSpan:
    traffic.refused(id_, at, tier="general", model="gpt-5.5", key="a1")
    headers = {
        NAMES.retry_after: "57",
        NAMES.rate_limit: "3",
        NAMES.rate_remaining: "0",
        NAMES.rate_reset: "60",
        **(wrong or {}),
    }
    traffic.calls[-1] = replace(traffic.calls[-1], headers=headers)
    return traffic.calls[-1]


def one_user_two_keys(broken: bool) -> Traffic:
    traffic = three()
    for n in range(3):
        traffic.served(f"c{n}", n, n + 5, tier="general", key=f"a{n % 2}", model="gpt-5.5")
    if broken:
        traffic.served("fourth", 10, 20, tier="general", key="a1", model="gpt-5.5")
    else:
        refused(traffic, "fourth", 10)
    return traffic


def refused_too_early(broken: bool) -> Traffic:
    traffic = three()
    for n in range(2 if broken else 3):
        traffic.served(f"c{n}", n, n + 5, tier="general", model="gpt-5.5")
    refused(traffic, "next", 10)
    return traffic


@pytest.mark.parametrize(
    ("clause", "story"),
    [("per_user", one_user_two_keys), ("past_quota", one_user_two_keys), ("past_quota", refused_too_early)],
)
def test_user_quota_holds(clause: str, story: Story) -> None:
    tell_apart(user_quota_holds, clause, story)


def comes_back(broken: bool) -> Traffic:
    traffic = general(False)
    if broken:
        del traffic.planned[-1], traffic.calls[-1], traffic.attempts[-1]
        refused(traffic, "back", WINDOW + 500)
    return traffic


@pytest.mark.parametrize(
    ("clause", "story"),
    [
        ("rate_headers", lambda broken: general(broken, wrong={NAMES.rate_limit: "4"})),
        ("rate_headers", lambda broken: general(broken, wrong={NAMES.rate_remaining: "1"})),
        ("reset_epoch", lambda broken: general(broken, wrong={NAMES.rate_reset: "59"})),
        ("reset_epoch", lambda broken: general(broken, wrong={NAMES.rate_reset: "60000"})),
        ("retry_after_range", lambda broken: general(broken, wrong={NAMES.retry_after: "0"})),
        ("retry_after_range", lambda broken: general(broken, wrong={NAMES.retry_after: "61"})),
        ("retry_after_honest", comes_back),
    ],
)
def test_refusals_tell_when_to_return(clause: str, story: Story) -> None:
    tell_apart(refusals_tell_when_to_return, clause, story)


def test_who_does_not_come_back_alone_proves_nothing() -> None:
    traffic = comes_back(True)
    told_later = {**traffic.calls[3].headers, NAMES.retry_after: "58"}
    traffic.calls[3] = replace(traffic.calls[3], headers=told_later)
    traffic.served("other", WINDOW + 400, WINDOW + 405, tier="general", model="gpt-5.5")
    refused(traffic, "late", WINDOW + 1_100)
    assert outcome(refusals_tell_when_to_return, traffic, "retry_after_honest") is None


def a_governor_header(broken: bool) -> Traffic:
    traffic = general(False)
    if broken:
        traffic.calls[0] = replace(traffic.calls[0], headers={NAMES.governor: "active"})
    return traffic


def more_at_once_than_slots(broken: bool) -> Traffic:
    traffic = three()
    for n in range(3):
        start = 500 if broken and n == 2 else 0
        traffic.served(f"c{n}", 0, 500 + start, start=start, tier="general", model="gpt-5.5")
    return traffic


@pytest.mark.parametrize(
    ("clause", "story"),
    [
        ("no_headers_on_general", a_governor_header),
        ("general_ungoverned", more_at_once_than_slots),
        ("user_rate_instead", one_user_two_keys),
    ],
)
def test_general_traffic_is_ungoverned(clause: str, story: Story) -> None:
    tell_apart(general_traffic_is_ungoverned, clause, story)


def next_door(broken: bool) -> Traffic:
    traffic = burst(three(), 3)
    traffic.served("quiet", 5_000, 5_010, account="b", rpm=1 if broken else 2)
    return traffic


def in_turn(broken: bool) -> Traffic:
    traffic = Traffic(contract_with(text__concurrency=1))
    traffic.served("busy", 0, 300)
    order = ("a0", "a1", "b0", "b1") if broken else ("a0", "b0", "a1", "b1")
    for arrival, name in enumerate(("a0", "a1", "b0", "b1")):
        start = 300 + 100 * order.index(name)
        traffic.served(name, 10 + arrival, start + 100, start=start, account=name[0])
    return traffic


def a_place_for_the_other(broken: bool) -> Traffic:
    traffic = Traffic(contract_with(text__concurrency=1, text__queue_length=2))
    traffic.served("busy", 0, 1_000)
    traffic.served("a0", 10, 1_100, start=1_000)
    if broken:
        traffic.served("a1", 11, 1_300, start=1_200)
        traffic.refused("b0", 50, account="b")
    else:
        traffic.refused("a1", 11, 50)
        traffic.served("b0", 50, 1_200, start=1_100, account="b")
    return traffic


def test_quotas_are_apart() -> None:
    tell_apart(quotas_are_apart, "quota_apart", next_door)


def test_accounts_are_served_in_turn() -> None:
    tell_apart(accounts_are_served_in_turn, "round_robin", in_turn)


def test_the_queue_is_shared() -> None:
    tell_apart(queue_is_shared, "queue_share", a_place_for_the_other)


def makes_room_for_another(broken: bool) -> Traffic:
    traffic = Traffic(contract_with(text__concurrency=1, text__queue_length=3))
    traffic.served("busy", 0, 1_000)
    waiting = (("a0", 10), ("a1", 11), ("b0", 12))
    put_out = "b0" if broken else "a1"
    for place, (name, at) in enumerate(waiting):
        if name == put_out:
            traffic.refused(name, at, 50, account=name[0])
        else:
            start = 1_000 + 100 * place
            traffic.served(name, at, start + 100, start=start, account=name[0])
    traffic.served("c0", 50, 1_400, start=1_300, account="c")
    return traffic


def test_who_holds_no_more_than_its_share_is_not_put_out_for_another() -> None:
    tell_apart(queue_is_shared, "queue_share", makes_room_for_another)


def test_who_holds_its_share_already_may_be_refused() -> None:
    traffic = a_place_for_the_other(False)
    traffic.refused("b1", 60, account="b")
    assert outcome(queue_is_shared, traffic, "queue_share") is Outcome.PASS


def test_a_usage_that_makes_no_sense_leaves_open_what_is_left() -> None:
    traffic = Traffic(TOKENS)
    traffic.served("absurd", 0, 100, tpm=100, **sized(900))
    traffic.attempts[0] = replace(traffic.attempts[0], fault="usage_absurd", reading=Reading(usage=usage(10**9)))
    traffic.served("next", 5_000, 5_100, tpm=500, **sized(500))
    verdict = token_windows_hold(traffic.history(), traffic.contract)
    assert Outcome.FAIL not in {result.outcome for result in verdict.clauses.values()}
