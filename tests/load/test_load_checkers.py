"""The proofs of load on hand-written histories: what held, what broke, and what nobody can tell."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.checker import Outcome, Verdict, checker
from harness.checkers.load_ceilings import (
    each_call_reaches_one_upstream_once,
    the_images_are_held,
    the_rate_is_held,
    the_tokens_are_held,
)
from harness.checkers.load_generator import lateness, shortcomings
from harness.checkers.load_slots import (
    all_below_the_limits_are_let_in,
    innocents_are_served,
    slots_stay_bounded_under_load,
)
from harness.checkers.rates import request_windows_hold
from harness.contract import Contract
from harness.history import UNBOUNDED_US, History, Note
from harness.runner.judge import judge
from tests.checkers.traffic_histories import Traffic, contract_with, outcome

TOKENS = 110
"""What one call reserves (its body of 400 bytes, and ten tokens of answer), and uses."""
WINDOW = {"word": "w0", "account": "a", "requests": 3, "tokens": 3 * TOKENS, "over": "requests"}
LOAD = {"shape": "probe-rpm", "bound_us": 5_000, "workers": 2, "count": 4, "windows": [WINDOW], "steps": []}


def filled(over: str = "requests", requests: int = 3, **load: Any) -> Traffic:
    """Return three calls that fill a window of two seconds, on sockets."""
    tokens = 3 * TOKENS if over == "tokens" else 10_000
    contract = contract_with(text__window_ms=2_000, text__requests=requests, text__tokens=tokens)
    options = {"load": {**LOAD, "windows": [{**WINDOW, "over": over}], **load}}
    made = Traffic(contract=contract, mode="local", options=options)
    for number in range(3):
        made.served(f"s{number + 1}", 100 * number, 100 * number + 50, tokens=TOKENS, detail=sized("w0"))
    return made


def sized(tag: str) -> dict[str, Any]:
    return {"tag": tag, "max_tokens": 10}


def over(traffic: Traffic, at: float, *, admitted: bool = False) -> Traffic:
    detail = sized("w0 over")
    if admitted:
        traffic.served("s4", at, at + 50, tokens=TOKENS, detail=detail)
    else:
        traffic.refused("s4", at, detail=detail)
    return traffic


@pytest.mark.parametrize(
    ("limit", "check", "clauses"),
    [
        ("requests", the_rate_is_held, ("nth_admitted", "next_refused")),
        ("tokens", the_tokens_are_held, ("probe_fits", "probe_does_not_fit")),
    ],
)
def test_a_ceiling_is_held_when_all_fit_and_the_next_does_not(limit: str, check: Any, clauses: tuple[str, ...]) -> None:
    let_in, refused = clauses
    for admitted, expected in ((False, Outcome.PASS), (True, Outcome.FAIL)):
        traffic = over(filled(limit, 3 if limit == "requests" else 9), 1_900, admitted=admitted)
        assert outcome(check, traffic, let_in) is Outcome.PASS
        assert outcome(check, traffic, refused) is expected


def imaged(came: int = 2, images: int = 6) -> Traffic:
    """Return three calls for two images each, which fill a window of two seconds, on sockets."""
    contract = contract_with(image__window_ms=2_000, image__images=images)
    window = {**WINDOW, "over": "images", "images": 6}
    made = Traffic(contract=contract, mode="local", options={"load": {**LOAD, "windows": [window]}})
    for number in range(3):
        name = f"s{number + 1}"
        made.call(name, 100 * number, 100 * number + 50, **picture("w0", 2))
        made.attempt(name, 100 * number, 100 * number + 50, text="b64_json:x\n" * came)
    return made


def picture(tag: str, count: int) -> dict[str, Any]:
    return {"surface": "images", "model": "gpt-image-2", "detail": {"tag": tag, "fields": {"n": [count]}}}


@pytest.mark.parametrize(("admitted", "expected"), [(False, Outcome.PASS), (True, Outcome.FAIL)])
def test_an_image_ceiling_is_held_when_all_fit_and_one_more_does_not(admitted: bool, expected: Outcome) -> None:
    traffic = imaged()
    if admitted:
        traffic.call("s4", 1_900, 1_950, **picture("w0 over", 1))
        traffic.attempt("s4", 1_900, 1_950, text="b64_json:x\n")
    else:
        traffic.refused("s4", 1_900, **picture("w0 over", 1))
    assert outcome(the_images_are_held, traffic, "n_counts_n") is Outcome.PASS
    assert outcome(the_images_are_held, traffic, "images_per_window") is expected


def test_images_refused_within_the_limit_break_the_ceiling() -> None:
    traffic = imaged(images=8)
    traffic.options["load"]["windows"] = [{**WINDOW, "requests": 4, "over": "", "images": 8}]
    traffic.refused("s4", 400, **picture("w0", 2))
    assert outcome(the_images_are_held, traffic, "n_counts_n") is Outcome.FAIL


def test_fewer_images_than_planned_leave_the_ceiling_open() -> None:
    traffic = imaged(came=1)
    traffic.refused("s4", 1_900, **picture("w0 over", 1))
    assert outcome(the_images_are_held, traffic, "n_counts_n") is not Outcome.FAIL
    verdict = the_images_are_held(traffic.history(), traffic.contract)
    assert any("6 images served" in piece.expected for piece in verdict.evidence)


def test_what_is_refused_within_the_limit_is_a_broken_ceiling() -> None:
    traffic = filled(requests=4)
    traffic.options["load"]["windows"] = [{**WINDOW, "requests": 4, "over": ""}]
    traffic.refused("s4", 400, detail=sized("w0"))
    assert outcome(the_rate_is_held, traffic, "nth_admitted") is Outcome.FAIL


def test_what_slots_may_have_cost_leaves_the_ceiling_open() -> None:
    traffic = filled(requests=4)
    traffic.contract = contract_with(
        text__window_ms=2_000, text__requests=4, text__tokens=10_000, text__concurrency=1, text__queue_length=1
    )
    traffic.options["load"]["windows"] = [{**WINDOW, "requests": 4, "over": ""}]
    traffic.refused("s4", 220, detail=sized("w0"))
    assert outcome(the_rate_is_held, traffic, "nth_admitted") is Outcome.INCONCLUSIVE


def test_a_probe_that_came_when_the_first_had_run_out_proves_nothing() -> None:
    for admitted in (False, True):
        traffic = over(filled(), 1_999, admitted=admitted)
        assert outcome(the_rate_is_held, traffic, "nth_admitted") is Outcome.INCONCLUSIVE
        assert outcome(the_rate_is_held, traffic, "next_refused") is Outcome.INCONCLUSIVE


def test_a_window_of_which_a_call_was_never_sent_proves_nothing() -> None:
    traffic = over(filled(), 1_900)
    traffic.calls.pop(0)
    assert outcome(the_rate_is_held, traffic, "next_refused") is Outcome.INCONCLUSIVE


def test_tokens_that_do_not_sum_to_the_plan_leave_the_ceiling_open() -> None:
    traffic = over(filled("tokens", 9), 1_900)
    traffic.attempts[0] = replace(traffic.attempts[0], reading=replace(traffic.attempts[0].reading, usage=None))
    assert outcome(the_tokens_are_held, traffic, "probe_fits") is not Outcome.FAIL
    verdict = the_tokens_are_held(traffic.history(), traffic.contract)
    assert any("tokens served" in piece.expected for piece in verdict.evidence)


def test_a_call_that_two_upstreams_served_is_told() -> None:
    traffic = filled()
    assert outcome(each_call_reaches_one_upstream_once, traffic, "one_charge") is Outcome.PASS
    traffic.attempt("s2", 110, 140, role="second")
    assert outcome(each_call_reaches_one_upstream_once, traffic, "one_charge") is Outcome.FAIL


def test_a_connection_that_nobody_planned_to_break_leaves_it_open() -> None:
    traffic = filled()
    traffic.attempt("s2", 110, 140, role="second", ended="left", status=None)
    verdict = each_call_reaches_one_upstream_once(traffic.history(), traffic.contract)
    assert verdict.clauses["one_charge"].failed == 0
    assert verdict.clauses["one_charge"].inconclusive == 1


def test_more_in_flight_than_slots_is_told_under_load() -> None:
    traffic = filled()
    traffic.contract = contract_with(text__concurrency=1)
    assert outcome(slots_stay_bounded_under_load, traffic, "cap") is Outcome.PASS
    traffic.served("s9", 20, 200)
    assert outcome(slots_stay_bounded_under_load, traffic, "cap") is Outcome.FAIL


@pytest.mark.parametrize(("at", "expected"), [(1_000, Outcome.FAIL), (None, Outcome.PASS)])
def test_an_innocent_that_is_refused_in_a_storm_is_told(at: float | None, expected: Outcome) -> None:
    traffic = over(filled(), 1_900)
    if at is None:
        traffic.served("s5", 1_000, 1_050, account="b", key="b-key", tokens=TOKENS, detail=sized("innocent"))
    else:
        traffic.refused("s5", at, account="b", key="b-key", detail=sized("innocent"))
    assert outcome(innocents_are_served, traffic, "quota_apart") is expected


@pytest.mark.parametrize(("at", "expected"), [(1_000, Outcome.FAIL), (None, Outcome.PASS)])
def test_a_refusal_far_below_every_limit_is_told(at: float | None, expected: Outcome) -> None:
    traffic = filled()
    if at is not None:
        traffic.refused("s5", at, account="b", key="b-key", detail=sized("small"))
    assert outcome(all_below_the_limits_are_let_in, traffic, "nth_admitted") is expected


@pytest.mark.parametrize(("bound_us", "told"), [
    (5_000, ["2 of 3 calls came to no whole answer (1 cut, 1 open)"]), (None, []),
])  # fmt: skip
def test_calls_that_came_to_nothing_make_a_pass_inconclusive_unless_that_is_what_was_asked_for(
    bound_us: int | None, told: list[str]
) -> None:
    traffic = filled(bound_us=bound_us)
    history = traffic.history()
    calls = [replace(call, outcome=came) for call, came in zip(history.calls, ("ok", "open", "cut"), strict=True)]
    record = judge(replace(history, calls=tuple(calls)), traffic.contract, [slots_stay_bounded_under_load])
    assert record["doubts"] == told
    assert record["outcome"] == ("inconclusive" if told else "pass")
    assert record["late"] is False


def late(history: History, by_us: int, count: int = 1) -> History:
    """Return ``history`` with the last so many calls sent so much later than planned."""
    calls = list(history.calls)
    for index in range(len(calls) - count, len(calls)):
        calls[index] = replace(calls[index], sent=calls[index].sent + by_us)
    return replace(history, calls=tuple(calls))


def test_a_generator_that_was_in_time_has_no_shortcoming() -> None:
    history = late(filled().history(), 5_000)
    assert shortcomings(history) == []
    told = lateness(history)
    assert (told.planned, told.sent, told.p99_us, told.most_us) == (3, 3, 5_000, 5_000)


@pytest.mark.parametrize(("bound_us", "told"), [(5_000, True), (None, False)])
def test_a_late_generator_is_told_unless_nothing_rests_on_it(bound_us: int | None, told: bool) -> None:
    history = late(filled(bound_us=bound_us).history(), 5_001)
    assert any("lateness p99 5.0 ms" in why for why in shortcomings(history)) is told


def test_one_late_call_of_many_is_told_and_not_held_against_it() -> None:
    traffic = filled()
    for number in range(200):
        traffic.served(f"t{number}", 300 + number, 310 + number)
    history = late(traffic.history(), 50_000, count=2)
    assert shortcomings(history) == []
    assert lateness(history).most_us == 50_000


def test_lost_workers_and_calls_never_sent_are_told() -> None:
    traffic = filled()
    traffic.calls.pop()
    notes = (Note("generators", 0, {"lost": 1, "starved": 7}),)
    told = shortcomings(replace(traffic.history(), notes=notes))
    assert told == [
        "2 of 3 planned calls were sent",
        "7 calls found no socket on this machine",
        "1 of 2 workers were lost",
    ]


@pytest.mark.parametrize(("by_us", "admitted", "expected"), [
    (0, False, "pass"), (9_000, False, "inconclusive"), (9_000, True, "fail"),
])  # fmt: skip
def test_a_starved_generator_makes_a_pass_inconclusive_and_no_failure_of_its_own(
    by_us: int, admitted: bool, expected: str
) -> None:
    traffic = over(filled(), 1_900, admitted=admitted)
    record = judge(late(traffic.history(), by_us), traffic.contract, [the_rate_is_held])
    assert record["outcome"] == expected
    assert bool(record["doubts"]) == bool(by_us)
    assert all(why.startswith("generator: ") for why in record["doubts"])


@pytest.mark.parametrize("refused", [False, True])
def test_a_load_with_one_window_held_and_one_left_open_is_no_pass(refused: bool) -> None:
    traffic = filled(requests=4)
    traffic.contract = contract_with(
        text__window_ms=2_000, text__requests=4, text__tokens=10_000, text__concurrency=1, text__queue_length=1
    )
    traffic.options["load"]["windows"] = [{**WINDOW, "over": ""}, {**WINDOW, "word": "w1", "requests": 2, "over": ""}]
    traffic.served("s4", 3_000, 3_050, tokens=TOKENS, detail=sized("w1"))
    if refused:
        traffic.refused("s5", 3_010, detail=sized("w1"))
    else:
        traffic.served("s5", 3_100, 3_150, tokens=TOKENS, detail=sized("w1"))
    record = judge(traffic.history(), traffic.contract, [the_rate_is_held])
    assert record["outcome"] == ("inconclusive" if refused else "pass")
    open_case = "the_rate_is_held: 1 of 2 cases could not be told (all 2 calls of window w1 let in: 429)"
    assert record["doubts"] == ([open_case] if refused else [])


def apart(traffic: Traffic, ended_ms: float, *, lost: int = 0, closed_ms: float = 0) -> History:
    """Return the history as of callers whose clocks do not compare, all of it within so long by the harness's own."""
    detail = {"lost": lost, "starved": 0}
    notes = (Note("generators", round(ended_ms * 1e3), detail), Note("end", round(closed_ms * 1e3), {}))
    made = traffic.history()
    return replace(made, notes=notes, plan=replace(made.plan, skew_us=UNBOUNDED_US))


