"""Checkers of refusals: the shape of every error body, what each flaw is answered with, and which flaw wins."""

from __future__ import annotations

from harness.checker import Verdict, checker
from harness.checkers.flaws import (
    BAD_BODIES,
    BAD_UTF8,
    NOT_JSON,
    TOO_DEEP,
    TOO_LARGE,
    WRONG_CONTENT_TYPE,
    WRONG_FIELD_TYPE,
    answers,
    as_planned,
    due,
    flaws_of_all,
    told,
    wanted,
)
from harness.checkers.wire import ROUTES, Route, Seen, answer_body, parsed, seen
from harness.contract import Contract, ErrorRow, Model
from harness.history import CallSpan, History


@checker("ERR-01", "error_object", "anthropic_type")
def every_error_has_the_documents_shape(history: History, contract: Contract, verdict: Verdict) -> None:
    """Every error is JSON {error: {type, message}}, on Anthropic paths with a top-level type: error as well."""
    for one in seen(history, contract):
        call, in_stream = one.call, one.call.status == 200
        if call.outcome not in ("refused", "error") or one.plan.detail.get("method") == "HEAD":
            continue
        ok = bool(call.reading.error_type and call.reading.error_message)
        body = None if in_stream else parsed(answer_body(history, call))
        if body is not None:
            error = body.get("error") if isinstance(body, dict) else None
            ok = ok and isinstance(error, dict) and all(isinstance(error.get(n), str) for n in ("type", "message"))
        shape = "JSON {error: {type, message}}"
        verdict.case("error_object", ok, call=call, expected=shape, actual=lambda c=call: _error_of(c))
        if one.route is not None and one.route.anthropic:
            ok = call.claims.get("envelope") == "error"
            actual = f"top-level type {call.claims.get('envelope')!r}"
            verdict.case("anthropic_type", ok, call=call, expected="top-level type: error", actual=actual)


def _error_of(call: CallSpan) -> str:
    return f"{told(call)}: type {call.reading.error_type!r}, message {call.reading.error_message!r}; {call.detail}"


@checker("ERR-02", "missing_model")
def a_body_without_model_is_refused(history: History, contract: Contract, verdict: Verdict) -> None:
    """A body without model gets 400 on every endpoint that takes its model from the body."""
    for one, rows in flaws_of_all(history, contract):
        if rows and any(row.name == "missing_model" for row in due(rows)):
            _due("missing_model", one, rows, verdict)


@checker("ERR-03", "unknown_model", "available_models")
def an_unknown_model_is_told_what_there_is(history: History, contract: Contract, verdict: Verdict) -> None:
    """An unknown model id gets 400, and its error object lists the ids that the surface serves."""
    for one, rows in flaws_of_all(history, contract):
        if not rows or [row.name for row in due(rows)] != ["unknown_model"]:
            continue
        _due("unknown_model", one, rows, verdict)
        if not answers(one, due(rows)):
            continue
        assert one.route is not None
        served = {model.id for model in _served_on(one.route, contract)}
        named = one.call.claims.get("available_models")
        listed = {str(id_) for id_ in named} if isinstance(named, list | tuple) else set()
        aliases = set(contract.aliases)
        verdict.case(
            "available_models",
            listed - aliases == served,
            call=one.call,
            expected=f"available_models with the {len(served)} ids of {one.plan.path}",
            actual=f"missing {sorted(served - listed)}, too many {sorted(listed - served - aliases)}",
        )


def _served_on(route: Route, contract: Contract) -> list[Model]:
    """Return the models that a key may use on a path: CLI-only ones on Anthropic's paths alone."""
    surface = "messages" if route.surface == "count_tokens" else route.surface
    tiers = ("enterprise", "general") if route.tier == "root" else (route.tier,)
    models = (model for model in contract.models if model.tier in tiers and surface in model.surfaces)
    return [model for model in models if route.anthropic or not model.cli_only]


@checker(
    "ERR-04",
    "claude_on_chat",
    "claude_on_responses",
    "other_on_messages",
    "image_path",
    "names_path",
    "managed_serves_claude",
)
def a_model_on_the_wrong_endpoint_is_told_the_right_one(history: History, contract: Contract, verdict: Verdict) -> None:
    """A model on an endpoint that does not serve its format gets 400 naming the right path; managed serves Claude."""
    for one, rows in flaws_of_all(history, contract):
        if one.route is None or rows is None:
            continue
        known = one.model or contract.model("enterprise", one.plan.model) or contract.model("general", one.plan.model)
        clause = _wrong_endpoint_clause(one.route, known)
        if clause and rows and any(row.name == "wrong_endpoint" for row in due(rows)):
            _due(clause, one, rows, verdict)
            if one.model is not None:
                _names_the_path(one, one.model, contract, verdict)
        elif not rows and one.model is not None and one.model.family == "claude" and _is_managed_openai(one.route):
            ok = as_planned(one, rows)
            verdict.case("managed_serves_claude", ok, call=one.call, expected="an answer", actual=told(one.call))


def _is_managed_openai(route: Route) -> bool:
    return route.tier == "enterprise" and route.surface in ("chat", "responses")


def _wrong_endpoint_clause(route: Route, model: Model | None) -> str:
    if model is None:
        return ""
    if model.media == "image":
        return "image_path"
    if model.family == "claude":
        return f"claude_on_{route.surface}" if route.tier == "general" and not route.anthropic else ""
    return "other_on_messages" if route.anthropic else ""


