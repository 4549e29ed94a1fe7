"""What a run can reach: named branches of a gateway's behaviour, counted in a history; none of them is right or wrong.

A scenario names those that it is made for, and a run that did not reach them proves nothing ("sometimes" properties).
They are told from what upstreams and callers saw, and from the books where there are any; so a branch may be missed
where the record cannot show it, and is never made up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from harness.checkers.admissions import admissions, all_listening, crashed_us, slack_us
from harness.checkers.causes import failure_of, listeners, told_retry_after_s
from harness.checkers.counts import Admission
from harness.checkers.money import is_billable, posts
from harness.checkers.refusals import Reason, reasons
from harness.checkers.wire import TEXT_SURFACES, Seen, down_us, seen
from harness.contract import Contract
from harness.contract.requirements import matches
from harness.history import AttemptSpan, History

Count = Callable[[History, Contract], int]
SOCKET_WAIT_US = 50_000
"""On sockets a call that took this long to reach an upstream most likely waited for a slot."""
_USAGE_FLAWS = frozenset({"usage_missing", "usage_negative", "usage_absurd", "usage_conflict"})


@dataclass(frozen=True, slots=True)
class Branch:
    """A way that a gateway can take. ``clause`` is the catalogue's that it belongs to, ``told`` says what it is.

    ``tap`` is what a run must be able to see to tell; empty where the callers' view is enough.
    """

    name: str
    clause: str
    told: str
    tap: str
    count: Count

    def claimed(self, claims: Sequence[str]) -> bool:
        """Say whether a target with these claims has this branch at all."""
        requirement, _, clause = self.clause.partition(".")
        return matches(claims, requirement, clause)


BRANCHES: dict[str, Branch] = {}
"""The whole vocabulary by name, in the order of this file."""


def branch(clause: str, tap: str = "journal") -> Callable[[Callable[[History, Contract], Iterable[object]]], Branch]:
    """Register a function that yields one thing for each time a history reached the branch named like it."""

    def register(found: Callable[[History, Contract], Iterable[object]]) -> Branch:
        def count(history: History, contract: Contract) -> int:
            return sum(1 for _ in found(history, contract))

        told = (found.__doc__ or "").strip().partition("\n")[0]
        BRANCHES[found.__name__] = Branch(found.__name__, clause, told, tap, count)
        return BRANCHES[found.__name__]

    return register


def branches_reached(history: History, contract: Contract) -> dict[str, int | None]:
    """Return how often the run reached each branch; None where this run has no tap to tell."""
    return {
        name: one.count(history, contract) if not one.tap or history.has_tap(one.tap) else None
        for name, one in BRANCHES.items()
    }


def _texts(history: History, contract: Contract) -> list[Seen]:
    """Return the calls of text surfaces, by when they were sent (made once per history)."""
    kept: list[Seen] | None = history.memo.get("branch_texts")
    if kept is None:
        found = (one for one in seen(history, contract) if one.route is not None and one.route.surface in TEXT_SURFACES)
        kept = history.memo["branch_texts"] = sorted(found, key=lambda one: one.call.sent)
    return kept


# Failover


@branch("FAIL-06.chain_order")
def failover_taken(history: History, contract: Contract) -> Iterator[object]:
    """A call went on to another target."""
    return (one for one in _texts(history, contract) if len({attempt.upstream for attempt in one.attempts}) > 1)


@branch("FAIL-06.tries_per_target")
def retry_taken(history: History, contract: Contract) -> Iterator[object]:
    """A target was tried again."""
    for one in _texts(history, contract):
        yield from (1 for before, after in pairwise(one.attempts) if before.upstream == after.upstream)


@branch("FAIL-06.short_retry_after")
def retry_after_told(history: History, contract: Contract) -> Iterator[object]:
    """An upstream said when to come back, and the call went on."""
    for one in _texts(history, contract):
        yield from (1 for before in one.attempts[:-1] if told_retry_after_s(history, before) is not None)


@branch("FAIL-07.one_clean_error")
def chain_exhausted(history: History, contract: Contract) -> Iterator[object]:
    """Every target of a chain failed, and the caller got an error."""
    for one in _texts(history, contract):
        if one.model is None or one.served or one.call.outcome == "aborted" or not one.attempts:
            continue
        if {target.role for target in one.model.chain} <= {attempt.upstream for attempt in one.attempts}:
            yield one


@branch("FAIL-05.client_fault_returned")
def client_fault_returned(history: History, contract: Contract) -> Iterator[object]:
    """An upstream called the request itself wrong."""
    return _ended_with(history, contract, contract.failover.client_fault_statuses)


@branch("FAIL-05.target_fault_moves_on")
def target_fault_met(history: History, contract: Contract) -> Iterator[object]:
    """An upstream refused the gateway's own credential or target."""
    return _ended_with(history, contract, contract.failover.target_fault_statuses)


