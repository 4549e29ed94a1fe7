"""What is wrong with a planned call, told from its plan and the effective contract alone; it looks at no answer.

A plan holds no credentials (only that one is nobody's, a literal), and what is wrong with a body is not read from it: a
scenario says in the call's tag what those would show, in the words below. The contract's rows say what a flaw is
answered with, and in which order.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

from harness.checker import Verdict
from harness.checkers.wire import BODILESS, CHARGED_SURFACES, CREDENTIAL_HEADERS, ROUTES, Seen, images_asked, seen
from harness.contract import Contract, ErrorRow
from harness.history import CallSpan, History

NO_PREFIX = "key_without_prefix"
NOT_JSON = "not_json"
WRONG_CONTENT_TYPE = "wrong_content_type"
WRONG_FIELD_TYPE = "wrong_field_type"
TOO_LARGE = "too_large"
BAD_UTF8 = "bad_utf8"
TOO_DEEP = "too_deep"
OFFICIAL_CLI = "official_cli"
"""Not a flaw: the call carries everything that tells the official command line client from any other."""

BAD_BODIES: Mapping[str, str] = {
    NOT_JSON: "bad_request",
    WRONG_CONTENT_TYPE: "unsupported_media",
    WRONG_FIELD_TYPE: "bad_request",
    TOO_LARGE: "too_large",
    BAD_UTF8: "bad_request",
    TOO_DEEP: "bad_request",
}
"""The words for a bad body, and the error row each one is answered with."""

_LITERAL = "?"
_FORM_HEADER = {"bearer": "authorization"}


def flaws_of_all(history: History, contract: Contract) -> list[tuple[Seen, tuple[ErrorRow, ...] | None]]:
    """Return every call with its flaws, worst first; None for a call whose flaws the plan cannot tell."""
    calls = list(seen(history, contract))
    states, opening = _keys(history), {str(a["id"]): int(a["credits"]) for a in history.plan.accounts}
    names = {one.plan.id: _names(one, contract, states, opening) for one in calls}
    suspended = _suspensions(calls, names)
    found: list[tuple[Seen, tuple[ErrorRow, ...] | None]] = []
    for one in calls:
        mine = names[one.plan.id]
        since = suspended.get(one.plan.key)
        if mine is not None and since is not None and since.id != one.call.id and one.call.end > since.sent:
            mine = None if one.call.sent <= since.end else {*mine, "suspended_key"}
        found.append((one, None if mine is None else _rows(mine, contract)))
    return found


def credentials(one: Seen) -> list[tuple[str, str]]:
    """Return header and key id of each credential that counts on the path; ``?`` for one that is nobody's."""
    return [(header, key) for header, key in _all_credentials(one) if _counts(one, header)]


def _all_credentials(one: Seen) -> list[tuple[str, str]]:
    given = one.headers
    forms = [_FORM_HEADER.get(form, form) for form in one.auth]
    made_up = one.plan.detail.get("literal_secret") or one.plan.detail.get("bare_key")
    own = _LITERAL if made_up else one.plan.key
    found = [(form, own) for form in forms if form not in given]
    other = str(one.plan.detail.get("other_key", ""))
    if other and len(found) > 1:
        found[-1] = (found[-1][0], other)
    texts = ((name, given.get(name, "")) for name in CREDENTIAL_HEADERS)
    return [*found, *((name, _LITERAL) for name, text in texts if text.strip().removeprefix("Bearer").strip())]


def _counts(one: Seen, header: str) -> bool:
    """Say whether the documents promise that a key is accepted in ``header`` on the call's path."""
    if header == "anthropic-api-key":
        return one.route == ROUTES["/v1/managed/messages"]
    return header == "authorization" or (one.route is not None and one.route.anthropic)


def due(rows: tuple[ErrorRow, ...]) -> tuple[ErrorRow, ...]:
    """Return the rows that win: all of the first one's precedence."""
    return tuple(row for row in rows if row.precedence == rows[0].precedence)


def answers(one: Seen, rows: tuple[ErrorRow, ...]) -> bool | None:
    """Say whether the caller was answered with one of ``rows``, status and type.

    None if it did not wait for the whole answer, or the gateway or its store was broken meanwhile.
    """
    call = one.call
    if any(call.status == row.status and call.reading.error_type == row.type for row in rows):
        return True
    return None if one.interrupted or call.outcome in ("aborted", "open") else False


def as_planned(one: Seen, rows: tuple[ErrorRow, ...]) -> bool | None:
    """Say whether a call got what its plan deserves: a whole answer, or the error of its first flaw.

    None if something else may lawfully have kept it from that: an upstream's failure, admission, the client itself.
    """
    if rows:
        return answers(one, due(rows))
    if one.served:
        return True
    disturbed = any(attempt.ended != "served" or attempt.status != 200 for attempt in one.attempts)
    if (
        disturbed
        or one.interrupted
        or one.call.outcome in ("aborted", "open")
        or one.call.status in (402, 429, 502, 503, 504)
        or (one.plan.stream and one.call.status == 200 and one.call.outcome == "error")
    ):
        return None
    return False


