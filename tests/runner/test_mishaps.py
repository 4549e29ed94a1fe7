"""A crash that is planned and never comes is told of, holds nobody up, and comes no more."""

from __future__ import annotations

from contextlib import closing

from harness.checker import CHECKERS, Outcome
from harness.cli.suite import load
from harness.environment.sim import APPEND_LIMIT_S, run_in_sim
from harness.history import History, Recorder
from harness.runner import judge
from harness.scenario import Crash, Scenario, Workload, World, chat
from harness.targets.reference import Reference


def ran(*crashes: Crash, after: tuple[str, ...]) -> tuple[History, dict[str, object]]:
    """Run a call, the crashes, and a call that follows them; return what was recorded, and its judgement."""
    load()
    target = Reference()
    contract = target.contract([])
    calls = (chat("gpt-5-5", id="c1"), chat("gpt-5-5", id="c2", at_ms=None, after=after))
    made = Scenario(World(), Workload(calls), (CHECKERS["charge_matches_usage"],), crashes=crashes, name="made")
    with closing(Recorder()) as recorder:
        run_in_sim(made, target, contract, seed=3, recorder=recorder)
        history = recorder.history()
    return history, judge(history, contract, made.checks)


def test_what_follows_a_crash_that_never_comes_goes_on_without_it() -> None:
    never, second = Crash(5, after_appends=1_000, id="k1"), Crash(id="k2", after=("k1",), delay_ms=7)
    history, record = ran(never, second, after=("k1", "k2"))
    given_up_us = (APPEND_LIMIT_S * 1000 + 5) * 1000
    told = [(note.kind, note.at) for note in history.notes if note.kind in ("crash_never_came", "kill")]
    assert told == [("crash_never_came", given_up_us), ("kill", given_up_us + 7_000)]
    assert {call.outcome for call in history.calls} == {"ok"}
    assert history.call["c2"].sent > given_up_us
    assert record["doubts"] == ["a planned crash never came: its store took no 1000 appends from then on"]
    assert record["outcome"] == Outcome.INCONCLUSIVE.value
    assert record["errors"] == []


def test_a_crash_that_was_given_up_comes_no_more() -> None:
    history, record = ran(Crash(5, after_appends=6, id="k1"), after=("k1",))
    kinds = [note.kind for note in history.notes]
    assert "kill" not in kinds
    assert kinds.count("crash_never_came") == 1
    assert {call.outcome for call in history.calls} == {"ok"}
    assert len([entry for entry in history.ledger if entry.at > history.call["c2"].sent]) >= 2
    assert record["outcome"] == Outcome.INCONCLUSIVE.value


def test_a_crash_that_comes_raises_no_doubt() -> None:
    _, record = ran(Crash(5, after_appends=1, id="k1"), after=("k1",))
    assert record["doubts"] == []
