"""The checkers of credentials, refusals, places and CLI-only models: each clause seen to hold and seen to be broken."""

from __future__ import annotations

from typing import Any

import pytest

from harness.checker import Checker, Outcome
from harness.checkers.auth import (
    anthropic_api_key_is_accepted_on_managed_messages,
    bad_keys_are_refused_for_free,
    bearer_keys_are_accepted,
    customer_keys_stay_inside,
    x_api_key_is_accepted_on_anthropic_paths,
)
from harness.checkers.cli_only import max_models_are_for_the_official_cli
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
    NO_PREFIX,
    NOT_JSON,
    OFFICIAL_CLI,
    TOO_DEEP,
    TOO_LARGE,
    WRONG_CONTENT_TYPE,
    WRONG_FIELD_TYPE,
    flaws_of_all,
)
from harness.checkers.hosts import paths_are_served_on_any_host
from harness.history import Reading
from tests.checkers.wire_histories import (
    CHAT,
    CLAUDE,
    CODEX,
    GENERAL,
    GENERAL_CLAUDE,
    GPT,
    MAX,
    MESSAGES,
    RESPONSES,
    Case,
    Wire,
)

PASS, FAIL, UNTOLD = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE
COUNT = f"{MESSAGES}/count_tokens"
GENERAL_CHAT = "/api/v1/chat/completions"
LIST = "/v1/managed/models"
X_API_KEY = {"auth": "x-api-key"}
ANTHROPIC_KEY = {"auth": "anthropic-api-key"}
BOTH = {"auth": ["bearer", "x-api-key"], "other_key": "b-active"}
LITERAL = {"literal_secret": True}
CLI = {"tag": OFFICIAL_CLI, "headers": {"user-agent": "claude-cli/2.1.197 (external, sdk-cli)"}}
TTY = {"tag": OFFICIAL_CLI, "headers": {"User-Agent": "claude-cli/2.1.197 (external, cli)"}}
CHAT_IDS = [
    model.id
    for model in Wire().contract.models
    if model.tier == "enterprise" and "chat" in model.surfaces and not model.cli_only
]


def refused(path: str, row: str, model: str = GPT, **changes: Any) -> Any:
    return lambda wire: wire.refused(path, model, row, **changes)


def served(path: str = CHAT, model: str = GPT, **changes: Any) -> Any:
    return lambda wire: wire.served(path, model, **changes)


def both(*steps: Any) -> Any:
    def run(wire: Wire) -> None:
        for step in steps:
            step(wire)

    return run


def poor(wire: Wire) -> None:
    wire.credits["poor"] = 0


def bad_key(kind: str, **plan: Any) -> list[Case]:
    row = "suspended_key" if kind == "suspended" else "invalid_key"
    wrong = "invalid_key" if kind == "suspended" else "bad_request"
    check = bad_keys_are_refused_for_free
    return [Case(check, kind, refused(CHAT, row, **plan), refused(CHAT, wrong, **plan))]


def bad_body(clause: str, word: str, row: str) -> Case:
    detail = {"tag": word}
    return Case(
        bad_input_is_refused_at_once,
        clause,
        refused(CHAT, row, detail=detail),
        refused(CHAT, "internal", detail=detail),
    )


def shut(step: Any) -> Any:
    """A flawed call while the model has no room: good calls before and behind it find none either."""
    full = refused(CHAT, "queue_full", account="b")
    return both(poor, full, step, full)


def violation(wire: Wire, row: str = "cli_only", **changes: Any) -> None:
    wire.refused(MESSAGES, MAX, row, **changes)


def leak(where: str) -> Any:
    return lambda wire: wire.note("secret_seen", where=where, key="a-active", call="c1")


