"""The circuit breaker follows its table, counts only what its state let through, and never gets stuck."""

from __future__ import annotations

import pytest
from gw_support import contract, many, settled
from hypothesis import given
from hypothesis import strategies as st

from harness.gateway.breaker import TABLE, Breaker, Outcome, Permit, State

MS = 1000
PATH = ("gpt-5-5", "primary")
RULES = {
    "window_ms": 1000,
    "min_calls": 4,
    "failure_percent": 50,
    "slow_ms": None,
    "slow_percent": 100,
    "cooldown_ms": 100,
    "cooldown_factor": 2,
    "cooldown_cap_ms": 350,
    "probes": 2,
    "successes_to_close": 3,
    "permit_timeout_ms": 500,
}


def breaker(**rules: int | None) -> Breaker:
    return Breaker(contract(breaker={**RULES, **rules}))


def permitted(circuit: Breaker, now_us: int) -> Permit:
    permit = circuit.permit(PATH, now_us)
    assert permit is not None
    return permit


def call(circuit: Breaker, outcome: Outcome, now_us: int) -> None:
    """Let one call through that ends at once."""
    circuit.record(permitted(circuit, now_us), outcome, now_us)


def tripped(at_us: int = 0, **rules: int | None) -> Breaker:
    """Return a breaker that opened at ``at_us``."""
    circuit = breaker(**rules)
    for _ in range(circuit._rules.min_calls):
        call(circuit, "failure", at_us)
    assert circuit.state(PATH, at_us) == "open"
    return circuit


@pytest.mark.parametrize(
    ("outcomes", "state"),
    [
        ("fff", "closed"),  # too few calls
        ("ffff", "open"),
        ("sfsf", "open"),  # exactly the share
        ("ssff", "open"),
        ("ssfsf", "closed"),  # two of five
        ("sssf", "closed"),
        ("ffsi", "closed"),  # an ignored outcome is no call
        ("ffss", "open"),  # a success can be the call that makes the minimum
        ("iiiiiiii", "closed"),
        ("", "closed"),
    ],
)
def test_it_trips_when_the_share_of_failures_reaches_the_threshold(outcomes: str, state: State) -> None:
    circuit = breaker()
    names: dict[str, Outcome] = {"f": "failure", "s": "success", "i": "ignored"}
    for outcome in outcomes:
        call(circuit, names[outcome], 0)
    assert circuit.state(PATH, 0) == state


def test_an_outcome_counts_until_it_is_a_window_old() -> None:
    for gap_ms, state in ((999, "open"), (1000, "closed")):
        circuit = breaker()
        for _ in range(3):
            call(circuit, "failure", 0)
        call(circuit, "failure", gap_ms * MS)
        assert circuit.state(PATH, gap_ms * MS) == state


def test_an_outcome_counts_at_the_end_of_its_call() -> None:
    circuit = breaker()
    permits = [permitted(circuit, 0) for _ in range(4)]
    assert circuit.state(PATH, 5000 * MS) == "closed"
    for permit in permits:
        circuit.record(permit, "failure", 5000 * MS)
    assert circuit.state(PATH, 5000 * MS) == "open"


def test_slow_calls_trip_it_if_slowness_is_set() -> None:
    for slow_ms, lasts_ms, state in ((50, 51, "open"), (50, 50, "closed"), (None, 5000, "closed")):
        circuit = breaker(slow_ms=slow_ms)
        permits = [permitted(circuit, 0) for _ in range(4)]
        for permit in permits:
            circuit.record(permit, "success", lasts_ms * MS)
        assert circuit.state(PATH, lasts_ms * MS) == state


def test_a_slow_call_too_counts_until_it_is_a_window_old() -> None:
    def two_slow_calls(apart_ms: int) -> Breaker:
        circuit = breaker(slow_ms=50, min_calls=2, slow_percent=60)
        first, second = permitted(circuit, 0), permitted(circuit, 0)
        circuit.record(first, "success", 1000 * MS)
        call(circuit, "success", 1000 * MS)
        circuit.record(second, "success", (1000 + apart_ms) * MS)
        return circuit

    assert two_slow_calls(999).state(PATH, 1999 * MS) == "open"  # two of three
    circuit = two_slow_calls(1000)
    call(circuit, "success", 2000 * MS)  # one of two
    assert circuit.state(PATH, 2000 * MS) == "closed"


def test_an_open_circuit_lets_nothing_through_until_its_cool_down_is_over() -> None:
    circuit = tripped()
    for now_ms in (0, 50, 99):
        assert circuit.permit(PATH, now_ms * MS) is None
        assert circuit.state(PATH, now_ms * MS) == "open"
    assert circuit.state(PATH, 100 * MS) == "half_open"
    assert circuit.permit(PATH, 100 * MS) is not None


