"""Checkers of credentials: which are accepted where, which are refused, and that none of them gets out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from harness.checker import Verdict, checker
from harness.checkers.flaws import (
    NO_PREFIX,
    answers,
    credentials,
    flaws_of_all,
    reaches_nobody,
    told,
    wanted,
)
from harness.checkers.wire import CREDENTIAL_HEADERS, Seen
from harness.contract import Contract, ErrorRow
from harness.history import AttemptSpan, History

_NOT_ACCEPTED = (401, 403, 404, 405)
_MANAGED_MESSAGES = "/v1/managed/messages"


@checker("AUTH-01", "bearer", "disagreeing", "empty_is_absent")
def bearer_keys_are_accepted(history: History, contract: Contract, verdict: Verdict) -> None:
    """A bearer key is accepted on every endpoint; two credentials that disagree are refused, an empty one is absent."""
    refusal = (contract.error("invalid_key"),)
    for one, rows in flaws_of_all(history, contract):
        if rows is None:
            continue
        offered = credentials(one)
        if len({key for _, key in offered}) > 1:
            ok = answers(one, refusal)
            verdict.case("disagreeing", ok, call=one.call, expected=wanted(refusal), actual=told(one.call))
        elif _has_empty(one) and not offered:
            ok = answers(one, refusal)
            verdict.case("empty_is_absent", ok, call=one.call, expected=wanted(refusal), actual=told(one.call))
        else:
            if _has_empty(one):
                _accepted("empty_is_absent", one, rows, verdict)
            if [header for header, _ in offered] == ["authorization"]:
                _accepted("bearer", one, rows, verdict)


@checker("AUTH-02", "x_api_key")
def x_api_key_is_accepted_on_anthropic_paths(history: History, contract: Contract, verdict: Verdict) -> None:
    """A key in x-api-key is accepted on every Anthropic-native path."""
    for one, rows in flaws_of_all(history, contract):
        alone = [header for header, _ in credentials(one)] == ["x-api-key"]
        if alone and one.route is not None and one.route.anthropic:
            _accepted("x_api_key", one, rows, verdict)


@checker("AUTH-03", "anthropic_api_key")
def anthropic_api_key_is_accepted_on_managed_messages(history: History, contract: Contract, verdict: Verdict) -> None:
    """A key in anthropic-api-key is accepted on /v1/managed/messages."""
    for one, rows in flaws_of_all(history, contract):
        alone = [header for header, _ in credentials(one)] == ["anthropic-api-key"]
        if alone and one.plan.path.partition("?")[0] == _MANAGED_MESSAGES:
            _accepted("anthropic_api_key", one, rows, verdict)


def _has_empty(one: Seen) -> bool:
    texts = (one.headers.get(name) for name in CREDENTIAL_HEADERS)
    return any(text is not None and not text.strip().removeprefix("Bearer").strip() for text in texts)


def _accepted(clause: str, one: Seen, rows: tuple[ErrorRow, ...] | None, verdict: Verdict) -> None:
    """Judge that a good key let the call in, whatever became of it then."""
    if rows is None or any(row.status in _NOT_ACCEPTED for row in rows):
        return
    ok = None if one.call.status is None else one.call.status not in _NOT_ACCEPTED
    verdict.case(clause, ok, call=one.call, expected=f"the key accepted on {one.plan.path}", actual=told(one.call))


_KINDS: dict[str, Callable[[Seen, str], bool]] = {
    "missing": lambda one, state: not credentials(one),
    "no_prefix": lambda one, state: NO_PREFIX in one.words,
    "unknown": lambda one, state: bool(one.plan.detail.get("literal_secret")),
    "expired": lambda one, state: state == "expired",
    "disabled": lambda one, state: state == "disabled",
    "suspended": lambda one, state: state == "suspended",
}


@checker("AUTH-05", *_KINDS, "no_upstream_call", "no_charge", books=("no_charge",))
def bad_keys_are_refused_for_free(history: History, contract: Contract, verdict: Verdict) -> None:
    """A missing, unknown, expired or inactive key gets 401, a suspended one 403: no upstream call, no charge."""
    states = {key["id"]: key["state"] for account in history.plan.accounts for key in account["keys"]}
    for one, rows in flaws_of_all(history, contract):
        offered = credentials(one)
        if rows is None or len(offered) > 1:
            continue
        state = states.get(offered[0][1], "") if offered else ""
        kind = next((kind for kind, holds in _KINDS.items() if holds(one, state)), None)
        if kind is None:
            continue
        row = (contract.error("suspended_key" if kind == "suspended" else "invalid_key"),)
        verdict.case(kind, answers(one, row), call=one.call, expected=wanted(row), actual=told(one.call))
        if history.has_tap("journal"):
            reaches_nobody(one, verdict)
        if history.has_tap("books"):
            posted = [entry for entry in history.entries_of(one.call.id) if entry.credits]
            verdict.case("no_charge", not posted, call=one.call, expected="no charge", actual=lambda p=posted: p)


@checker("AUTH-06", "not_upstream", "own_credential", "not_in_errors", "not_in_log")
def customer_keys_stay_inside(history: History, contract: Contract, verdict: Verdict) -> None:
    """The customer's key reaches no upstream, error body or log line; upstreams see the gateway's own credential."""
    leaks = [note for note in history.notes if note.kind == "secret_seen"]
    found = {where: [n.detail for n in leaks if n.detail["where"] == where] for where in ("upstream", "answer", "log")}
    customers = {key.get("digest"): key["id"] for account in history.plan.accounts for key in account["keys"]}
    own = {upstream["name"]: upstream["credential"] for upstream in history.plan.upstreams}
    for attempt in history.attempts:
        if not attempt.call and attempt.ended == "left":
            continue  # whoever called was gone before its request was whole
        leaked = next((customers[digest] for digest in _digests(attempt) if digest in customers), None)
        verdict.case(
            "not_upstream",
            leaked is None,
            call=attempt.call,
            attempts=(attempt,),
            expected="no customer's key",
            actual=f"the key {leaked} in a credential's header",
        )
        verdict.case(
            "own_credential",
            attempt.credential == own.get(attempt.upstream),
            call=attempt.call,
            attempts=(attempt,),
            expected=f"the gateway's own credential {own.get(attempt.upstream)}",
            actual=attempt.credential or "no credential",
        )
    for detail in found["upstream"]:
        _leak("not_upstream", detail, "a request to an upstream", verdict)
    leaky = {detail["call"]: detail for detail in found["answer"]}
    for call in history.calls:
        if call.id in leaky:
            _leak("not_in_errors", leaky[call.id], "an answer", verdict)
        elif call.outcome in ("refused", "error"):
            verdict.case("not_in_errors", True)
    for detail in found["log"]:
        _leak("not_in_log", detail, "the log", verdict)
    if not found["log"] and any(note.kind == "log" and note.detail["lines"] for note in history.notes):
        verdict.case("not_in_log", True)


def _digests(attempt: AttemptSpan) -> list[str]:
    """Return the digests of all credentials that came with ``attempt``: a journal has those in the headers' place."""
    texts = (attempt.headers.get(name, "") for name in CREDENTIAL_HEADERS)
    return [attempt.credential, *(digest for text in texts for digest in text.split(", "))]


def _leak(clause: str, detail: Mapping[str, str], where: str, verdict: Verdict) -> None:
    actual = f"the key {detail['key']} in {where}"
    verdict.case(clause, False, call=detail["call"], expected="no customer's key", actual=actual)