CASES = [
    # AUTH
    Case(bearer_keys_are_accepted, "bearer", served(), refused(CHAT, "invalid_key")),
    Case(bearer_keys_are_accepted, "bearer", served("/api/ledger", ""), refused("/api/ledger", "not_found", "")),
    Case(
        bearer_keys_are_accepted,
        "disagreeing",
        refused(MESSAGES, "invalid_key", CLAUDE, detail=BOTH),
        served(MESSAGES, CLAUDE, detail=BOTH),
    ),
    Case(
        bearer_keys_are_accepted,
        "disagreeing",
        refused(MESSAGES, "invalid_key", CLAUDE, detail={"headers": {"X-Api-Key": "ck_nobody"}}),
        served(MESSAGES, CLAUDE, detail={"headers": {"X-Api-Key": "ck_nobody"}}),
    ),
    Case(
        bearer_keys_are_accepted,
        "empty_is_absent",
        served(MESSAGES, CLAUDE, detail={"headers": {"x-api-key": " "}}),
        refused(MESSAGES, "invalid_key", CLAUDE, detail={"headers": {"x-api-key": " "}}),
    ),
    Case(
        bearer_keys_are_accepted,
        "empty_is_absent",
        refused(CHAT, "invalid_key", detail={"auth": "none", "headers": {"authorization": "Bearer"}}),
        refused(CHAT, "internal", detail={"auth": "none", "headers": {"authorization": "Bearer"}}),
    ),
    Case(
        x_api_key_is_accepted_on_anthropic_paths,
        "x_api_key",
        served(COUNT, CLAUDE, detail=X_API_KEY),
        refused(COUNT, "invalid_key", CLAUDE, detail=X_API_KEY),
    ),
    Case(
        anthropic_api_key_is_accepted_on_managed_messages,
        "anthropic_api_key",
        served(MESSAGES, CLAUDE, detail={"auth": "anthropic-api-key"}),
        refused(MESSAGES, "invalid_key", CLAUDE, detail={"auth": "anthropic-api-key"}),
    ),
    *bad_key("missing", detail={"auth": "none"}),
    *bad_key("no_prefix", detail={**LITERAL, "tag": NO_PREFIX}),
    *bad_key("unknown", detail=LITERAL),
    *bad_key("expired", key="a-expired"),
    *bad_key("disabled", key="a-disabled"),
    *bad_key("suspended", key="a-suspended"),
    Case(
        bad_keys_are_refused_for_free,
        "no_upstream_call",
        refused(CHAT, "invalid_key", key="a-expired"),
        both(refused(CHAT, "invalid_key", key="a-expired"), lambda wire: wire.attempt("c1")),
    ),
    Case(
        bad_keys_are_refused_for_free,
        "no_charge",
        refused(CHAT, "invalid_key", key="a-expired"),
        both(refused(CHAT, "invalid_key", key="a-expired"), lambda wire: wire.entry("post", -1, call="c1")),
    ),
    Case(customer_keys_stay_inside, "not_upstream", served(), served(upstream={"credential": "digest-a-active"})),
    Case(customer_keys_stay_inside, "not_upstream", served(), both(served(), leak("upstream"))),
    Case(customer_keys_stay_inside, "own_credential", served(), served(upstream={"credential": "another"})),
    Case(
        customer_keys_stay_inside,
        "not_in_errors",
        refused(CHAT, "invalid_key", key="a-expired"),
        both(refused(CHAT, "invalid_key", key="a-expired"), leak("answer")),
    ),
    Case(
        customer_keys_stay_inside,
        "not_in_log",
        lambda wire: wire.note("log", lines=1),
        both(leak("log"), lambda wire: wire.note("log", lines=1)),
    ),
    # HOST
    Case(
        paths_are_served_on_any_host,
        "host_blind",
        served(detail={"headers": {"Host": "hypereal.build"}}),
        refused(CHAT, "not_found", detail={"headers": {"Host": "hypereal.build"}}),
    ),
    Case(
        paths_are_served_on_any_host,
        "one_route",
        served("/v1/codex/responses", CODEX),
        refused("/v1/codex/responses", "not_found", CODEX),
    ),
    Case(
        paths_are_served_on_any_host,
        "root_serves_enterprise",
        served("/v1/messages", CLAUDE),
        refused("/v1/messages", "unknown_model", CLAUDE),
    ),
    Case(
        paths_are_served_on_any_host,
        "enterprise_id_refused",
        refused("/api/v1/messages", "unknown_model", CLAUDE),
        served("/api/v1/messages", CLAUDE),
    ),
    Case(
        paths_are_served_on_any_host,
        "doubled_prefix",
        served("/api/v1/v1/messages", GENERAL_CLAUDE),
        refused("/api/v1/v1/messages", "not_found", GENERAL_CLAUDE),
    ),
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
        both(refused(CHAT, "bad_request", detail={"tag": NOT_JSON}), served()),
        both(refused(CHAT, "bad_request", detail={"tag": NOT_JSON}), lambda wire: wire.call(status=None)),
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
        both(poor, refused(CHAT, "bad_request", account="poor", detail={"tag": NOT_JSON})),
        both(poor, refused(CHAT, "insufficient_balance", account="poor", detail={"tag": NOT_JSON})),
    ),
    Case(
        errors_have_one_precedence,
        "cli_only_before_balance",
        both(poor, refused(MESSAGES, "cli_only", MAX, account="poor")),
        both(poor, refused(MESSAGES, "insufficient_balance", MAX, account="poor")),
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
    # MSG-07
    Case(
        max_models_are_for_the_official_cli,
        "headless",
        served(MESSAGES, MAX, detail=CLI),
        refused(MESSAGES, "cli_only", MAX, detail=CLI),
    ),
    Case(
        max_models_are_for_the_official_cli,
        "interactive",
        served(MESSAGES, MAX, detail=TTY),
        refused(MESSAGES, "cli_only", MAX, detail=TTY),
    ),
    Case(max_models_are_for_the_official_cli, "other_client", violation, served(MESSAGES, MAX)),
    Case(
        max_models_are_for_the_official_cli,
        "other_path",
        refused(CHAT, "cli_only", MAX, detail=CLI),
        served(CHAT, MAX, detail=CLI),
    ),
    Case(
        max_models_are_for_the_official_cli,
        "no_upstream_call",
        violation,
        both(violation, lambda wire: wire.attempt("c1")),
    ),
    Case(
        max_models_are_for_the_official_cli,
        "suspended",
        both(violation, refused(MESSAGES, "suspended_key", CLAUDE)),
        both(violation, served(MESSAGES, CLAUDE)),
    ),
    Case(
        max_models_are_for_the_official_cli,
        "no_refund",
        both(violation, lambda wire: wire.entry("refund", 5, account="b", at=9)),
        both(violation, lambda wire: wire.entry("refund", 5, at=9)),
    ),
    Case(
        max_models_are_for_the_official_cli,
        "earlier_400_stands",
        both(refused(MESSAGES, "bad_request", MAX, detail={"tag": NOT_JSON}), served(MESSAGES, CLAUDE)),
        both(
            refused(MESSAGES, "bad_request", MAX, detail={"tag": NOT_JSON}), refused(MESSAGES, "suspended_key", CLAUDE)
        ),
    ),
    Case(
        max_models_are_for_the_official_cli,
        "not_a_max_model",
        served(CHAT, "qwen3-7-max"),
        refused(CHAT, "cli_only", "qwen3-7-max"),
    ),
    Case(
        max_models_are_for_the_official_cli,
        "others_open",
        both(violation, served(MESSAGES, CLAUDE, account="b")),
        both(violation, refused(MESSAGES, "suspended_key", CLAUDE, account="b")),
    ),
]
CHECKS: list[Checker] = list(dict.fromkeys(case.check for case in CASES))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_kept_clause_passes_and_a_broken_one_fails(case: Case) -> None:
    good, bad = Wire(), Wire()
    case.good(good)
    case.bad(bad)
    assert good.outcome(case.check, case.clause) is PASS
    assert bad.outcome(case.check, case.clause) is FAIL


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: str(check.name))
def test_every_clause_of_a_checker_is_tried(check: Checker) -> None:
    assert {case.clause for case in CASES if case.check is check} == set(check.clauses)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: str(check.name))