@pytest.mark.parametrize("admitted", [False, True])
@pytest.mark.parametrize(
    ("ended_ms", "lost", "proved"),
    [(1_990, 0, True), (2_000, 0, False), (1_990, 1, False)],
)
def test_of_clocks_that_do_not_compare_a_ceiling_is_proved_by_the_harness_own_or_not_at_all(
    ended_ms: float, lost: int, proved: bool, admitted: bool
) -> None:
    traffic = over(filled(), 1_200, admitted=admitted)
    verdict = the_rate_is_held(apart(traffic, ended_ms, lost=lost, closed_ms=2_500), traffic.contract)
    told = {name: clause.outcome for name, clause in verdict.clauses.items()}
    if not proved:
        assert set(told.values()) == {Outcome.INCONCLUSIVE}
    else:
        assert told == {"nth_admitted": Outcome.PASS, "next_refused": Outcome.FAIL if admitted else Outcome.PASS}


def test_of_clocks_that_do_not_compare_no_call_is_taken_to_come_before_another() -> None:
    """By their own clocks the refused one came when the window had room: but it may have come last."""
    traffic = filled(requests=3)
    traffic.options["load"]["windows"] = [{**WINDOW, "requests": 4, "over": ""}]
    traffic.refused("s4", 50, detail=sized("w0"))
    assert outcome(the_rate_is_held, traffic, "nth_admitted") is Outcome.FAIL
    verdict = the_rate_is_held(apart(traffic, 1_000), traffic.contract)
    assert verdict.clauses["nth_admitted"].outcome is Outcome.INCONCLUSIVE


