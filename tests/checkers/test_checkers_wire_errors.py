"""The checkers of refusals, and what they take for a flaw: each clause seen to hold and seen to be broken."""

from __future__ import annotations

from typing import Any

import pytest

from harness.checkers.errors import (
    a_body_without_model_is_refused,
    a_model_on_the_wrong_endpoint_is_told_the_right_one,
    an_unknown_model_is_told_what_there_is,
    bad_input_is_refused_at_once,
    errors_have_one_precedence,
    every_error_has_the_documents_shape,
)
from harness.checkers.flaws import (
    BAD_UTF8,
    NOT_JSON,
    TOO_DEEP,
    TOO_LARGE,
    WRONG_CONTENT_TYPE,
    WRONG_FIELD_TYPE,
    flaws_of_all,
)
from harness.contract import load_contract
from harness.history import Reading
from tests.checkers.wire_histories import (
    CHAT,
    CLAUDE,
    GENERAL,
    GENERAL_CHAT,
    GENERAL_CLAUDE,
    GPT,
    MAX,
    MESSAGES,
    RESPONSES,
    Case,
    Judgements,
    Wire,
)
from tests.checkers.wire_steps import (
    CLI,
    COUNT,
    FAIL,
    LIST,
    PASS,
    Step,
    in_turn,
    refused,
    served,
)

CHAT_IDS = [
    model.id
    for model in load_contract().models
    if model.tier == "enterprise" and "chat" in model.surfaces and not model.cli_only
]
LITERAL = {"literal_secret": True}


def poor(wire: Wire) -> None:
    wire.credits["poor"] = 0


def bad_body(clause: str, word: str, row: str) -> Case:
    detail = {"tag": word}
    return Case(
        bad_input_is_refused_at_once,
        clause,
        refused(CHAT, row, detail=detail),
        refused(CHAT, "internal", detail=detail),
    )


def shut(step: Step) -> Step:
    """A flawed call while the model has no room: good calls before and behind it find none either."""
    full = refused(CHAT, "queue_full", account="b")
    return in_turn(poor, full, step, full)