def test_an_empty_history_has_no_case_of_anything(check: Checker) -> None:
    assert check(Wire().history(), Wire().contract).clauses == {}


@pytest.mark.parametrize(
    ("check", "run", "judged"),
    [
        (bearer_keys_are_accepted, served(), {"bearer"}),
        (bearer_keys_are_accepted, served(MESSAGES, CLAUDE, detail=X_API_KEY), set()),
        (bearer_keys_are_accepted, served("/v1/nothing"), set()),
        (bearer_keys_are_accepted, refused(CHAT, "cli_only", MAX), set()),
        (x_api_key_is_accepted_on_anthropic_paths, served(MESSAGES, CLAUDE), set()),
        (x_api_key_is_accepted_on_anthropic_paths, served(CHAT, detail=X_API_KEY), set()),
        (anthropic_api_key_is_accepted_on_managed_messages, served(MESSAGES, CLAUDE), set()),
        (anthropic_api_key_is_accepted_on_managed_messages, served(COUNT, CLAUDE, detail=ANTHROPIC_KEY), set()),
        (bad_keys_are_refused_for_free, served(), set()),
        (bad_keys_are_refused_for_free, refused(MESSAGES, "invalid_key", CLAUDE, detail=BOTH), set()),
        (customer_keys_stay_inside, served(), {"not_upstream", "own_credential"}),
        (customer_keys_stay_inside, lambda wire: wire.note("log", lines=0), set()),
        (paths_are_served_on_any_host, served(), set()),
        (paths_are_served_on_any_host, served(GENERAL_CHAT, GENERAL), {"one_route"}),
        (paths_are_served_on_any_host, served("/v1/messages", GENERAL_CLAUDE), {"one_route"}),
        (paths_are_served_on_any_host, refused("/api/v1/messages", "unknown_model", "no-such"), {"one_route"}),
        (paths_are_served_on_any_host, refused(MESSAGES, "unknown_model", GENERAL_CLAUDE), set()),
        (every_error_has_the_documents_shape, served(), set()),
        (every_error_has_the_documents_shape, refused(CHAT, "bad_request"), {"error_object"}),
        (every_error_has_the_documents_shape, refused(CHAT, "bad_request", detail={"method": "HEAD"}), set()),
        (a_body_without_model_is_refused, refused(CHAT, "unknown_model", "no-such"), set()),
        (a_body_without_model_is_refused, refused(CHAT, "invalid_key", "", key="a-expired"), set()),
        (an_unknown_model_is_told_what_there_is, refused(CHAT, "unknown_model", GENERAL), set()),
        (a_model_on_the_wrong_endpoint_is_told_the_right_one, served(CHAT, GPT), set()),
        (a_model_on_the_wrong_endpoint_is_told_the_right_one, served(GENERAL_CHAT, GENERAL), set()),
        (a_model_on_the_wrong_endpoint_is_told_the_right_one, refused(CHAT, "wrong_endpoint", "gpt-image-2"), set()),
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
            both(poor, refused(CHAT, "insufficient_balance", account="poor")),
            {"known_types"},
        ),
        (errors_have_one_precedence, refused(MESSAGES, "cli_only", MAX), {"known_types"}),
        (errors_have_one_precedence, shut(served()), {"known_types"}),
        (max_models_are_for_the_official_cli, served(CHAT), {"others_open"}),
        (max_models_are_for_the_official_cli, served(MESSAGES, CLAUDE, detail=CLI), set()),
        (max_models_are_for_the_official_cli, served(MESSAGES, MAX, detail=CLI), {"headless"}),
        (max_models_are_for_the_official_cli, refused(MESSAGES, "invalid_key", MAX, key="a-expired"), set()),
        (max_models_are_for_the_official_cli, served(LIST, ""), set()),
    ],
)
def test_a_run_is_judged_by_what_it_bears_on_alone(check: Checker, run: Any, judged: set[str]) -> None:
    wire = Wire()
    run(wire)
    assert set(check(wire.history(), wire.contract).clauses) == judged


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
    violation(wire, sent=0, end=500)
    wire.call(MESSAGES, CLAUDE, sent=400, end=900)
    wire.call(MESSAGES, CLAUDE, sent=501, end=900)
    wire.call(MESSAGES, CLAUDE, sent=501, end=900, account="b")
    assert flaws(wire) == [("cli_only",), None, ("suspended_key",), ()]