def test_half_open_lets_only_its_probes_through_at_once() -> None:
    circuit = tripped()
    first, second = permitted(circuit, 100 * MS), permitted(circuit, 100 * MS)
    assert circuit.permit(PATH, 101 * MS) is None
    circuit.record(first, "success", 102 * MS)
    third = permitted(circuit, 103 * MS)
    assert circuit.permit(PATH, 103 * MS) is None
    circuit.record(second, "ignored", 104 * MS)
    assert circuit.permit(PATH, 104 * MS) is not None
    assert circuit.permit(PATH, 104 * MS) is None
    assert circuit.state(PATH, 104 * MS) == "half_open"
    assert third.serial != second.serial


def test_enough_successes_close_it_with_an_empty_window() -> None:
    circuit = tripped()
    for now_ms in (100, 101, 102):
        assert circuit.state(PATH, now_ms * MS) == "half_open"
        call(circuit, "success", now_ms * MS)
    assert circuit.state(PATH, 102 * MS) == "closed"
    for _ in range(3):
        call(circuit, "failure", 103 * MS)  # with the old window this were far past the threshold
    assert circuit.state(PATH, 103 * MS) == "closed"
    call(circuit, "failure", 103 * MS)
    assert circuit.state(PATH, 103 * MS) == "open"


def test_each_relapse_cools_down_for_longer_to_a_cap_and_healing_starts_afresh() -> None:
    circuit = tripped()
    now_ms = 0
    for cooldown_ms in (100, 200, 350, 350):
        assert circuit.state(PATH, (now_ms + cooldown_ms) * MS - 1) == "open"
        now_ms += cooldown_ms
        assert circuit.state(PATH, now_ms * MS) == "half_open"
        call(circuit, "failure", now_ms * MS)
        assert circuit.state(PATH, now_ms * MS) == "open"
    now_ms += 350
    for _ in range(3):
        call(circuit, "success", now_ms * MS)
    for _ in range(4):
        call(circuit, "failure", now_ms * MS)
    assert circuit.state(PATH, (now_ms + 99) * MS) == "open"
    assert circuit.state(PATH, (now_ms + 100) * MS) == "half_open"


def test_one_failing_probe_reopens_it_whatever_succeeded_before() -> None:
    circuit = tripped()
    call(circuit, "success", 100 * MS)
    call(circuit, "success", 100 * MS)
    call(circuit, "failure", 100 * MS)
    assert circuit.state(PATH, 100 * MS) == "open"
    for _ in range(2):
        call(circuit, "success", 300 * MS)
    assert circuit.state(PATH, 300 * MS) == "half_open"  # the successes before the relapse are gone


def test_a_slow_probe_is_a_failing_one() -> None:
    circuit = tripped(slow_ms=50)
    circuit.record(permitted(circuit, 100 * MS), "success", 151 * MS)
    assert circuit.state(PATH, 151 * MS) == "open"


def test_a_permit_whose_outcome_never_comes_is_taken_back() -> None:
    circuit = tripped()
    lost = [permitted(circuit, 100 * MS) for _ in range(2)]
    assert circuit.permit(PATH, 599 * MS) is None
    assert circuit.permit(PATH, 600 * MS) is not None
    assert circuit.permit(PATH, 600 * MS) is not None
    assert circuit.permit(PATH, 600 * MS) is None
    circuit.record(lost[0], "failure", 601 * MS)  # too late to mean anything
    assert circuit.state(PATH, 601 * MS) == "half_open"
    assert circuit.permit(PATH, 601 * MS) is None


def test_outcomes_of_an_earlier_state_change_nothing() -> None:
    circuit = breaker()
    early = [permitted(circuit, 0) for _ in range(10)]
    for permit in early[:4]:
        circuit.record(permit, "failure", 10 * MS)
    circuit.record(early[4], "success", 20 * MS)
    assert circuit.state(PATH, 20 * MS) == "open"
    probe = permitted(circuit, 110 * MS)
    circuit.record(early[5], "failure", 110 * MS)
    circuit.record(early[6], "success", 110 * MS)
    assert circuit.state(PATH, 110 * MS) == "half_open"
    circuit.record(probe, "success", 111 * MS)
    call(circuit, "success", 111 * MS)
    call(circuit, "success", 111 * MS)
    assert circuit.state(PATH, 111 * MS) == "closed"
    for permit in early[7:]:
        circuit.record(permit, "failure", 112 * MS)
    circuit.record(probe, "failure", 112 * MS)
    assert circuit.state(PATH, 112 * MS) == "closed"