def test_of_clocks_that_do_not_compare_a_refusal_that_nothing_can_explain_is_wrong() -> None:
    traffic = filled(requests=9)
    traffic.options["load"]["windows"] = [{**WINDOW, "requests": 4, "over": ""}]
    traffic.refused("s4", 50, detail=sized("w0"))
    verdict = the_rate_is_held(apart(traffic, 1_000), traffic.contract)
    assert verdict.clauses["nth_admitted"].outcome is Outcome.FAIL


@pytest.mark.parametrize("wrong", [False, True])
def test_of_clocks_that_do_not_compare_rates_are_not_told_and_counts_are(wrong: bool) -> None:
    traffic = filled(requests=1 if wrong else 9)  # three of one in a window, or three of nine
    if wrong:
        traffic.attempt("s1", 60, 70)
    history = apart(traffic, 1_000)
    record = judge(history, traffic.contract, [request_windows_hold, each_call_reaches_one_upstream_once])
    windows, once = record["checks"]
    assert windows["outcome"] == "inconclusive"
    assert all(piece["actual"] == "the callers' clocks do not compare" for piece in windows["evidence"])
    assert once["outcome"] == ("fail" if wrong else "pass")


@pytest.mark.parametrize("kind", ["books", "untimed"])
def test_a_checker_says_of_its_own_clauses_alone_what_they_need(kind: str) -> None:
    def never_registered(history: History, contract: Contract, verdict: Verdict) -> None:
        """Nothing."""

    options: dict[str, Any] = {kind: ("next_refused",)}
    with pytest.raises(ValueError, match=f"{kind} \\['next_refused'\\] are not all clauses of it"):
        checker("GOV-04", "nth_admitted", **options)(never_registered)
