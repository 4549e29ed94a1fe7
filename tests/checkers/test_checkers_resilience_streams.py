"""Broken streams and departed clients: each clause on a history that keeps it, and on one that breaks it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.checker import Outcome
from harness.checkers.broken_streams import broken_streams_end_with_an_error, nothing_is_added_to_a_broken_stream
from harness.checkers.departures import (
    departed_clients_hold_their_slot_until_the_drain_ends,
    nothing_goes_on_without_a_client,
)
from harness.history import Reading
from tests.checkers.traffic_histories import CONTRACT, Story, Traffic, contract_with, outcome, tell_apart, us

SENT = Reading(text="primary:c:0 primary:c:1", sequence="role content*2")
GOT = Reading(
    text="primary:c:0 ", sequence="role content*2 error", error_type="api_error", error_message="the stream broke off"
)
DRAIN = CONTRACT.timeouts.drain_ms


def broken_stream(
    fault: str, *, surface: str = "chat", got: Reading = GOT, sent: Reading = SENT, **attempt: Any
) -> Traffic:
    """Return a stream that broke after content, and what its client read."""
    traffic = Traffic()
    failed = got.error_type is not None
    traffic.call(
        "c",
        0,
        500,
        surface=surface,
        stream=True,
        first_byte=us(100),
        first_content=us(100),
        reading=got,
        outcome="error" if failed else "ok" if got.terminal else "cut",
    )
    traffic.attempt("c", 0, 400, fault=fault, reading=sent, first_chunk=us(100), head=us(100), **attempt)
    return traffic


CUT = replace(GOT, error_type=None, error_message=None, sequence="role content*2")
WHOLE = replace(CUT, terminal=True, sequence="role content*2 done")


@pytest.mark.parametrize(
    ("clause", "right", "wrong"),
    [
        ("reset", broken_stream("reset_after"), broken_stream("reset_after", got=CUT)),
        ("reset", broken_stream("cut_after"), broken_stream("cut_after", got=CUT)),
        ("silence", broken_stream("stall", ended="left"), broken_stream("stall", ended="left", got=CUT)),
        (
            "malformed",
            broken_stream("malformed_event", sent=replace(SENT, sequence="role content malformed")),
            broken_stream("malformed_event", sent=replace(SENT, sequence="role content malformed"), got=WHOLE),
        ),
        ("early_end", broken_stream("truncate"), broken_stream("truncate", got=WHOLE)),
        ("surface_form", broken_stream("truncate"), broken_stream("truncate", got=replace(GOT, error_type="oops"))),
        (
            "surface_form",
            broken_stream("truncate"),
            broken_stream("truncate", got=replace(GOT, sequence="error finish")),
        ),
        (
            "surface_form",
            broken_stream("stream_error"),
            broken_stream("stream_error", got=replace(GOT, error_message=None)),
        ),
        (
            "surface_form",
            broken_stream(
                "truncate", surface="responses", got=replace(GOT, sequence="response.created response.failed")
            ),
            broken_stream("truncate", surface="messages", got=replace(GOT, sequence="message_start response.failed")),
        ),
    ],
)
def test_broken_streams_end_with_an_error(clause: str, right: Traffic, wrong: Traffic) -> None:
    tell_apart(broken_streams_end_with_an_error, clause, lambda broken: wrong if broken else right)


def a_second_answer(broken: bool) -> Traffic:
    return broken_stream("reset_after", got=replace(GOT, text="primary:c:0 second:c:0") if broken else GOT)


def a_second_try(broken: bool) -> Traffic:
    traffic = broken_stream("reset_after")
    if broken:
        traffic.attempt("c", 450, 490, "second")
    return traffic


@pytest.mark.parametrize(
    ("clause", "story"),
    [
        ("no_splice", a_second_answer),
        ("no_splice", a_second_try),
        ("no_clean_end", lambda broken: broken_stream("truncate", got=WHOLE if broken else GOT)),
        (
            "no_invented_finish",
            lambda broken: broken_stream("truncate", got=replace(GOT, finish="stop" if broken else None)),
        ),
    ],
)
def test_nothing_is_added_to_a_broken_stream(clause: str, story: Story) -> None:
    tell_apart(nothing_is_added_to_a_broken_stream, clause, story)


def test_a_finish_reason_that_the_upstream_sent_is_not_made_up() -> None:
    traffic = broken_stream("truncate", got=replace(GOT, finish="stop"))
    traffic.attempts[0] = replace(traffic.attempts[0], reading=replace(SENT, finish="stop"))
    assert outcome(nothing_is_added_to_a_broken_stream, traffic, "no_invented_finish") is Outcome.PASS


def test_content_that_was_never_passed_on_binds_nobody() -> None:
    traffic = Traffic()
    traffic.call("c", 0, 900, stream=True, first_content=us(800), reading=Reading(text="second:c", terminal=True))
    traffic.attempt("c", 0, 100, fault="reset_after", reading=SENT)
    traffic.attempt("c", 400, 900, "second")
    assert outcome(nothing_is_added_to_a_broken_stream, traffic, "no_splice") is Outcome.PASS
    assert outcome(broken_streams_end_with_an_error, traffic, "reset") is None


def departed(*, ends: float, contract: Any = CONTRACT, again: float | None = None, status: int = 200) -> Traffic:
    """Return a client that left after 100 ms, and what went on behind it."""
    traffic = Traffic(contract)
    traffic.call("gone", 0, 100, outcome="aborted", status=None, first_content=None)
    traffic.attempt("gone", 0, ends, status=status)
    if again is not None:
        traffic.attempt("gone", again, again + 10)
    return traffic


@pytest.mark.parametrize(
    ("clause", "right", "wrong"),
    [
        ("no_further_attempt", departed(ends=200, status=503), departed(ends=200, status=503, again=400)),
        ("ends_within_drain", departed(ends=100 + DRAIN), departed(ends=110 + DRAIN)),
        (
            "zero_cancels_at_once",
            departed(ends=100, contract=contract_with(timeouts__drain_ms=0)),
            departed(ends=110, contract=contract_with(timeouts__drain_ms=0)),
        ),
    ],
)
def test_nothing_goes_on_without_a_client(clause: str, right: Traffic, wrong: Traffic) -> None:
    tell_apart(nothing_goes_on_without_a_client, clause, lambda broken: wrong if broken else right)


def probe(at: float, slots_right: int, slots_wrong: int) -> Story:
    def story(broken: bool) -> Traffic:
        traffic = departed(ends=2_000)
        traffic.served("probe", at, at + 1, slots=slots_wrong if broken else slots_right)
        return traffic

    return story


@pytest.mark.parametrize(
    ("clause", "story"), [("slot_held", probe(1_000, 78, 79)), ("slot_freed", probe(3_000, 79, 78))]
)
def test_departed_clients_hold_their_slot_until_the_drain_ends(clause: str, story: Story) -> None:
    tell_apart(departed_clients_hold_their_slot_until_the_drain_ends, clause, story)