def test_an_outcome_that_is_recorded_twice_counts_once_for_a_probe() -> None:
    circuit = tripped()
    probe = permitted(circuit, 100 * MS)
    for _ in range(3):
        circuit.record(probe, "success", 100 * MS)
    assert circuit.state(PATH, 100 * MS) == "half_open"


def test_paths_do_not_share_a_circuit() -> None:
    circuit = tripped()
    for path in (("gpt-5-5", "second"), ("kimi-latest", "primary")):
        assert circuit.state(path, 0) == "closed"
        assert circuit.permit(path, 0) is not None


def test_retry_after_is_when_the_first_path_may_be_tried_again() -> None:
    circuit = tripped(cooldown_ms=7500, cooldown_cap_ms=9000)
    second = (PATH[0], "second")
    for _ in range(4):
        permit = circuit.permit(second, 3000 * MS)
        assert permit is not None
        circuit.record(permit, "failure", 3000 * MS)
    assert circuit.retry_after_s([PATH, second], 3000 * MS) == 5  # 4.5 s of the first path's cool-down
    assert circuit.retry_after_s([second], 3000 * MS) == 8
    assert circuit.retry_after_s([PATH, second], 7400 * MS) == 1
    assert circuit.retry_after_s([PATH, second], 8000 * MS) == 1
    assert circuit.retry_after_s([], 0) == 1
    after_us = 3000 * MS + 5_000_000
    assert circuit.permit(PATH, after_us) is not None


def test_the_table_has_exactly_the_transitions_of_the_contract() -> None:
    assert TABLE == {
        ("closed", "trip"): "open",
        ("open", "cool"): "half_open",
        ("half_open", "heal"): "closed",
        ("half_open", "relapse"): "open",
    }


class Naive:
    """The breaker's rules once more, over a list of all that ever happened since the last change of state."""

    def __init__(self) -> None:
        self.state = "closed"
        self.era = 0
        self.since = 0
        self.cooldown = 100
        self.outcomes: list[tuple[int, str]] = []
        self.probes: dict[int, int] = {}

    def turn(self, state: str, now: int) -> None:
        self.state, self.since, self.era = state, now, self.era + 1
        self.outcomes, self.probes = [], {}

    def look(self, now: int) -> str:
        if self.state == "open" and now - self.since >= self.cooldown:
            self.turn("half_open", now)
        return self.state

    def admits(self, number: int, now: int) -> bool:
        if self.look(now) == "half_open":
            self.probes = {probe: at for probe, at in self.probes.items() if now - at < 500}
            if len(self.probes) == 2:
                return False
            self.probes[number] = now
        return self.state != "open"

    def ends(self, number: int, era: int, outcome: str, now: int) -> None:
        self.look(now)
        if era != self.era or (self.state == "half_open" and self.probes.pop(number, None) is None):
            return
        if outcome == "ignored":
            return
        self.outcomes.append((now, outcome))
        if self.state == "closed":
            recent = [kind for at, kind in self.outcomes if now - at < 1000]
            if len(recent) >= 4 and recent.count("failure") * 2 >= len(recent):
                self.turn("open", now)
                self.cooldown = 100
        elif outcome == "failure":
            self.turn("open", now)
            self.cooldown = min(self.cooldown * 2, 350)
        elif len(self.outcomes) == 3:
            self.turn("closed", now)


STEPS = many(
    st.tuples(
        st.sampled_from([0, 1, 20, 60, 200, 700]),
        st.sampled_from(["start", "start", "end", "end", "look"]),
        st.integers(0, 5),
        st.sampled_from(["failure", "failure", "success", "success", "success", "ignored"]),
    ),
)


@settled
@given(STEPS)
def test_it_agrees_with_the_rules_written_down_naively(steps: list[tuple[int, str, int, Outcome]]) -> None:
    circuit, naive = breaker(), Naive()
    under_way: list[tuple[Permit, int, int]] = []
    now = 0
    for number, (gap, action, which, outcome) in enumerate(steps):
        now += gap
        if action == "start":
            permit = circuit.permit(PATH, now * MS)
            assert (permit is not None) == naive.admits(number, now)
            if permit is not None:
                under_way.append((permit, number, naive.era))
        elif action == "end" and under_way:
            permit, began, era = under_way.pop(which % len(under_way))
            circuit.record(permit, outcome, now * MS)
            naive.ends(began, era, outcome, now)
        assert circuit.state(PATH, now * MS) == naive.look(now)