def _ended_with(history: History, contract: Contract, statuses: Iterable[int]) -> Iterator[object]:
    wanted = frozenset(statuses)
    return (attempt for one in _texts(history, contract) for attempt in one.attempts if attempt.status in wanted)


@branch("FAIL-03.first_byte")
def silence_ended(history: History, contract: Contract) -> Iterator[object]:
    """The gateway left an upstream that was too slow, for a client that still waited."""
    down = down_us(history)  # what a dead gateway leaves, it did not wait for
    for one in _texts(history, contract):
        left = [a for a in one.attempts if a.ended == "left" and not any(x <= a.end and a.start <= y for x, y in down)]
        failures = [failure_of(attempt, one.call, contract) for attempt in left]
        yield from (failure for failure in failures if failure is not None and failure.timed_out)


@branch("FAIL-04.refused", tap="")
def unreachable_target_passed(history: History, contract: Contract) -> Iterator[object]:
    """A call was served although its first target takes no connection."""
    shut = {role for role, state in listeners(history).items() if state != "open"}
    for one in _texts(history, contract) if shut else ():
        if one.served and one.model is not None and one.model.chain[0].role in shut:
            yield one


@branch("FAIL-08.early_end")
def stream_broken_after_content(history: History, contract: Contract) -> Iterator[object]:
    """A stream broke when its client had part of the answer."""
    for one in _texts(history, contract):
        call = one.call
        if one.plan.stream and call.first_content is not None and call.outcome in ("error", "cut") and one.attempts:
            yield one


# Clients that leave


@branch("FAIL-09.no_further_attempt")
def client_left(history: History, contract: Contract) -> Iterator[object]:
    """A client went away while an upstream worked for it."""
    return (one for one in _texts(history, contract) if one.call.outcome == "aborted" and one.attempts)


@branch("BILL-07.stream_charged")
def drained_to_the_end(history: History, contract: Contract) -> Iterator[object]:
    """The gateway read an answer to its end for a client that had left."""
    return _drained(history, contract, "served")


@branch("FAIL-09.ends_within_drain")
def drain_cut_off(history: History, contract: Contract) -> Iterator[object]:
    """The gateway gave an answer up for which the client had left."""
    return _drained(history, contract, "left")


def _drained(history: History, contract: Contract, ended: str) -> Iterator[AttemptSpan]:
    for one in _texts(history, contract):
        if one.call.outcome == "aborted":
            yield from (a for a in one.attempts if a.ended == ended and a.end >= one.call.end)


@branch("GOV-03.gone_waiter")
def waiter_left(history: History, contract: Contract) -> Iterator[object]:
    """A client went away that had waited for a slot."""
    for one in _texts(history, contract):
        call = one.call
        if one.tier == "enterprise" and call.outcome == "aborted" and not one.attempts and call.end > call.sent:
            yield one


# Circuits


@branch("BRK-01.opens")
def circuit_opened(history: History, contract: Contract) -> Iterator[object]:
    """A path was kept from a call, or the header said that it is open."""
    yield from (one for one in _texts(history, contract) if one.call.headers.get(contract.headers.circuit) == "open")
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
    return (one for one in _texts(history, contract) if _all_shut(one, contract))


def _all_shut(one: Seen, contract: Contract) -> bool:
    return not one.attempts and one.call.status == contract.error("circuits_open").status


def _kept_away(history: History, contract: Contract) -> dict[tuple[str, str], list[int]]:
    """Return when calls passed each path over, by model id and role (made once per history)."""
    kept: dict[tuple[str, str], list[int]] | None = history.memo.get("kept_away")
    if kept is not None:
        return kept
    kept = history.memo["kept_away"] = {}
    states = listeners(history)
    for one in _texts(history, contract):
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
    for one in _texts(history, contract):
        if one.model is not None and one.model.id == path[0]:
            yield from (attempt for attempt in one.attempts if attempt.upstream == path[1])


# Slots, queue and rates