def test_a_good_call_that_an_upstream_failed_proves_nothing_about_its_path() -> None:
    wire = Wire()
    wire.refused("/v1/codex/responses", CODEX, "upstream_error")
    wire.attempt("c1", status=503, reading=Reading(error_type="server_error"))
    assert wire.outcome(paths_are_served_on_any_host, "one_route") is UNTOLD


@pytest.mark.parametrize("ended", ["fault", "left", "open"])
def test_a_good_call_that_no_upstream_served_whole_proves_nothing_about_its_path(ended: str) -> None:
    wire = Wire()
    wire.call("/v1/codex/responses", CODEX, outcome="cut")
    wire.attempt("c1", ended=ended)
    assert wire.outcome(paths_are_served_on_any_host, "one_route") is UNTOLD


def test_a_good_call_that_an_upstream_served_whole_must_be_answered() -> None:
    wire = Wire()
    wire.refused("/v1/codex/responses", CODEX, "internal")
    wire.attempt("c1")
    assert wire.outcome(paths_are_served_on_any_host, "one_route") is FAIL


@pytest.mark.parametrize("row", ["insufficient_balance", "rate_limited", "circuits_open"])
def test_a_good_call_that_admission_refused_proves_nothing_about_its_path(row: str) -> None:
    wire = Wire()
    wire.refused("/v1/codex/responses", CODEX, row)
    assert wire.outcome(paths_are_served_on_any_host, "one_route") is UNTOLD


def test_evidence_tells_what_the_caller_got() -> None:
    wire = Wire()
    wire.call(CHAT, key="a-expired", status=None)
    wire.refused(CHAT, GPT, "bad_request", key="a-expired")
    wire.call(CHAT, key="a-expired")
    verdict = bad_keys_are_refused_for_free(wire.history(), wire.contract)
    found = [piece.actual for piece in verdict.evidence if piece.clause == "expired"]
    assert found == ["no answer (cut)", "400 invalid_request_error", "200 (ok)"]
    assert {piece.expected for piece in verdict.evidence} == {"401 authentication_error"}


def test_a_good_call_of_a_killed_gateway_proves_nothing_about_its_path() -> None:
    wire = Wire()
    wire.call("/v1/codex/responses", CODEX, status=None)
    wire.note("crash", after_appends=None)
    assert wire.outcome(paths_are_served_on_any_host, "one_route") is UNTOLD


def test_without_a_journal_nothing_is_said_of_upstream_calls() -> None:
    wire = Wire(taps=())
    wire.refused(CHAT, GPT, "invalid_key", key="a-expired")
    assert wire.outcome(bad_keys_are_refused_for_free, "no_upstream_call") is None
    assert wire.outcome(bad_keys_are_refused_for_free, "no_charge") is None


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
