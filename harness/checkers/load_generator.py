"""Whether a load was made as planned: what was sent, and how late; it blames no gateway for its generator."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from harness.checkers.load_memory import memory_grew
from harness.history import History, Plan


@dataclass(frozen=True, slots=True)
class Lateness:
    """How much later than planned calls were sent, in microseconds; ``sent`` of ``planned`` were."""

    planned: int
    sent: int
    median_us: int
    p99_us: int
    most_us: int


def lateness(history: History) -> Lateness:
    """Return how late the calls of ``history`` were sent (made once per history)."""
    kept: Lateness | None = history.memo.get("lateness")
    if kept is None:
        late = sorted(
            max(0, history.call[plan.id].sent - plan.at)
            for plan in history.plan.calls
            if plan.at is not None and plan.id in history.call
        )
        planned = sum(plan.at is not None for plan in history.plan.calls)
        shares = [late[min(len(late) - 1, len(late) * percent // 100)] if late else 0 for percent in (50, 99, 100)]
        kept = history.memo["lateness"] = Lateness(planned, len(late), *shares)
    return kept


def shortcomings(history: History) -> list[str]:
    """Return in what a load was not made as it was planned, a sentence each; nothing if it was."""
    found: list[str] = []
    told = lateness(history)
    bound_us = history.plan.options["load"]["bound_us"]
    if told.sent < told.planned:
        found.append(f"{told.sent:,} of {told.planned:,} planned calls were sent")
    if bound_us is not None and told.p99_us > bound_us:
        found.append(
            f"lateness p99 {told.p99_us / 1e3:.1f} ms (most {told.most_us / 1e3:.1f} ms), over {bound_us / 1e3:g} ms"
        )
    starved = max((note.detail["starved"] for note in history.notes if note.kind == "generators"), default=0)
    if starved:
        found.append(f"{starved:,} calls found no socket on this machine")
    lost = max((note.detail["lost"] for note in history.notes if note.kind == "generators"), default=0)
    if lost:
        found.append(f"{lost} of {history.plan.options['load']['workers']} workers were lost")
    if history.plan.options["load"].get("flat"):
        found += memory_grew(history)
    return found


def unanswered(plan: Plan, outcomes: Counter[str]) -> list[str]:
    """Return in a sentence how many calls came to no whole answer, whoever's doing it was; nothing if all did.

    Who was refused has his answer. A load that means to ask for more than can be given has no such bound.
    """
    if plan.options["load"]["bound_us"] is None:
        return []
    lost = {outcome: outcomes[outcome] for outcome in ("cut", "error", "open") if outcomes[outcome]}
    told = ", ".join(f"{count:,} {outcome}" for outcome, count in lost.items())
    return [f"{sum(lost.values()):,} of {outcomes.total():,} calls came to no whole answer ({told})"] if lost else []
