"""Failover: each clause on a history that keeps it, and on one that breaks it; and what breaks none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.checker import Checker, Outcome
from harness.checkers.exhausted import (
    exhausted_calls_get_one_error,
    exhausted_calls_leak_and_cost_nothing,
    failover_goes_on_behind_pings,
)
from harness.checkers.failover import (
    broken_answers_move_on,
    rate_limited_upstreams_move_on,
    server_errors_move_on,
    timeouts_move_on,
)
from harness.checkers.moves import (
    client_faults_come_back,
    pauses_grow,
    target_faults_move_on,
    targets_are_tried_in_order,
)
from harness.checkers.time_limits import time_limits_hold
from harness.history import LedgerEntry, Reading
from tests.checkers.traffic_histories import CONTRACT, Story, Traffic, error, outcome, tell_apart, us

SILENCE = CONTRACT.timeouts.silence_ms
LIMIT = CONTRACT.timeouts.text_call_ms
CAP = CONTRACT.failover.backoff_cap_ms


def moves_on(
    fault: str = "", *, status: int = 200, surface: str = "chat", stream: bool = False, **attempt: Any
) -> Story:
    """Return a call whose primary fails so, and that the next target answers, or nobody any more."""

    def story(broken: bool) -> Traffic:
        traffic = Traffic()
        end = 700 + us(attempt.get("lasts", 0)) / 1000
        if broken:
            traffic.failed("c", 0, end, 502, "api_error", surface=surface, stream=stream)
        else:
            reading = Reading(text="second:c", terminal=True, finish="stop")
            traffic.call("c", 0, end, surface=surface, stream=stream, reading=reading)
        changes = {name: value for name, value in attempt.items() if name != "lasts"}
        traffic.attempt("c", 0, 50 + attempt.get("lasts", 0), fault=fault, status=status, **changes)
        if not broken:
            traffic.attempt("c", end - 300, end, "second")
        return traffic

    return story


def unreachable(state: str) -> Story:
    def story(broken: bool) -> Traffic:
        traffic = Traffic(listeners={"primary": state})
        if broken:
            traffic.failed("c", 0, 700, 502, "api_error")
        else:
            traffic.call("c", 0, 700)
            traffic.attempt("c", 400, 700, "second")
        return traffic

    return story


def a_trace_of_the_first(broken: bool) -> Traffic:
    traffic = moves_on(status=503)(False)
    if broken:
        told = replace(traffic.calls[0].reading, text="primary:c second:c")
        traffic.calls[0] = replace(traffic.calls[0], reading=told)
    return traffic


def opened_twice(surface: str, opening: str) -> Story:
    """Return a stream that another try served, and whose beginning came from both if it is broken."""

    def story(broken: bool) -> Traffic:
        traffic = moves_on("truncate", stream=True, surface=surface)(False)
        said = Reading(text="second:c", sequence=f"{opening} content*3 finish", terminal=True)
        traffic.attempts[1] = replace(traffic.attempts[1], reading=said)
        begun = f"{opening}*2" if broken else opening
        told = replace(said, sequence=f"{begun} content*3 finish")
        traffic.calls[0] = replace(traffic.calls[0], reading=told)
        return traffic

    return story


FIRST_ERROR: dict[str, Any] = {"stream": True, "reading": Reading(sequence="error", error_type="server_error")}
LEFT: dict[str, Any] = {"ended": "left", "lasts": SILENCE - 50}


@pytest.mark.parametrize(
    ("check", "clause", "story"),
    [
        (server_errors_move_on, "chat", moves_on(status=503)),
        (server_errors_move_on, "messages", moves_on(status=500, surface="messages")),
        (server_errors_move_on, "responses", moves_on(status=502, surface="responses")),
        (server_errors_move_on, "overloaded_529", moves_on(status=529)),
        (server_errors_move_on, "unstreamed", moves_on(status=504)),
        (server_errors_move_on, "streamed", moves_on(status=504, stream=True)),
        (server_errors_move_on, "only_the_result", a_trace_of_the_first),
        (server_errors_move_on, "only_the_result", opened_twice("chat", "role")),
        (server_errors_move_on, "only_the_result", opened_twice("messages", "message_start")),
        (server_errors_move_on, "only_the_result", opened_twice("responses", "response.created")),
        (rate_limited_upstreams_move_on, "rate_limited", moves_on(status=429)),
        (timeouts_move_on, "connect", unreachable("hanging")),
        (timeouts_move_on, "first_byte", moves_on("hang_before_headers", head=None, **LEFT)),
        (timeouts_move_on, "silence", moves_on("hang_after_headers", **LEFT)),
        (timeouts_move_on, "silence", moves_on("stall", stream=True, **LEFT)),
        (broken_answers_move_on, "refused", unreachable("refusing")),
        (broken_answers_move_on, "tls", unreachable("tls_failing")),
        (broken_answers_move_on, "reset", moves_on("reset_before_headers")),
        (broken_answers_move_on, "reset", moves_on("cut_before_headers")),
        (broken_answers_move_on, "empty", moves_on("empty_200")),
        (broken_answers_move_on, "cut_short", moves_on("json_cut_short")),
        (broken_answers_move_on, "cut_short", moves_on("cut_after", stream=True)),
        (broken_answers_move_on, "wrong_content_type", moves_on("wrong_content_type")),
        (broken_answers_move_on, "error_object", moves_on("error_in_200")),
        (broken_answers_move_on, "html_page", moves_on("html_200")),
        (broken_answers_move_on, "first_event_error", moves_on("error_in_200", **FIRST_ERROR)),
        (broken_answers_move_on, "no_event", moves_on("truncate", stream=True)),
    ],
)
def test_another_try_follows(check: Checker, clause: str, story: Story) -> None:
    tell_apart(check, clause, story)


def test_no_other_try_is_owed_after_the_last() -> None:
    traffic = Traffic()
    traffic.failed("c", 0, 700, 502, "api_error")
    for role in ("primary", "second", "third"):
        for n in range(2):
            traffic.attempt("c", 100 * n, 100 * n + 50, role, status=503)
    assert outcome(server_errors_move_on, traffic, "chat") is Outcome.PASS


@pytest.mark.parametrize(
    "changes",
    [
        {"outcome": "aborted", "status": None},
        {"outcome": "open", "status": None},
        {"end": us(LIMIT)},
    ],
)
def test_no_other_try_is_owed_to_a_call_that_is_over(changes: dict[str, Any]) -> None:
    traffic = moves_on(status=503)(True)
    traffic.calls[0] = replace(traffic.calls[0], **changes)
    assert outcome(server_errors_move_on, traffic, "chat") is None


def test_no_try_is_owed_to_targets_that_cannot_be_reached() -> None:
    traffic = replace(moves_on(status=503)(True), listeners={"second": "refusing", "third": "refusing"})
    assert outcome(server_errors_move_on, traffic, "chat") is None


def silent_for(ms: float) -> Traffic:
    """Return a call whose upstream was left after so long a silence."""
    traffic = Traffic()
    traffic.call("c", 0, ms + 500)
    traffic.attempt("c", 0, ms, ended="left", fault="hang_before_headers", head=None, first_chunk=None)
    traffic.attempt("c", ms + 300, ms + 500)
    return traffic


def borne(ms: float) -> Traffic:
    """Return a call whose upstream was silent for so long, and then answered."""
    traffic = Traffic()
    traffic.call("c", 0, ms)
    traffic.attempt("c", 0, ms, fault="delay", params={"seconds": ms / 1000}, ended="served")
    return traffic


def ends_after(ms: float, **changes: Any) -> Traffic:
    traffic = Traffic()
    traffic.failed("c", 0, ms, 504, "timeout_error", **changes)
    traffic.attempt("c", 0, SILENCE, ended="left", fault="hang_before_headers", head=None, first_chunk=None)
    return traffic


@pytest.mark.parametrize(
    ("clause", "story"),
    [
        ("silence_limit", lambda broken: silent_for(SILENCE - 1 if broken else SILENCE)),
        ("silence_limit", lambda broken: silent_for(SILENCE + 10 if broken else SILENCE)),
        ("silence_limit", lambda broken: borne(SILENCE + 1 if broken else SILENCE - 1)),
        ("text_call_limit", lambda broken: ends_after(LIMIT + 1_500 if broken else LIMIT)),
        (
            "text_call_limit",
            lambda broken: ends_after(LIMIT + 9_000 if broken else LIMIT, outcome="open" if broken else "error"),
        ),
    ],
)
def test_time_limits_hold(clause: str, story: Story) -> None:
    tell_apart(time_limits_hold, clause, story)


def test_a_call_cut_off_before_either_limit_breaks_both() -> None:
    traffic = silent_for(SILENCE / 2)
    for clause in ("silence_limit", "text_call_limit"):
        assert outcome(time_limits_hold, traffic, clause) is Outcome.FAIL


def client_fault(*, status: int = 400, late: float = 0, again: bool = False) -> Traffic:
    traffic = Traffic()
    traffic.failed("c", 0, 100 + late, status, "invalid_request_error")
    traffic.attempt("c", 0, 100, status=400)
    if again:
        traffic.attempt("c", 100, 100, "second", status=400)
    return traffic


@pytest.mark.parametrize(
    ("clause", "story"),
    [
        ("client_fault_returned", lambda broken: client_fault(status=502 if broken else 400)),
        ("client_fault_returned", lambda broken: client_fault(late=300 if broken else 0)),
        ("no_second_try", lambda broken: client_fault(again=broken)),
    ],
)
def test_client_faults_come_back(clause: str, story: Story) -> None:
    tell_apart(client_faults_come_back, clause, story)


def the_next_target(broken: bool) -> Traffic:
    traffic = Traffic()
    traffic.call("c", 0, 500)
    traffic.attempt("c", 0, 100, status=401)
    traffic.attempt("c", 200, 500, "primary" if broken else "second")
    return traffic


def at_the_end(broken: bool) -> Traffic:
    traffic = Traffic()
    traffic.failed("c", 0, 500, 401 if broken else 502, "authentication_error" if broken else "api_error")
    for n, role in enumerate(("primary", "second", "third")):
        traffic.attempt("c", n * 100, n * 100 + 50, role, status=401)
    return traffic


@pytest.mark.parametrize(
    ("clause", "story"), [("target_fault_moves_on", the_next_target), ("target_fault_is_502", at_the_end)]
)
def test_target_faults_move_on(clause: str, story: Story) -> None:
    tell_apart(target_faults_move_on, clause, story)


def tried(*roles: str, model: str = "") -> Traffic:
    traffic = Traffic()
    traffic.call("c", 0, 5_000)
    for n, role in enumerate(roles):
        changes = {"model": model} if model else {}
        traffic.attempt("c", n * 500, n * 500 + 50, role, status=200 if n + 1 == len(roles) else 503, **changes)
    return traffic


RIGHT = ("primary", "primary", "second")


@pytest.mark.parametrize(
    ("clause", "wrong"),
    [
        ("chain_order", tried("second", "primary")),
        ("chain_order", tried("primary", "third")),
        ("chain_order", tried(*RIGHT, model="gpt-5-5:eu-central")),
        ("tries_per_target", tried("primary", "primary", "primary", "second")),
    ],
)
def test_targets_are_tried_in_order(clause: str, wrong: Traffic) -> None:
    tell_apart(targets_are_tried_in_order, clause, lambda broken: wrong if broken else tried(*RIGHT))


def paused(gap: float, *, before: int = 0, told_s: float | None = None, role: str = "primary") -> Traffic:
    """Return a pause before another try of the same target, or of another, after so many pauses of a lawful length."""
    traffic = Traffic()
    traffic.call("c", 0, 20_000)
    at, place = 0.0, "primary"
    for n in range(before):
        traffic.attempt("c", at, at + 10, place, status=503)
        at += 10 + 250 * 2**n * 0.75
        traffic.attempt("c", at, at + 10, place, status=503)
        at, place = at + 10, "second"
    params: dict[str, Any] = {} if told_s is None else {"params": {"retry_after_s": told_s}}
    traffic.attempt("c", at, at + 10, place, status=503 if told_s is None else 429, **params)
    traffic.attempt("c", at + 10 + gap, at + gap + 50, place if role == "primary" else role)
    return traffic


@pytest.mark.parametrize(
    ("clause", "right", "wrong"),
    [
        ("growing_pauses", paused(125), paused(124)),
        ("growing_pauses", paused(250), paused(251)),
        ("growing_pauses", paused(500, before=1), paused(250 - 1, before=1)),
        ("growing_pauses", paused(0, role="second"), paused(400, role="second")),
        ("short_retry_after", paused(2_000, told_s=2.0), paused(1_900, told_s=2.0)),
        ("short_retry_after", paused(CAP, told_s=CAP / 1e3), paused(250, told_s=CAP / 1e3)),
        ("long_retry_after", paused(0, told_s=CAP / 1e3 + 1, role="second"), paused(CAP + 1_000, told_s=CAP / 1e3 + 1)),
        ("long_retry_after", paused(0, told_s=60.0, role="second"), paused(60_000, told_s=60.0, role="second")),
    ],
)
def test_pauses_grow(clause: str, right: Traffic, wrong: Traffic) -> None:
    tell_apart(pauses_grow, clause, lambda broken: wrong if broken else right)


@pytest.mark.parametrize(("gap", "wanted"), [(1_900, False), (4_900, True), (6_000, False)])
def test_a_retry_after_that_is_a_date_may_be_three_seconds_late(gap: float, wanted: bool) -> None:
    traffic = paused(gap, told_s=2.0)
    traffic.injections[0]["fault"]["params"]["dated"] = True
    assert (outcome(pauses_grow, traffic, "short_retry_after") is Outcome.PASS) == wanted


def test_pauses_between_tries_that_no_upstream_saw_leave_the_next_one_open() -> None:
    traffic = Traffic(listeners={"primary": "refusing"})
    traffic.call("c", 0, 5_000)
    traffic.attempt("c", 200, 210, "second", status=503)
    traffic.attempt("c", 710, 900, "second")
    assert outcome(pauses_grow, traffic, "growing_pauses") is Outcome.PASS


ALL_503 = ({"status": 503},) * 3
ALL_429 = ({"status": 429, "params": {"retry_after_s": 2.0}}, {"status": 429, "params": {"retry_after_s": 7.5}})
LAST_SILENT = ({"status": 500}, {"status": 429}, {"fault": "hang_before_headers", "ended": "left", "head": None})


def exhausted(
    tries: tuple[dict[str, Any], ...], status: int, type_: str, *, stream: bool = False, **changes: Any
) -> Traffic:
    """Return a call that no target answered, and what its client got; with ``pings`` it got that as an event."""
    traffic = Traffic()
    if changes.get("pings"):
        changes = {"reading": error(type_, sequence="error"), "outcome": "error", **changes}
        status = 200
    traffic.failed("c", 0, 900, status, type_, stream=stream, **changes)
    for n, attempt in enumerate(tries):
        traffic.attempt("c", n * 100, n * 100 + 50, ("primary", "second", "third")[n], **attempt)
    return traffic


def pinged(tries: tuple[dict[str, Any], ...], type_: str, **changes: Any) -> Traffic:
    return exhausted(tries, 200, type_, stream=True, pings=(us(20),), **changes)


def told(seconds: str) -> dict[str, Any]:
    return {"headers": {"retry-after": seconds}}


@pytest.mark.parametrize(
    ("clause", "right", "wrong"),
    [
        (
            "one_clean_error",
            exhausted(ALL_503, 502, "api_error"),
            exhausted(ALL_503, 502, "api_error", reading=error("api_error", message="")),
        ),
        (
            "one_clean_error",
            pinged(ALL_503, "api_error"),
            pinged(ALL_503, "api_error", reading=error("api_error", sequence="error*2")),
        ),
        ("timeout_is_504", exhausted(LAST_SILENT, 504, "timeout_error"), exhausted(LAST_SILENT, 502, "api_error")),
        (
            "all_429_is_429",
            exhausted(ALL_429, 429, "rate_limit_error", **told("8")),
            exhausted(ALL_429, 502, "api_error"),
        ),
        (
            "longest_retry_after",
            exhausted(ALL_429, 429, "rate_limit_error", **told("8")),
            exhausted(ALL_429, 429, "rate_limit_error", **told("2")),
        ),
        (
            "circuits_open_is_503",
            exhausted((), 503, "overloaded_error", **told("9")),
            exhausted((), 503, "overloaded_error"),
        ),
        ("else_502", exhausted(ALL_503, 502, "api_error"), exhausted(ALL_503, 503, "overloaded_error")),
        ("else_502", exhausted(ALL_503, 502, "api_error"), exhausted(ALL_503, 502, "timeout_error")),
        ("as_status", exhausted(ALL_503, 502, "api_error"), exhausted(ALL_503, 500, "api_error")),
        (
            "as_status",
            exhausted(ALL_503, 502, "api_error", stream=True),
            exhausted(ALL_503, 200, "api_error", stream=True, outcome="error"),
        ),
        ("as_event", pinged(ALL_503, "api_error"), pinged(ALL_503, "timeout_error")),
        (
            "as_event",
            pinged(ALL_503, "api_error", surface="messages"),
            pinged(ALL_503, "api_error", surface="messages", reading=error("api_error", sequence="foreign_error")),
        ),
    ],
)
def test_exhausted_calls_get_one_error(clause: str, right: Traffic, wrong: Traffic) -> None:
    tell_apart(exhausted_calls_get_one_error, clause, lambda broken: wrong if broken else right)


def test_a_target_that_could_not_be_reached_makes_all_429_a_502() -> None:
    for status, expected in ((502, Outcome.PASS), (429, Outcome.FAIL)):
        traffic = exhausted(ALL_429, status, "api_error" if status == 502 else "rate_limit_error")
        assert (
            outcome(exhausted_calls_get_one_error, replace(traffic, listeners={"third": "refusing"}), "else_502")
            is expected
        )


def leaking(text: str) -> Story:
    def story(broken: bool) -> Traffic:
        message = f"it failed: {text}" if broken else "every provider failed"
        return exhausted(ALL_503, 502, "api_error", reading=error("api_error", message))

    return story


def leaking_in_the_body(broken: bool) -> Traffic:
    traffic = exhausted(ALL_503, 502, "api_error", answer_sha="body")
    traffic.bodies["body"] = b'{"upstream": "https://10.1.2.3/v1"}' if broken else b"{}"
    return traffic


def leaking_in_a_header(broken: bool) -> Traffic:
    lawful = {"report-to": "https://reports.example/v1"}
    return exhausted(ALL_503, 502, "api_error", headers={"via": "http://third.upstream/v1"} if broken else lawful)


def paid(broken: bool) -> Traffic:
    traffic = exhausted(ALL_503, 502, "api_error")
    if broken:
        traffic.ledger.append(LedgerEntry(1, "c", "a", "post", -1, 1, 0, (), (), 0))
    return traffic


@pytest.mark.parametrize(
    ("clause", "story"),
    [
        ("nothing_leaked", leaking("http://example/v1")),
        ("nothing_leaked", leaking("10.0.0.7:8443")),
        ("nothing_leaked", leaking("second.upstream")),
        ("nothing_leaked", leaking("up-0123456789abcdef01234567")),
        ("nothing_leaked", leaking_in_the_body),
        ("nothing_leaked", leaking_in_a_header),
        ("unpaid", paid),
    ],
)
def test_exhausted_calls_leak_and_cost_nothing(clause: str, story: Story) -> None:
    tell_apart(exhausted_calls_leak_and_cost_nothing, clause, story)


def behind_pings(broken: bool) -> Traffic:
    traffic = moves_on(status=503, stream=True)(broken)
    traffic.calls[0] = replace(traffic.calls[0], pings=(us(20),))
    return traffic


def behind_comments(broken: bool) -> Traffic:
    return moves_on("comments+stream_error", stream=True, reading=Reading(sequence="error"))(broken)


@pytest.mark.parametrize("story", [behind_pings, behind_comments])
def test_failover_goes_on_behind_pings(story: Story) -> None:
    tell_apart(failover_goes_on_behind_pings, "failover_behind_pings", story)
