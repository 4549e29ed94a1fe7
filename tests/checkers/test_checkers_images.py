"""Images per minute, image models' own limits, headers and bills: each clause kept, and broken; what proves nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.checker import Outcome
from harness.checkers.billing import answers_tell_the_charge, flawed_usage_is_free
from harness.checkers.image_windows import image_windows_hold
from harness.checkers.insurance import FIELDS, answers_carry_the_settlement
from harness.checkers.remaining import admitted_answers_tell_the_limits, remaining_headers_are_true
from harness.checkers.time_limits import time_limits_hold
from harness.checkers.tokens import reservations_are_told, token_windows_hold
from harness.history import LedgerEntry, Reading
from tests.checkers.traffic_histories import NAMES, Story, Traffic, contract_with, outcome, tell_apart

LIMIT = 4
FOUR = contract_with(image__images=LIMIT)
WINDOW = FOUR.image.window_ms
IMAGE: dict[str, Any] = {"surface": "images", "model": "gpt-image-2"}


def asking(count: int) -> dict[str, Any]:
    """Return what makes a call ask for so many images."""
    return {**IMAGE, "detail": {"fields": {"n": [count]}}}


def made(
    traffic: Traffic,
    id_: str,
    at: float,
    end: float,
    count: int,
    came: int | None = None,
    left: int | None = None,
    **more: Any,
) -> None:
    """Add a call for ``count`` images, of which ``came`` came, that was told how many are ``left``."""
    limits = traffic.contract.image
    headers = {
        NAMES.governor: "active",
        NAMES.concurrency_limit: str(limits.concurrency),
        NAMES.concurrency_remaining: str(limits.concurrency - 1),
        NAMES.image_limit: str(limits.images),
        NAMES.tpm_limit: str(limits.tokens),
        NAMES.tpm_remaining: str(limits.tokens - 4_196),
        NAMES.capacity_remaining: str(limits.requests - 1),
        NAMES.circuit: "closed",
    }
    if left is not None:
        headers[NAMES.image_remaining] = str(left)
    traffic.call(id_, at, end, headers=headers, **{**asking(count), **more})
    traffic.attempt(id_, at, end, text="b64_json:x\n" * (count if came is None else came))
    usage = {"input_tokens": 100, "output_tokens": 900, "total_tokens": 1_000}
    last = traffic.attempts[-1]
    traffic.attempts[-1] = replace(last, reading=replace(last.reading, usage=usage))


def a_probe(broken: bool, first: int, came: int, asked: int, fits: bool) -> Traffic:
    """A call, and long after it one that fits what is left, or does not; ``broken``: it got the other answer."""
    traffic = Traffic(FOUR)
    made(traffic, "first", 0, 100, first, came)
    if fits is not broken:
        made(traffic, "probe", 5_000, 5_100, asked)
    else:
        traffic.refused("probe", 5_000, **asking(asked))
    return traffic


def told(broken: bool, first: int, came: int, right: int, wrong: int) -> Traffic:
    traffic = Traffic(FOUR)
    made(traffic, "first", 0, 100, first, came)
    made(traffic, "second", 5_000, 5_100, 1, left=wrong if broken else right)
    return traffic


def a_window_later(broken: bool) -> Traffic:
    traffic = Traffic(FOUR)
    made(traffic, "first", 0, 100, LIMIT)
    if broken:
        traffic.refused("again", WINDOW, **asking(LIMIT))
    else:
        made(traffic, "again", WINDOW, WINDOW + 10, LIMIT, left=0)
    return traffic


def after_a_failure(broken: bool) -> Traffic:
    traffic = Traffic(FOUR)
    traffic.failed("fails", 0, 100, 502, "api_error", **asking(LIMIT))
    traffic.attempt("fails", 0, 50, status=503)
    if broken:
        traffic.refused("next", 5_000, **asking(LIMIT))
    else:
        made(traffic, "next", 5_000, 5_100, LIMIT)
    return traffic


@pytest.mark.parametrize(
    ("clause", "story"),
    [
        ("images_per_window", lambda broken: a_probe(broken, LIMIT, LIMIT, 1, fits=False)),
        ("images_per_window", lambda broken: a_probe(broken, 2, 2, 3, fits=False)),
        ("n_counts_n", lambda broken: a_probe(broken, 2, 2, 3, fits=False)),
        ("n_counts_n", lambda broken: told(broken, 2, 2, right=1, wrong=2)),
        ("n_counts_n", a_window_later),
        ("settled_to_returned", lambda broken: a_probe(broken, LIMIT, 1, 3, fits=True)),
        ("settled_to_returned", lambda broken: told(broken, 3, 1, right=2, wrong=0)),
        ("settled_to_returned", after_a_failure),
    ],
)
def test_image_windows_hold(clause: str, story: Story) -> None:
    tell_apart(image_windows_hold, clause, story)


def test_a_refusal_that_only_fits_without_the_images_at_work_is_lawful() -> None:
    traffic = Traffic(FOUR)
    made(traffic, "first", 0, 8_000, LIMIT, 1)
    traffic.refused("probe", 5_000, **asking(2))
    assert outcome(image_windows_hold, traffic, "settled_to_returned") is None
    assert outcome(image_windows_hold, traffic, "images_per_window") is Outcome.PASS


def test_nothing_is_said_of_images_where_a_body_is_not_known() -> None:
    traffic = Traffic(FOUR)
    made(traffic, "first", 0, 100, LIMIT, detail={"own_body": True})
    made(traffic, "second", 200, 300, LIMIT)
    assert image_windows_hold(traffic.history(), traffic.contract).clauses == {}


def test_text_models_have_no_window_of_images() -> None:
    traffic = Traffic(FOUR)
    for n in range(LIMIT + 1):
        traffic.served(f"c{n}", n, n + 10)
    assert image_windows_hold(traffic.history(), traffic.contract).clauses == {}


def ends_after(ms: float, late: bool) -> Traffic:
    """A call of an image model that its first upstream failed, ended by the gateway after so long, or answered late."""
    traffic = Traffic(FOUR)
    traffic.failed("c", 0, ms, 504, "timeout_error", **IMAGE)
    traffic.attempt("c", 0, 60_000, status=503)
    traffic.attempt("c", 60_000, ms, "second", ended="served" if late else "left", head=None, first_chunk=None)
    return traffic


def test_a_call_of_an_image_model_ends_at_its_own_limit() -> None:
    limit = FOUR.timeouts.image_call_ms
    tell_apart(
        time_limits_hold, "image_call_limit", lambda broken: ends_after(limit * 2 if broken else limit, late=broken)
    )
    assert outcome(time_limits_hold, ends_after(limit * 0.8, late=False), "image_call_limit") is Outcome.FAIL


def limits_told(broken: bool, name: str) -> Traffic:
    traffic = Traffic(FOUR)
    made(traffic, "one", 0, 100, 1, left=LIMIT - 1)
    if broken:
        kept = {header: value for header, value in traffic.calls[0].headers.items() if header != name}
        traffic.calls[0] = replace(traffic.calls[0], headers=kept)
    return traffic


@pytest.mark.parametrize("name", [NAMES.image_limit, NAMES.image_remaining])
def test_an_image_model_tells_its_images(name: str) -> None:
    tell_apart(admitted_answers_tell_the_limits, "image_headers", lambda broken: limits_told(broken, name))
    verdict = admitted_answers_tell_the_limits(limits_told(False, name).history(), FOUR)
    assert "rpm" not in verdict.clauses


def beside_text(broken: bool, used: bool) -> Traffic:
    """A call of a text model beside one of an image model, before it or after it, and the capacity that it was told."""
    traffic = Traffic(FOUR)
    if used:
        made(traffic, "image", 0, 100, 1)
    traffic.served("text", 5_000, 5_100)
    if not used:
        made(traffic, "image", 8_000, 8_100, 1)
    call = next(n for n, one in enumerate(traffic.calls) if one.id == "text")
    right, wrong = FOUR.image.requests - 1, FOUR.text.requests - 1
    if not used:
        right, wrong = wrong, wrong + 1
    headers = {**traffic.calls[call].headers, NAMES.capacity_remaining: str(wrong if broken else right)}
    traffic.calls[call] = replace(traffic.calls[call], headers=headers)
    return traffic


@pytest.mark.parametrize("used", [True, False])
def test_an_image_models_requests_are_the_tightest_while_it_is_used(used: bool) -> None:
    tell_apart(admitted_answers_tell_the_limits, "capacity", lambda broken: beside_text(broken, used))


def test_what_remains_of_the_images_is_true() -> None:
    tell_apart(remaining_headers_are_true, "within_interval", lambda broken: told(broken, 2, 2, right=1, wrong=0))


def tokens_of_images(broken: bool) -> Traffic:
    traffic = Traffic(FOUR)
    made(traffic, "one", 0, 100, 1)
    if broken:
        headers = {**traffic.calls[0].headers, NAMES.tpm_limit: str(FOUR.text.tokens)}
        traffic.calls[0] = replace(traffic.calls[0], headers=headers)
    return traffic


def more_tokens_than_images_have(broken: bool) -> Traffic:
    traffic = Traffic(contract_with(image__tokens=5_000))
    made(traffic, "first", 0, 100, 1)  # a thousand tokens
    if broken:
        made(traffic, "second", 5_000, 5_100, 1)
    else:
        traffic.refused("second", 5_000, **asking(1))
    return traffic


def test_an_image_model_has_tokens_of_its_own() -> None:
    tell_apart(reservations_are_told, "image_limit", tokens_of_images)
    tell_apart(token_windows_hold, "image_limit", more_tokens_than_images_have)


def paid(
    broken: bool, claims: dict[str, Any] | None = None, usage: dict[str, Any] | None = None, credits: int = 3
) -> Traffic:
    """An image of 100 and 900 tokens, which cost 3 credits rounded up; ``broken``: a credit more is charged."""
    traffic = Traffic(FOUR)
    made(traffic, "one", 0, 100, 1)
    traffic.calls[0] = replace(traffic.calls[0], claims=claims or {})
    if usage is not None:
        traffic.attempts[0] = replace(traffic.attempts[0], reading=Reading(text="b64_json:x\n", terminal=True, **usage))
    charged = credits + broken
    traffic.ledger = [
        LedgerEntry(1, "one", "a", "opening", 100, 100, 100, (), (), 0),
        LedgerEntry(2, "one", "a", "post", -charged, charged, 100 - charged, (), (), 60),
    ]
    return traffic


def test_an_enterprise_image_is_billed_by_its_tokens() -> None:
    tell_apart(flawed_usage_is_free, "enterprise_images", paid)
    tell_apart(flawed_usage_is_free, "enterprise_images", lambda broken: paid(broken, usage={"usage": None}, credits=0))


def test_an_images_answer_tells_its_charge_and_its_insurance() -> None:
    billing = {"model": "gpt-image-2", "credits_charged": 3, "balance_before": 100, "balance_after": 97}
    claims = {"billing": billing, "insurance": dict.fromkeys(FIELDS, 0)}
    for check in (answers_tell_the_charge, answers_carry_the_settlement):
        tell_apart(check, "images", lambda broken: paid(False, {} if broken else claims))