@branch("GOV-02.cap")
def slots_full(history: History, contract: Contract) -> Iterator[object]:
    """As many calls of a model were under way as it has slots."""
    if _crowded(history, contract):
        for pool in admissions(history, contract).pools.values():
            yield from pool.busy.periods(pool.limits.concurrency)


def _crowded(history: History, contract: Contract) -> bool:
    """Say whether any model was called more often than it has slots: else the dearer questions need not be asked."""
    asked: dict[str, int] = {}
    for one in _texts(history, contract):
        if one.tier == "enterprise" and one.model is not None:
            asked[one.model.id] = asked.get(one.model.id, 0) + 1
            if asked[one.model.id] >= contract.limits(one.model).concurrency:
                return True
    return False


@branch("GOV-03.waits")
def queue_wait(history: History, contract: Contract) -> Iterator[object]:
    """A call waited for a slot and got one."""
    shown = all_listening(history) and _crowded(history, contract)
    least = 2 * slack_us(history) if history.plan.mode == "sim" else SOCKET_WAIT_US
    for one in _texts(history, contract) if shown else ():
        waited = one.tier == "enterprise" and one.attempts and not one.plan.detail.get("upload_ms")
        if waited and one.attempts[0].start - one.call.sent > least:
            yield one


@branch("GOV-03.length_bound")
def queue_full(history: History, contract: Contract) -> Iterator[object]:
    """A call was refused because too many waited before it."""
    return _refused_for("queue_length", history, contract)


@branch("GOV-03.time_bound")
def queue_time_up(history: History, contract: Contract) -> Iterator[object]:
    """A call waited as long as it may and was refused."""
    return _refused_for("queue_time", history, contract)


@branch("GOV-07.as_full_queue")
def queue_tokens_full(history: History, contract: Contract) -> Iterator[object]:
    """A call was refused because too many tokens waited before it."""
    return _refused_for("queue_tokens", history, contract)


@branch("GOV-04.next_refused")
def rate_refused(history: History, contract: Contract) -> Iterator[object]:
    """A call was refused because its window of requests was full."""
    return _refused_for("requests", history, contract)


@branch("GOV-05.probe_does_not_fit")
def tokens_refused(history: History, contract: Contract) -> Iterator[object]:
    """A call was refused because its window of tokens was full."""
    return _refused_for("tokens", history, contract)


def _refused_for(reason: Reason, history: History, contract: Contract) -> Iterator[Admission]:
    """Yield the calls refused for this and nothing else; on sockets, where little is certain, those that may be."""
    refusal = contract.error("rate_limited").status
    if not any(one.call.status == refusal and one.tier == "enterprise" for one in _texts(history, contract)):
        return
    found = admissions(history, contract)
    for one in found.entries:
        why = reasons(one, found) if one.refused else frozenset()
        if why == {reason} or (history.plan.mode != "sim" and reason in why):
            yield one


@branch("RATE-01.past_quota", tap="")
def user_rate_refused(history: History, contract: Contract) -> Iterator[object]:
    """A general call was refused because its user's quota was used up."""
    refusal = contract.error("rate_limited").status
    for one in _texts(history, contract):
        if one.tier == "general" and not one.attempts and one.call.status == refusal:
            yield one


# Refusals before admission


@branch("AUTH-05.unknown", tap="")
def key_refused(history: History, contract: Contract) -> Iterator[object]:
    """A caller was refused for its key."""
    return (call for call in history.calls if call.status == contract.error("invalid_key").status)


@branch("MSG-07.suspended", tap="")
def key_suspended(history: History, contract: Contract) -> Iterator[object]:
    """A caller was refused because its key is suspended, or what it asked for is not for it."""
    return (call for call in history.calls if call.status == contract.error("suspended_key").status)


@branch("ERR-05.field_types", tap="")
def input_refused(history: History, contract: Contract) -> Iterator[object]:
    """A request was refused that no upstream saw."""
    for call in history.calls:
        if call.status == contract.error("bad_request").status and not history.attempts_of(call.id):
            yield call


@branch("BILL-10.refused_402", tap="")
def balance_refused(history: History, contract: Contract) -> Iterator[object]:
    """A caller was refused because it could not pay."""
    return (call for call in history.calls if call.status == contract.error("insufficient_balance").status)


# Streams


