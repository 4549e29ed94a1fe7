"""Branches of circuits: opened, probed, closed and opened again, told from whom calls were kept from."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from harness.branches.vocabulary import branch, charged
from harness.checkers.causes import listeners
from harness.checkers.wire import Seen
from harness.contract import Contract
from harness.history import AttemptSpan, History


@branch("BRK-01.opens")
def circuit_opened(history: History, contract: Contract) -> Iterator[object]:
    """A path was kept from a call, or the header said that it is open."""
    yield from (one for one in charged(history, contract) if one.call.headers.get(contract.headers.circuit) == "open")
    yield from _kept_away(history, contract)


@branch("BRK-02.half_open_after_cooldown")
def half_open_probed(history: History, contract: Contract) -> Iterator[object]:
    """A path that calls were kept from got one again."""
    for path, denied in _kept_away(history, contract).items():
        yield from (1 for attempt in _at(path, history, contract) if attempt.start > denied[0])


@branch("BRK-02.closes")
def circuit_closed(history: History, contract: Contract) -> Iterator[object]:
    """A path that calls were kept from answered more of them than its circuit asks for, one after another."""
    for path, denied in _kept_away(history, contract).items():
        bounds = [*denied, 1 << 62]
        for since, until in pairwise(bounds):
            good = [a for a in _at(path, history, contract) if since < a.start < until and a.ended == "served"]
            if len(good) > contract.breaker.successes_to_close:
                yield path


@branch("BRK-02.reopens_longer")
def circuit_reopened(history: History, contract: Contract) -> Iterator[object]:
    """A path that calls were kept from failed again, and calls were kept from it again."""
    for path, denied in _kept_away(history, contract).items():
        for since, until in pairwise(denied):
            probed = [a for a in _at(path, history, contract) if since < a.start and a.end < until]
            if any(attempt.ended != "served" or attempt.status != 200 for attempt in probed):
                yield path


@branch("BRK-04.all_open")
def every_circuit_open(history: History, contract: Contract) -> Iterator[object]:
    """A call was refused because every path of its model was shut."""
    return (one for one in charged(history, contract) if _all_shut(one, contract))


def _all_shut(one: Seen, contract: Contract) -> bool:
    return not one.attempts and one.call.status == contract.error("circuits_open").status


def _kept_away(history: History, contract: Contract) -> dict[tuple[str, str], list[int]]:
    """Return when calls passed each path over, by model id and role (made once per history)."""
    kept: dict[tuple[str, str], list[int]] | None = history.memo.get("kept_away")
    if kept is not None:
        return kept
    kept = history.memo["kept_away"] = {}
    states = listeners(history)
    for one in charged(history, contract):
        if one.model is None or not (one.attempts or _all_shut(one, contract)):
            continue
        if len(one.attempts) == 1 and one.attempts[0].upstream == one.model.chain[0].role:
            continue
        roles = [target.role for target in one.model.chain]
        reached = {attempt.upstream: attempt.start for attempt in reversed(one.attempts)}
        last = max((roles.index(role) for role in reached if role in roles), default=len(roles))
        at = min(reached.values(), default=one.call.end)
        for role in roles[:last]:
            if role not in reached and states.get(role, "open") == "open":
                kept.setdefault((one.model.id, role), []).append(at)
    for denied in kept.values():
        denied.sort()
    return kept


def _at(path: tuple[str, str], history: History, contract: Contract) -> Iterator[AttemptSpan]:
    for one in charged(history, contract):
        if one.model is not None and one.model.id == path[0]:
            yield from (attempt for attempt in one.attempts if attempt.upstream == path[1])