CASES = [
    # ERR
    Case(
        every_error_has_the_documents_shape,
        "error_object",
        refused(CHAT, "bad_request"),
        refused(CHAT, "bad_request", reading=Reading(error_message="no")),
    ),
    Case(
        every_error_has_the_documents_shape,
        "error_object",
        refused(CHAT, "bad_request", answer={"error": {"type": "t", "message": "m"}}),
        refused(CHAT, "bad_request", answer={"error": {"code": "t", "message": "m"}}),
    ),
    Case(
        every_error_has_the_documents_shape,
        "anthropic_type",
        refused(MESSAGES, "bad_request", CLAUDE),
        refused(MESSAGES, "bad_request", CLAUDE, claims={}),
    ),
    Case(a_body_without_model_is_refused, "missing_model", refused(CHAT, "missing_model", ""), served(CHAT, "")),
    Case(
        an_unknown_model_is_told_what_there_is,
        "unknown_model",
        refused(CHAT, "unknown_model", "no-such"),
        refused(CHAT, "not_found", "no-such"),
    ),
    Case(
        an_unknown_model_is_told_what_there_is,
        "available_models",
        refused(CHAT, "unknown_model", "no-such", claims={"available_models": CHAT_IDS}),
        refused(CHAT, "unknown_model", "no-such", claims={"available_models": [*CHAT_IDS, "gpt-5.5"]}),
    ),
    *(
        Case(
            a_model_on_the_wrong_endpoint_is_told_the_right_one,
            clause,
            refused(path, "wrong_endpoint", model),
            served(path, model),
        )
        for clause, path, model in (
            ("claude_on_chat", "/api/v1/chat/completions", GENERAL_CLAUDE),
            ("claude_on_responses", "/v1/codex/responses", GENERAL_CLAUDE),
            ("other_on_messages", MESSAGES, GPT),
            ("other_on_messages", "/v1/messages", GENERAL),
        )
    ),
    Case(
        a_model_on_the_wrong_endpoint_is_told_the_right_one,
        "names_path",
        refused(
            MESSAGES, "wrong_endpoint", reading=Reading(error_type="invalid_request_error", error_message=f"use {CHAT}")
        ),
        refused(
            MESSAGES,
            "wrong_endpoint",
            reading=Reading(error_type="invalid_request_error", error_message="no /v1/messages"),
        ),
    ),
    Case(
        a_model_on_the_wrong_endpoint_is_told_the_right_one,
        "managed_serves_claude",
        served(RESPONSES, CLAUDE),
        refused(RESPONSES, "wrong_endpoint", CLAUDE),
    ),
    bad_body("not_json", NOT_JSON, "bad_request"),
    bad_body("content_type", WRONG_CONTENT_TYPE, "unsupported_media"),
    bad_body("field_types", WRONG_FIELD_TYPE, "bad_request"),
    bad_body("too_large", TOO_LARGE, "too_large"),
    bad_body("bad_utf8", BAD_UTF8, "bad_request"),
    bad_body("nesting", TOO_DEEP, "bad_request"),
    bad_body("never_5xx", NOT_JSON, "bad_request"),
    Case(
        bad_input_is_refused_at_once,
        "within_a_second",
        refused(CHAT, "bad_request", detail={"tag": NOT_JSON}, sent=0, end=1_000_000),
        refused(CHAT, "bad_request", detail={"tag": NOT_JSON}, sent=0, end=1_000_001),
    ),
    Case(
        bad_input_is_refused_at_once,
        "serves_next",
        in_turn(refused(CHAT, "bad_request", detail={"tag": NOT_JSON}), served()),
        in_turn(refused(CHAT, "bad_request", detail={"tag": NOT_JSON}), lambda wire: wire.call(status=None)),
    ),
    Case(
        errors_have_one_precedence,
        "credential_first",
        refused(CHAT, "invalid_key", key="a-expired", detail={"tag": NOT_JSON}),
        refused(CHAT, "bad_request", key="a-expired", detail={"tag": NOT_JSON}),
    ),
    Case(
        errors_have_one_precedence,
        "credential_first",
        shut(refused(CHAT, "invalid_key", detail=LITERAL)),
        shut(refused(CHAT, "queue_full", detail=LITERAL)),
    ),
    Case(
        errors_have_one_precedence,
        "suspended_second",
        refused(CHAT, "suspended_key", "no-such", key="a-suspended"),
        refused(CHAT, "unknown_model", "no-such", key="a-suspended"),
    ),
    Case(
        errors_have_one_precedence,
        "body_before_cli_only",
        refused(MESSAGES, "bad_request", MAX, detail={"tag": NOT_JSON}),
        refused(MESSAGES, "cli_only", MAX, detail={"tag": NOT_JSON}),
    ),
    Case(
        errors_have_one_precedence,
        "body_before_balance",
        in_turn(poor, refused(CHAT, "bad_request", account="poor", detail={"tag": NOT_JSON})),
        in_turn(poor, refused(CHAT, "insufficient_balance", account="poor", detail={"tag": NOT_JSON})),
    ),
    Case(
        errors_have_one_precedence,
        "cli_only_before_balance",
        in_turn(poor, refused(MESSAGES, "cli_only", MAX, account="poor")),
        in_turn(poor, refused(MESSAGES, "insufficient_balance", MAX, account="poor")),
    ),
    Case(
        errors_have_one_precedence,
        "balance_before_admission",
        shut(refused(CHAT, "insufficient_balance", account="poor")),
        shut(refused(CHAT, "queue_full", account="poor")),
    ),
    Case(
        errors_have_one_precedence,
        "known_types",
        refused(CHAT, "bad_request"),
        refused(CHAT, "bad_request", reading=Reading(error_type="nonsense", error_message="m")),
    ),
]
JUDGED: Judgements = [
    (every_error_has_the_documents_shape, served(), set()),
    (every_error_has_the_documents_shape, refused(CHAT, "bad_request"), {"error_object"}),
    (every_error_has_the_documents_shape, refused(CHAT, "bad_request", detail={"method": "HEAD"}), set()),
    (a_body_without_model_is_refused, refused(CHAT, "unknown_model", "no-such"), set()),
    (a_body_without_model_is_refused, refused(CHAT, "invalid_key", "", key="a-expired"), set()),
    (an_unknown_model_is_told_what_there_is, refused(CHAT, "unknown_model", GENERAL), set()),
    (a_model_on_the_wrong_endpoint_is_told_the_right_one, served(CHAT, GPT), set()),
    (a_model_on_the_wrong_endpoint_is_told_the_right_one, served(GENERAL_CHAT, GENERAL), set()),
    (
        a_model_on_the_wrong_endpoint_is_told_the_right_one,
        refused(CHAT, "wrong_endpoint", "gpt-image-2"),
        {"image_path", "names_path"},
    ),
    (
        a_model_on_the_wrong_endpoint_is_told_the_right_one,
        refused(GENERAL_CHAT, "unknown_model", CLAUDE),
        {"claude_on_chat"},
    ),
    (bad_input_is_refused_at_once, served(), set()),
    (
        bad_input_is_refused_at_once,
        refused(CHAT, "bad_request", detail={"tag": NOT_JSON}),
        {"not_json", "within_a_second", "never_5xx"},
    ),
    (errors_have_one_precedence, served(), set()),
    (errors_have_one_precedence, refused(CHAT, "invalid_key", key="a-expired"), {"known_types"}),
    (errors_have_one_precedence, refused(CHAT, "suspended_key", key="a-suspended"), {"known_types"}),
    (
        errors_have_one_precedence,
        in_turn(poor, refused(CHAT, "insufficient_balance", account="poor")),
        {"known_types"},
    ),
    (errors_have_one_precedence, refused(MESSAGES, "cli_only", MAX), {"known_types"}),
    (errors_have_one_precedence, shut(served()), {"known_types"}),
]


