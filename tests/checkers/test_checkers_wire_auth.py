"""The checkers of credentials, places and CLI-only models: each clause seen to hold and seen to be broken."""

from __future__ import annotations

from typing import Any

import pytest

from harness.checkers.auth import (
    anthropic_api_key_is_accepted_on_managed_messages,
    bad_keys_are_refused_for_free,
    bearer_keys_are_accepted,
    customer_keys_stay_inside,
    x_api_key_is_accepted_on_anthropic_paths,
)
from harness.checkers.cli_only import max_models_are_for_the_official_cli
from harness.checkers.flaws import (
    NO_PREFIX,
    NOT_JSON,
)
from harness.checkers.hosts import paths_are_served_on_any_host
from harness.history import Reading
from tests.checkers.wire_histories import (
    CHAT,
    CLAUDE,
    CODEX,
    GENERAL,
    GENERAL_CHAT,
    GENERAL_CLAUDE,
    GPT,
    MAX,
    MESSAGES,
    Case,
    Judgements,
    Wire,
)
from tests.checkers.wire_steps import (
    BOTH,
    CLI,
    COUNT,
    FAIL,
    LIST,
    TTY,
    UNTOLD,
    X_API_KEY,
    Step,
    in_turn,
    refused,
    served,
)

ANTHROPIC_KEY = {"auth": "anthropic-api-key"}
LITERAL = {"literal_secret": True}


def bad_key(kind: str, **plan: Any) -> list[Case]:
    row = "suspended_key" if kind == "suspended" else "invalid_key"
    wrong = "invalid_key" if kind == "suspended" else "bad_request"
    check = bad_keys_are_refused_for_free
    return [Case(check, kind, refused(CHAT, row, **plan), refused(CHAT, wrong, **plan))]


def violation(wire: Wire, row: str = "cli_only", **changes: Any) -> None:
    wire.refused(MESSAGES, MAX, row, **changes)


def leak(where: str) -> Step:
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
    *bad_key("no_prefix", detail={"bare_key": True, "tag": NO_PREFIX}),
    *bad_key("unknown", detail=LITERAL),
    *bad_key("expired", key="a-expired"),
    *bad_key("disabled", key="a-disabled"),
    *bad_key("suspended", key="a-suspended"),
    Case(
        bad_keys_are_refused_for_free,
        "no_upstream_call",
        refused(CHAT, "invalid_key", key="a-expired"),
        in_turn(refused(CHAT, "invalid_key", key="a-expired"), lambda wire: wire.attempt("c1")),
    ),
    Case(
        bad_keys_are_refused_for_free,
        "no_charge",
        refused(CHAT, "invalid_key", key="a-expired"),
        in_turn(refused(CHAT, "invalid_key", key="a-expired"), lambda wire: wire.entry("post", -1, call="c1")),
    ),
    Case(customer_keys_stay_inside, "not_upstream", served(), served(upstream={"credential": "digest-a-active"})),
    Case(
        customer_keys_stay_inside,
        "not_upstream",
        served(upstream={"headers": {"x-api-key": "digest-b"}}),
        served(upstream={"headers": {"x-api-key": "digest-b, digest-a-active"}}),
    ),
    Case(customer_keys_stay_inside, "not_upstream", served(), in_turn(served(), leak("upstream"))),
    Case(customer_keys_stay_inside, "own_credential", served(), served(upstream={"credential": "another"})),
    Case(
        customer_keys_stay_inside,
        "not_in_errors",
        refused(CHAT, "invalid_key", key="a-expired"),
        in_turn(refused(CHAT, "invalid_key", key="a-expired"), leak("answer")),
    ),
    Case(
        customer_keys_stay_inside,
        "not_in_log",
        lambda wire: wire.note("log", lines=1),
        in_turn(leak("log"), lambda wire: wire.note("log", lines=1)),
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
        in_turn(violation, lambda wire: wire.attempt("c1")),
    ),
    Case(
        max_models_are_for_the_official_cli,
        "suspended",
        in_turn(violation, refused(MESSAGES, "suspended_key", CLAUDE)),
        in_turn(violation, served(MESSAGES, CLAUDE)),
    ),
    Case(
        max_models_are_for_the_official_cli,
        "no_refund",
        in_turn(violation, lambda wire: wire.entry("refund", 5, account="b", at=9)),
        in_turn(violation, lambda wire: wire.entry("refund", 5, at=9)),
    ),
    Case(
        max_models_are_for_the_official_cli,
        "earlier_400_stands",
        in_turn(refused(MESSAGES, "bad_request", MAX, detail={"tag": NOT_JSON}), served(MESSAGES, CLAUDE)),
        in_turn(
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
        in_turn(violation, served(MESSAGES, CLAUDE, account="b")),
        in_turn(violation, refused(MESSAGES, "suspended_key", CLAUDE, account="b")),
    ),
]
JUDGED: Judgements = [
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
    (max_models_are_for_the_official_cli, served(CHAT), {"others_open"}),
    (max_models_are_for_the_official_cli, served(MESSAGES, CLAUDE, detail=CLI), set()),
    (max_models_are_for_the_official_cli, served(MESSAGES, MAX, detail=CLI), {"headless"}),
    (max_models_are_for_the_official_cli, refused(MESSAGES, "invalid_key", MAX, key="a-expired"), set()),
    (max_models_are_for_the_official_cli, served(LIST, ""), set()),
]


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


def test_a_good_call_of_a_killed_gateway_proves_nothing_about_its_path() -> None:
    wire = Wire()
    wire.call("/v1/codex/responses", CODEX, status=None)
    wire.note("crash", after_appends=None)
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


def test_without_a_journal_nothing_is_said_of_upstream_calls() -> None:
    wire = Wire(taps=())
    wire.refused(CHAT, GPT, "invalid_key", key="a-expired")
    assert wire.outcome(bad_keys_are_refused_for_free, "no_upstream_call") is None
    assert wire.outcome(bad_keys_are_refused_for_free, "no_charge") is None