def _names_the_path(one: Seen, model: Model, contract: Contract, verdict: Verdict) -> None:
    right = [
        path
        for path, route in ROUTES.items()
        if route.surface in model.surfaces and model in _served_on(route, contract)
    ]
    message = one.call.reading.error_message or ""
    if right:
        ok = any(path in message for path in right)
        verdict.case("names_path", ok, call=one.call, expected=f"a message with one of {right}", actual=repr(message))


_CLAUSE_OF = {
    NOT_JSON: "not_json",
    WRONG_CONTENT_TYPE: "content_type",
    WRONG_FIELD_TYPE: "field_types",
    TOO_LARGE: "too_large",
    BAD_UTF8: "bad_utf8",
    TOO_DEEP: "nesting",
}


@checker("ERR-05", *_CLAUSE_OF.values(), "within_a_second", "never_5xx", "serves_next")
def bad_input_is_refused_at_once(history: History, contract: Contract, verdict: Verdict) -> None:
    """Bad input gets a 4xx error body within the contract's time, never a 5xx, and the next request is served."""
    calls = flaws_of_all(history, contract)
    good = sorted((one for one, rows in calls if rows == ()), key=lambda one: one.call.sent)
    for one, rows in calls:
        if not rows or not any(row.name in BAD_BODIES.values() for row in due(rows)):
            continue
        call = one.call
        clauses = [_CLAUSE_OF[word] for word in sorted(one.words & _CLAUSE_OF.keys())]
        for clause in clauses:
            _due(clause, one, rows, verdict)
        took_ms = (call.end - call.sent) / 1000
        bound_ms = contract.timeouts.bad_input_ms
        if call.status is not None:
            in_time = took_ms <= bound_ms
            verdict.case("within_a_second", in_time, call=call, expected=f"{bound_ms} ms", actual=f"{took_ms} ms")
        ok = call.status is not None and call.status < 500
        verdict.case("never_5xx", ok, call=call, expected="a 4xx", actual=told(call))
        following = next((other for other in good if other.call.sent >= call.end), None)
        if following is not None:
            ok_next = as_planned(following, ())
            after = f"{following.call.id} served after {call.id}"
            verdict.case("serves_next", ok_next, call=following.call, expected=after, actual=told(following.call))


_ORDER = (
    "credential_first",
    "suspended_second",
    "body_before_cli_only",
    "body_before_balance",
    "cli_only_before_balance",
    "balance_before_admission",
)


@checker("ERR-06", *_ORDER, "known_types")
def errors_have_one_precedence(history: History, contract: Contract, verdict: Verdict) -> None:
    """Of several flaws in one request the contract's first wins, and every error type is one of its table."""
    # A flat error event of the Responses API has room for a code alone: there it may be the row's name.
    types = {row.type for row in contract.errors}
    names = {row.name for row in contract.errors}
    calls = flaws_of_all(history, contract)
    full = _refused_at_admission(calls)
    for one, rows in calls:
        call = one.call
        if call.reading.error_type is not None:
            flat = call.surface == "responses" and call.status == 200
            ok = call.reading.error_type in (types | names if flat else types)
            verdict.case("known_types", ok, call=call, expected=sorted(types), actual=call.reading.error_type)
        if rows:
            for clause in _order_clauses(rows, call.id in full):
                _due(clause, one, rows, verdict)


def _order_clauses(rows: tuple[ErrorRow, ...], admission_full: bool) -> list[str]:
    """Return the clauses that a request with these flaws bears on: the first against the ones behind it."""
    first = due(rows)
    later = {row.name for row in rows[len(first) :]}
    name = first[0].name
    if name == "invalid_key":
        return ["credential_first"] if later or admission_full else []
    if name == "suspended_key":
        return ["suspended_second"] if later or admission_full else []
    if name == "cli_only":
        return ["cli_only_before_balance"] if "insufficient_balance" in later else []
    if name == "insufficient_balance":
        return ["balance_before_admission"] if admission_full else []
    behind = {"cli_only": "body_before_cli_only", "insufficient_balance": "body_before_balance"}
    return [behind[other] for other in sorted(later & behind.keys())]


def _refused_at_admission(calls: list[tuple[Seen, tuple[ErrorRow, ...] | None]]) -> set[str]:
    """Return the flawed calls whose model surely had no room: the good calls sent before and after found none."""
    found: set[str] = set()
    by_model: dict[tuple[str, str], list[tuple[Seen, bool]]] = {}
    for one, rows in sorted(calls, key=lambda pair: pair[0].call.sent):
        if one.model is not None:
            by_model.setdefault((one.tier, one.model.id), []).append((one, rows == ()))
    for group in by_model.values():
        for index, (one, good) in enumerate(group):
            before = next((other for other, fine in reversed(group[:index]) if fine), None)
            after = next((other for other, fine in group[index + 1 :] if fine), None)
            if not good and before is not None and after is not None and _no_room(before) and _no_room(after):
                found.add(one.call.id)
    return found


def _no_room(one: Seen) -> bool:
    return one.call.status in (429, 503) and not one.attempts


def _due(clause: str, one: Seen, rows: tuple[ErrorRow, ...], verdict: Verdict) -> None:
    first = due(rows)
    verdict.case(clause, answers(one, first), call=one.call, expected=wanted(first), actual=told(one.call))
