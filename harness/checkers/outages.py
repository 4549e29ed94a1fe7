"""BRK-01 and BRK-03 once more, told from the journal alone: what it shows, what it rules out, and a bound on calls."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from harness.checker import Verdict, checker
from harness.checkers.admissions import NEVER, admissions, all_listening, crashed_us, slack_us
from harness.checkers.circuit_states import cooldown_us
from harness.checkers.circuits import Circuit, circuits
from harness.checkers.failover import text_calls
from harness.checkers.trajectories import OPEN, at_odds, demanded, inferred, modes_during
from harness.contract import Breaker, Contract
from harness.history import History


@checker("BRK-01", "opens")
def the_journal_shows_open_circuits(history: History, contract: Contract, verdict: Verdict) -> None:
    """Where the contract has a circuit open, the journal does not show it letting calls through."""
    trajectories = inferred(history, contract, slack_us(history))
    end = max((attempt.end for attempt in history.attempts), default=0)
    for path, circuit in circuits(history, contract).items():
        shown = trajectories.get(path, [])
        wanted = demanded(circuit, end)
        odds = [since for since, until in at_odds(shown, wanted) if modes_during(wanted, since + 1, until - 1) == OPEN]
        if odds:
            verdict.case(
                "opens",
                False,
                expected=f"{path[0]} at {path[1]} open",
                actual=f"calls let through, {len(odds)} times",
                at_us=odds[0],
            )
        elif any(one.modes == OPEN for one in shown):
            verdict.case("opens", True)


@checker("BRK-03", "closed", "open", "half_open")
def the_header_agrees_with_the_journal(history: History, contract: Contract, verdict: Verdict) -> None:
    """The circuit header tells nothing that the upstreams' journal rules out."""
    trajectories = inferred(history, contract, slack_us(history))
    for one in admissions(history, contract).entries:
        said = one.seen.call.headers.get(contract.headers.circuit)
        shown = trajectories.get((one.model.id, one.model.chain[0].role))
        if said is None or shown is None or not one.admitted or not one.judged:
            continue
        possible = modes_during(shown, one.lo, one.hi)
        held = said in possible
        if len(possible) == 1 or not held:
            for clause in sorted(possible):
                verdict.case(
                    clause,
                    held,
                    call=one.id,
                    expected=f"{contract.headers.circuit}: {' or '.join(sorted(possible))}",
                    actual=said,
                    at_us=one.hi,
                )


class Outage(NamedTuple):
    """A time in which whatever a path answered was a failure.

    ``need`` failures open its circuit; ``opened`` is by when they had, None if there were fewer; ``after`` are the
    path's calls since then, and ``longest`` is how long one of them lasted.
    """

    since: int
    until: int
    need: int
    opened: int | None
    after: int
    longest: int

    def probes(self, rules: Breaker, slack: int) -> int:
        """Return how many probes may pass in it: each round of them comes after a longer cool-down."""
        rounds, at = 1, self.since + cooldown_us(1, rules)
        while at <= self.until + slack:
            rounds += 1
            at += cooldown_us(rounds, rules)
        lost = (self.longest + slack) // (rules.permit_timeout_ms * 1000)
        return rules.probes * rounds * (1 + lost)


@checker("BRK-01", "no_calls_while_open")
def an_outage_costs_a_bounded_number_of_calls(history: History, contract: Contract, verdict: Verdict) -> None:
    """A path that only fails gets the calls that open its circuit, and then probes alone, however often clients ask."""
    if not all_listening(history) or crashed_us(history) < NEVER:
        return
    slack, wanting = slack_us(history), _wanting(history, contract)
    end = max((call.end for call in history.calls), default=0)
    for circuit in circuits(history, contract).values():
        for outage in outages(circuit, slack, end):
            most = outage.probes(circuit.rules, slack)
            asked = sum(1 for at in wanting.get(circuit.path[0], ()) if outage.since <= at <= outage.until)
            held = outage.opened is None or outage.after <= most
            if held and asked <= outage.need + most:
                continue  # so few calls do not tell a circuit from none
            verdict.case(
                "no_calls_while_open",
                held,
                expected=f"at most {most} calls of {circuit.path[0]} at {circuit.path[1]} once it was open",
                actual=f"{outage.after} by {outage.until} us",
                at_us=outage.opened,
            )


def outages(circuit: Circuit, slack: int, end: int) -> Iterator[Outage]:
    """Yield the times between two outcomes of a path that may be no failures, where none of them is soon forgotten."""
    rules = circuit.rules
    if rules.failure_percent >= 100:
        return  # then older successes keep it closed for as long as they are remembered
    good = sorted({-1 - slack, *(event.at for event in circuit.ends if event.outcomes != {"failure"})})
    for since, until in pairwise([*good, end + 1]):
        starts = [event for event in circuit.events if event.is_start and since + slack < event.at < until]
        kept = len(circuit.ended(since - rules.window_ms * 1000 - slack, since))
        need = max(rules.min_calls, -(-rules.failure_percent * kept // (100 - rules.failure_percent)))
        ends = sorted(event.attempt.end for event in starts if event.attempt.end < until)
        if not ends or ends[:need][-1] - ends[0] + 2 * slack >= rules.window_ms * 1000:
            continue
        opened = ends[need - 1] + slack if len(ends) >= need else None
        after = 0 if opened is None else sum(event.at > opened for event in starts)
        longest = max(event.attempt.end - event.at for event in starts)
        yield Outage(starts[0].at, until, need, opened, after, longest)


def _wanting(history: History, contract: Contract) -> dict[str, list[int]]:
    """Return when calls of each model were sent that reached an upstream, or were told that every circuit is open."""
    found: dict[str, list[int]] = {}
    shut = contract.error("circuits_open").status
    for one in text_calls(history, contract):
        if one.model is not None and (one.attempts or one.call.status == shut):
            found.setdefault(one.model.id, []).append(one.call.sent)
    return found
