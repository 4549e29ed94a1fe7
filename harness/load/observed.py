"""Reads from a history how a limiter met each call, and who shares it; it judges no requirement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.history import CallSpan, History
from harness.load.observations import Observation


def observations(history: History, tag: str) -> list[Observation]:
    """Return the calls of that tag, as a limiter can have met them.

    A call was decided on between its sending and the first that was heard of it, upstream or at the caller. It was
    admitted if an upstream saw it or it was answered, and refused with 429; of any other nobody can say.
    """
    return [_observed(history, call) for call in history.calls if history.planned[call.id].detail.get("tag") == tag]


def _observed(history: History, call: CallSpan) -> Observation:
    attempts = history.attempts_of(call.id)
    heard = [call.end if call.first_byte is None else call.first_byte]
    heard += [attempt.start + history.skew_us for attempt in attempts]
    admitted = None
    if attempts or call.status == 200:
        admitted = True
    elif call.status == 429:
        admitted = False
    return Observation(call.id, call.sent, max(call.sent, min(heard)), admitted)


@dataclass(frozen=True, slots=True)
class Shared:
    """Whether two callers that differ in one thing share a limit: None where it was not seen; by which call."""

    differs_in: str
    shared: bool | None
    call: str
    why: str


def scopes(history: History, differing: Sequence[str]) -> list[Shared]:
    """Return for each thing that callers can differ in whether they share the limit.

    It shows while the one is refused, just before and just after: the other, which has asked nothing, is refused only
    if what the first used counts against it too, and let in only if it does not.
    """
    around = observations(history, "around")
    ended = {call.id: place for place, call in enumerate(history.calls)}  # in virtual time many end in one instant
    found = []
    for thing in differing:
        for asked in observations(history, thing):
            place = ended[asked.id]
            before = [one for one in around if one.latest <= asked.earliest and ended[one.id] < place]
            after = [one for one in around if one.earliest >= asked.latest and ended[one.id] > place]
            if not before or not after or before[-1].admitted is not False or after[0].admitted is not False:
                found.append(Shared(thing, None, asked.id, "the limiter was not seen to be exhausted around it"))
            elif asked.admitted is None:
                found.append(Shared(thing, None, asked.id, "its answer was neither a success nor 429"))
            else:
                word = "let in" if asked.admitted else "refused"
                why = f"{word} while {before[-1].id} and {after[0].id} were refused before and after"
                found.append(Shared(thing, not asked.admitted, asked.id, why))
    return found


def told_scope(found: Sequence[Shared]) -> str:
    """Return by what the limit is counted, as far as it was seen."""
    shared = {one.differs_in: one.shared for one in found}
    parts = []
    if shared.get("account") is False or shared.get("key") is False:
        parts.append({True: "account", False: "key", None: "key or account"}[shared.get("key")])
    if shared.get("model") is False:
        parts.append("model")
    untold = [thing for thing in ("account", "model") if shared.get(thing) is None and thing not in parts]
    doubts = f" ({' and '.join(f'{thing}s' for thing in untold)} not told)" if untold else ""
    if parts:
        return f"per {' and '.join(parts)}{doubts}"
    return f"not told{doubts}" if untold else "global: all accounts and models together"
