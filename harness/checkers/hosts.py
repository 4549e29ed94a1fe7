"""Checkers of where things are served: on any host, under both prefixes, with the documents' exceptions."""

from __future__ import annotations

from harness.checker import Verdict, checker
from harness.checkers.flaws import answers, due, flaws_of_all, served_case, told, wanted
from harness.checkers.wire import Seen
from harness.contract import Contract, ErrorRow
from harness.history import History


@checker("HOST-01", "host_blind", "one_route", "root_serves_enterprise", "enterprise_id_refused", "doubled_prefix")
def paths_are_served_on_any_host(history: History, contract: Contract, verdict: Verdict) -> None:
    """Any host serves all; /v1/X is /api/v1/X for general X; the root alone serves Enterprise ids beside them."""
    for one, rows in flaws_of_all(history, contract):
        if one.route is None or rows is None:
            continue
        path = one.plan.path.partition("?")[0]
        if "host" in one.headers:
            _as_due("host_blind", one, rows, verdict)
        if path.startswith("/api/v1/v1/"):
            _as_due("doubled_prefix", one, rows, verdict)
        elif one.tier == "general":
            _as_due("one_route", one, rows, verdict)
        if one.route.tier == "root" and one.tier == "enterprise":
            _as_due("root_serves_enterprise", one, rows, verdict)
        refused = [row for row in due(rows) if row.name in ("unknown_model", "wrong_endpoint")] if rows else []
        if (
            path.startswith("/api/v1/")
            and refused
            and contract.model("enterprise", one.plan.model)
            and one.model is None
        ):
            first = due(rows)
            ok = answers(one, first)
            verdict.case("enterprise_id_refused", ok, call=one.call, expected=wanted(first), actual=told(one.call))


def _as_due(clause: str, one: Seen, rows: tuple[ErrorRow, ...], verdict: Verdict) -> None:
    if rows:
        first = due(rows)
        verdict.case(clause, answers(one, first), call=one.call, expected=wanted(first), actual=told(one.call))
    else:
        served_case(clause, one, rows, verdict)