def served_case(clause: str, one: Seen, rows: tuple[ErrorRow, ...], verdict: Verdict) -> bool:
    """Judge that a call without a flaw got its whole answer; return whether it did."""
    ok = as_planned(one, rows)
    verdict.case(clause, ok, call=one.call, expected=f"an answer on {one.plan.path}", actual=told(one.call))
    return ok is True


def told(call: CallSpan) -> str:
    """Return what the caller was answered with, in a few words."""
    if call.status is None:
        return f"no answer ({call.outcome})"
    kind = call.reading.error_type
    return f"{call.status} {kind}" if kind else f"{call.status} ({call.outcome})"


def wanted(rows: tuple[ErrorRow, ...]) -> str:
    """Return ``rows`` in a few words."""
    return " or ".join(dict.fromkeys(f"{row.status} {row.type}" for row in rows))


def _rows(names: set[str], contract: Contract) -> tuple[ErrorRow, ...]:
    return tuple(sorted((row for row in contract.errors if row.name in names), key=lambda row: row.precedence))


def _keys(history: History) -> dict[str, str]:
    return {str(key["id"]): str(key["state"]) for account in history.plan.accounts for key in account["keys"]}


def _names(one: Seen, contract: Contract, states: Mapping[str, str], opening: Mapping[str, int]) -> set[str] | None:
    if one.route is None or _asks_too_much(one, contract):
        return None
    credential = _of_credentials(one, states)
    if credential is None:
        return None
    found = {credential}
    bodiless = one.route.surface in BODILESS
    if one.plan.detail.get("method", "POST") not in (("GET", "HEAD") if bodiless else ("POST",)):
        found.add("method_not_allowed")
    if not bodiless:
        found |= {BAD_BODIES[word] for word in one.words & BAD_BODIES.keys()}
        found |= _of_model(one, contract)
        if one.model is not None and one.model.cli_only and not _in_cli(one):
            if one.route.surface == "count_tokens":
                return None
            found.add("cli_only")
    if one.route.surface in CHARGED_SURFACES and _is_poor(one, contract, opening):
        found.add("insufficient_balance")
    return found - {""}


def _asks_too_much(one: Seen, contract: Contract) -> bool:
    """Say whether the call asks for more images than any window takes: no document says how it is refused."""
    most = contract.limits(one.model).images if one.tier == "enterprise" and one.model is not None else None
    return most is not None and (images_asked(one) or 0) > most


def _of_credentials(one: Seen, states: Mapping[str, str]) -> str | None:
    """Return the flaw of the call's credentials, "" for none; None where one stands in a header without a promise."""
    offered = credentials(one)
    if len(_all_credentials(one)) > len(offered):
        return None
    keys = {key for _, key in offered}
    if len(keys) != 1 or _LITERAL in keys:
        return "invalid_key"
    state = states.get(keys.pop(), "active")
    return {"active": "", "suspended": "suspended_key"}.get(state, "invalid_key")


def _of_model(one: Seen, contract: Contract) -> set[str]:
    assert one.route is not None
    if not one.plan.model:
        return {"missing_model"}
    if one.model is None:
        elsewhere = contract.model("enterprise", one.plan.model) or contract.model("general", one.plan.model)
        # An id of the other tier is unknown here, and a path that serves it exists: both answers are true.
        return {"unknown_model", "wrong_endpoint"} if elsewhere else {"unknown_model"}
    surface = "messages" if one.route.surface == "count_tokens" else one.route.surface
    return set() if surface in one.model.surfaces else {"wrong_endpoint"}


def _in_cli(one: Seen) -> bool:
    return OFFICIAL_CLI in one.words and one.route is not None and one.route.anthropic


def _is_poor(one: Seen, contract: Contract, opening: Mapping[str, int]) -> bool:
    """Say whether the account can surely not pay: an opening balance that no call can have raised.

    On Enterprise paths a balance below the minimum may still cover a call's hold; nothing covers none.
    """
    least = contract.money.general_minimum_credits if one.tier == "general" else 1
    return opening.get(one.plan.account, least) < least


def _suspensions(calls: list[Seen], names: Mapping[str, set[str] | None]) -> dict[str, CallSpan]:
    """Return, per key, the first call that must have had it suspended."""
    found: dict[str, CallSpan] = {}
    earlier = {"invalid_key", "suspended_key", "method_not_allowed", "missing_model", "unknown_model", "wrong_endpoint"}
    for one in calls:
        mine = names[one.plan.id]
        if mine and "cli_only" in mine and not mine & (earlier | set(BAD_BODIES.values())):
            known = found.get(one.plan.key)
            if known is None or one.call.end < known.end:
                found[one.plan.key] = one.call
    return found


def is_max_model(contract: Contract, model_id: str) -> bool:
    """Say whether the contract's pattern of CLI-only ids takes ``model_id`` in."""
    return fnmatchcase(model_id, contract.cli_only.pattern)


def reaches_nobody(one: Seen, verdict: Verdict) -> None:
    """Judge that no upstream saw the call."""
    verdict.case(
        "no_upstream_call",
        not one.attempts,
        call=one.call,
        attempts=one.attempts,
        expected="no upstream call",
        actual=f"{len(one.attempts)} upstream calls",
    )