@branch("MSG-03.ping_interval", tap="")
def ping_sent(history: History, contract: Contract) -> Iterator[object]:
    """The gateway kept a silent stream awake."""
    for call in history.calls:
        if call.pings and not any(
            {"pings", "comments"} & set(a.fault.split("+")) for a in history.attempts_of(call.id)
        ):
            yield call


# Money


@branch("BILL-02.all_targets_failed", tap="books")
def hold_voided(history: History, contract: Contract) -> Iterator[object]:
    """What a call held was given back uncharged."""
    return (entry for entry in history.ledger if entry.kind == "void")


@branch("BILL-08.over_hold_in_full", tap="books")
def charged_over_hold(history: History, contract: Contract) -> Iterator[object]:
    """A call was charged more than it held."""
    held = {entry.call: entry.amount for entry in history.ledger if entry.kind == "hold"}
    return (e for e in history.ledger if e.kind == "post" and -e.credits > held.get(e.call, -e.credits))


@branch("BILL-09.flagged")
def flawed_usage_met(history: History, contract: Contract) -> Iterator[object]:
    """An upstream told a usage that may not be charged, in an answer that was otherwise whole."""
    return (attempt for attempt in history.attempts if _USAGE_FLAWS & set(attempt.fault.split("+")))


@branch("INS-03.over_threshold_pays", tap="")
def payout(history: History, contract: Contract) -> Iterator[object]:
    """A slow call was compensated."""
    if history.has_tap("books"):
        return (entry for entry in history.ledger if entry.kind == "payout")
    return (c for c in history.calls if (c.claims.get("insurance") or {}).get("status") == "paid")


# Crashes


@branch("BILL-06.across_restart", tap="books")
def crash_replayed(history: History, contract: Contract) -> Iterator[object]:
    """The gateway was killed with holds open, and gave them back when it was there again."""
    kills = [note.at for note in history.notes if note.kind == "kill"] or [crashed_us(history)]
    held = {entry.call: entry.at for entry in history.ledger if entry.kind == "hold"}
    for entry in history.ledger if any(note.kind == "crash" for note in history.notes) else ():
        call = history.call.get(entry.call)
        if entry.kind != "void" or entry.call not in held or call is None or call.outcome != "cut":
            continue
        if any(held[entry.call] <= kill <= entry.at + history.skew_us for kill in kills):
            yield entry


@branch("BILL-06.across_restart", tap="")
def killed(history: History, contract: Contract) -> Iterator[object]:
    """The gateway was killed."""
    return (note for note in history.notes if note.kind == "kill")


@branch("BILL-06.across_restart")
def killed_inside_a_stream(history: History, contract: Contract) -> Iterable[object]:
    """The gateway was killed while an upstream was still sending and a caller had part of the answer."""
    return _kills(
        history, contract, lambda one: one.call.first_content is not None and one.attempts[-1].ended == "left"
    )


@branch("BILL-06.across_restart", tap="books")
def killed_inside_a_settlement(history: History, contract: Contract) -> Iterable[object]:
    """The gateway was killed when an upstream had sent all of its answer, and no charge for it was booked."""
    return _kills(history, contract, lambda one: one.attempts[-1].ended == "served" and not posts(history, one.call.id))


@branch("BILL-06.across_restart", tap="books")
def killed_inside_a_commit(history: History, contract: Contract) -> Iterable[object]:
    """The gateway was killed between appending a record and telling of it: a hold is lost, or a charge is untold."""

    def inside(one: Seen) -> bool:
        kinds = [entry.kind for entry in history.entries_of(one.call.id)]
        return not kinds or ("post" in kinds and not one.call.claims.get("billing"))

    return _kills(history, contract, inside)


def _kills(history: History, contract: Contract, inside: Callable[[Seen], bool]) -> Iterable[object]:
    """Return the kills that cut a billable call at an upstream, one of which ``inside`` is true."""
    found: set[int] = set()
    for kill in (note.at for note in history.notes if note.kind == "kill"):
        for one in _texts(history, contract):
            if one.call.outcome != "cut" or not one.attempts or not is_billable(one):
                continue
            under_way = one.attempts[0].start - history.skew_us <= kill <= one.call.end + history.skew_us
            if under_way and inside(one):
                found.add(kill)
                break
    return found


@branch("GOV-09.handler_crash", tap="")
def handler_crashed(history: History, contract: Contract) -> Iterator[object]:
    """The gateway failed by itself, and said so."""
    return (call for call in history.calls if call.status == contract.error("internal").status)