def test_a_flat_error_event_may_carry_its_row_s_name_and_others_may_not() -> None:
    named = Reading(error_type="stream_broken", error_message="m")
    flat, wrapped = Wire(), Wire()
    flat.call(RESPONSES, CLAUDE, stream=True, outcome="error", reading=named)
    wrapped.call(CHAT, stream=True, outcome="error", reading=named)
    assert flat.outcome(errors_have_one_precedence, "known_types") is PASS
    assert wrapped.outcome(errors_have_one_precedence, "known_types") is FAIL


def test_an_error_event_in_a_stream_must_have_the_shape_too() -> None:
    good, bad = Wire(), Wire()
    good.call(
        MESSAGES,
        CLAUDE,
        stream=True,
        outcome="error",
        reading=Reading(error_type="t", error_message="m"),
        claims={"envelope": "error"},
    )
    bad.call(
        MESSAGES, CLAUDE, stream=True, outcome="error", reading=Reading(error_type="t"), claims={"envelope": "error"}
    )
    assert good.outcome(every_error_has_the_documents_shape, "error_object") is PASS
    assert bad.outcome(every_error_has_the_documents_shape, "error_object") is FAIL


PICTURES = {"path": "/v1/managed/images/generations", "surface": "images", "model": "gpt-image-2"}


def flaws(wire: Wire) -> list[tuple[str, ...] | None]:
    found = flaws_of_all(wire.history(), wire.contract)
    return [None if rows is None else tuple(row.name for row in rows) for _, rows in found]


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        ({}, ()),
        ({"model": "no-such"}, ("unknown_model",)),
        ({"model": ""}, ("missing_model",)),
        ({"model": GENERAL}, ("unknown_model", "wrong_endpoint")),
        ({"model": "gpt-image-2"}, ("wrong_endpoint",)),
        ({"model": MAX}, ("cli_only",)),
        ({"model": MAX, "detail": CLI}, ("cli_only",)),
        ({"path": MESSAGES, "model": MAX, "detail": CLI}, ()),
        ({"path": COUNT, "model": MAX}, None),
        ({"path": "/v1/messages", "model": GENERAL_CLAUDE}, ()),
        ({"path": "/v1/messages?beta=true", "model": CLAUDE}, ()),
        ({"path": "/v1/nothing"}, None),
        ({"path": LIST, "model": ""}, ()),
        ({"detail": {"method": "GET"}}, ("method_not_allowed",)),
        ({"detail": {"auth": "x-api-key"}}, None),
        ({"detail": {"headers": {"x-api-key": "ck_nobody"}}}, None),
        ({"path": COUNT, "model": CLAUDE, "detail": {"auth": ["bearer", "x-api-key"]}}, ()),
        ({"account": "poor"}, ("insufficient_balance",)),
        ({"account": "poor", "path": COUNT, "model": CLAUDE}, ()),
        ({"key": "a-suspended", "detail": {"tag": TOO_LARGE}}, ("suspended_key", "too_large")),
        ({**PICTURES, "detail": {"fields": {"n": [250]}}}, ()),
        ({**PICTURES, "detail": {"fields": {"n": [251]}}}, None),  # 400 and 429 are both lawful
    ],
)
def test_flaws_are_told_from_the_plan(plan: dict[str, Any], expected: tuple[str, ...] | None) -> None:
    wire = Wire(credits={"poor": 0})
    wire.call(**plan)
    assert flaws(wire) == [expected]


def test_an_enterprise_balance_below_the_minimum_may_still_cover_a_call() -> None:
    wire = Wire(credits={"low": 1})
    wire.call(account="low")
    wire.call("/api/v1/chat/completions", GENERAL, account="low")
    assert flaws(wire) == [(), ("insufficient_balance",)]


def test_a_call_under_way_while_its_key_is_suspended_may_go_either_way() -> None:
    wire = Wire()
    wire.refused(MESSAGES, MAX, "cli_only", sent=0, end=500)
    wire.call(MESSAGES, CLAUDE, sent=400, end=900)
    wire.call(MESSAGES, CLAUDE, sent=501, end=900)
    wire.call(MESSAGES, CLAUDE, sent=501, end=900, account="b")
    assert flaws(wire) == [("cli_only",), None, ("suspended_key",), ()]
