"""What a client's own retries may cost, and whom: each clause on a history that keeps it, and on one that does not."""

from __future__ import annotations

from typing import Any

import pytest

from harness.checkers.turns import (
    retries_pay_for_their_own_success,
    turns,
    turns_leave_others_their_quota,
    turns_open_no_circuit_by_their_own_fault,
)
from harness.history import LedgerEntry
from tests.checkers.breaker_calls import RULES
from tests.checkers.traffic_histories import Traffic, contract_with, outcome, tell_apart, us


def of(turn: str, client: str = "sdk") -> dict[str, Any]:
    return {"turn": turn, "client": client}


class Turns(Traffic):
    """Traffic of a client that repeats its calls."""

    def failing(self, turn: str, tries: int, at: float = 0, status: int = 503, **options: Any) -> Turns:
        """Add a turn whose tries all fail at the primary with ``status``, 100 ms apart."""
        for n in range(tries):
            id_, sent = turn if n == 0 else f"{turn}.{n + 1}", at + n * 100
            type_ = "invalid_request_error" if status < 500 else "api_error"
            self.failed(
                id_, sent, sent + 10, status if status < 500 else 502, type_, detail=of(turn), headers={}, **options
            )
            self.attempt(id_, sent, sent + 10, status=status)
        return self

    def served_for(self, id_: str, at: float, credits: int, turn: str) -> Turns:
        """Add a served call of a turn that was charged so much."""
        self.served(id_, at, at + 10, detail=of(turn))
        self.post(id_, credits)
        return self

    def post(self, call: str, credits: int) -> None:
        number = len(self.ledger) + 1
        self.ledger.append(LedgerEntry(number, call, "a", "post", -credits, credits, 0, (), (), us(5_000)))


def test_a_turn_is_its_tries_in_their_order() -> None:
    traffic = Turns().failing("t", 3).served_for("t.4", 400, 1, "t")
    traffic.served("other", 50, 60)
    (turn,) = turns(traffic.history(), traffic.contract)
    assert (turn.id, turn.client) == ("t", "sdk")
    assert [one.call.id for one in turn.tries] == ["t", "t.2", "t.3", "t.4"]
    assert [one.call.id for one in turn.failures] == ["t", "t.2", "t.3"]
    assert len(turn.attempts) == 4
    assert (turn.sent, turn.end) == (0, us(410))


def due_of_one_call() -> int:
    """Return what a served call of these histories costs."""
    traffic = Turns().failing("t", 1)
    found = {
        credits
        for credits in range(10)
        if outcome(
            retries_pay_for_their_own_success,
            Turns().failing("t", 1).served_for("t.2", 100, credits, "t"),
            "retry_charged_once",
        )
        is outcome(retries_pay_for_their_own_success, traffic, "retry_charged_once")
    }
    (only,) = found
    return only


@pytest.mark.parametrize("lie", ["more", "failed", "twice"])
def test_a_retry_pays_for_its_own_success_alone(lie: str) -> None:
    credits = due_of_one_call()

    def story(broken: bool) -> Turns:
        traffic = Turns().failing("t", 2)
        traffic.served_for("t.3", 300, credits + (broken and lie == "more"), "t")
        if broken and lie != "more":
            traffic.post("t" if lie == "failed" else "t.3", 1 if lie == "failed" else 0)
        return traffic

    tell_apart(retries_pay_for_their_own_success, "retry_charged_once", story)


def test_without_a_failure_there_is_no_retry_to_judge() -> None:
    traffic = Turns().served_for("t", 0, 5, "t")
    assert outcome(retries_pay_for_their_own_success, traffic, "retry_charged_once") is None


def test_a_failing_turn_leaves_others_their_quota() -> None:
    def story(broken: bool) -> Turns:
        traffic = Turns().failing("t", 5)
        left = traffic.contract.text.requests - 1
        traffic.served("b", 600, 610, account="b", key="b-key", rpm=left - 5 if broken else left)
        return traffic

    tell_apart(turns_leave_others_their_quota, "quota_apart", story)


def test_another_account_is_not_refused_for_a_turn() -> None:
    def story(broken: bool) -> Turns:
        traffic = Turns(contract=contract_with(text__requests=5)).failing("t", 5)
        if broken:
            traffic.refused("b", 600, account="b", key="b-key")
        else:
            traffic.served("b", 600, 610, account="b", key="b-key", rpm=4)
        return traffic

    tell_apart(turns_leave_others_their_quota, "quota_apart", story)


def test_own_faults_leave_the_first_path_open_to_others() -> None:
    def story(broken: bool) -> Turns:
        traffic = Turns(contract=RULES).failing("t", 3, status=409).failing("u", 3, at=400, status=409)
        traffic.call("b", 900, 920, account="b", key="b-key", headers=traffic.governor())
        traffic.attempt("b", 900, 920, "second" if broken else "primary")
        return traffic

    tell_apart(turns_open_no_circuit_by_their_own_fault, "circuit_apart", story)


def test_a_turn_that_fails_by_its_upstreams_may_open_a_circuit() -> None:
    traffic = Turns(contract=RULES).failing("t", 5)
    traffic.call("b", 600, 620, headers=traffic.governor())
    traffic.attempt("b", 600, 620, "second")
    assert outcome(turns_open_no_circuit_by_their_own_fault, traffic, "circuit_apart") is None


def test_few_own_faults_could_open_no_circuit_anyway() -> None:
    traffic = Turns(contract=RULES).failing("t", 3, status=409)
    traffic.served("b", 600, 620)
    assert outcome(turns_open_no_circuit_by_their_own_fault, traffic, "circuit_apart") is None
