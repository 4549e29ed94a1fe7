"""GOV-01 and GOV-10: which of the governor's headers an answer carries, and whether what they say is true."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import attrgetter

from harness.checker import Verdict, checker
from harness.checkers.admissions import admissions
from harness.checkers.counts import Admission, Admissions, Counted
from harness.checkers.steps import StepSum
from harness.checkers.wire import CHARGED_SURFACES, seen
from harness.contract import Contract, HeaderNames
from harness.history import History

CIRCUITS = ("closed", "open", "half_open")
_UNREAD = frozenset({400, 401, 403, 404, 405, 413, 415})
"""Answers that may come before the gateway knows whose traffic it is, where the model id decides that."""


def governor_headers(names: HeaderNames) -> tuple[str, ...]:
    """Return every header of the governor but the first."""
    return (
        names.concurrency_limit,
        names.concurrency_remaining,
        names.rpm_limit,
        names.rpm_remaining,
        names.tpm_limit,
        names.tpm_remaining,
        names.image_limit,
        names.image_remaining,
        names.capacity_remaining,
        names.circuit,
    )


@checker("GOV-01", "governor_active", "refused_first_alone", untimed="all")
def governor_is_announced(history: History, contract: Contract, verdict: Verdict) -> None:
    """Every Enterprise response says that the governor is active, and one refused before admission says no more."""
    names = contract.headers
    rest, active = governor_headers(names), f"{names.governor}: active"
    for one in seen(history, contract):
        call, route = one.call, one.route
        if one.tier != "enterprise" or route is None or route.surface not in CHARGED_SURFACES or call.status is None:
            continue
        if one.plan.detail.get("method", "POST") != "POST" or (route.tier == "root" and call.status in _UNREAD):
            continue
        told = call.headers.get(names.governor)
        verdict.case("governor_active", told == "active", call=call, expected=active, actual=told)
        if not one.attempts and 400 <= call.status < 500:
            more = [name for name in rest if name in call.headers]
            verdict.case(
                "refused_first_alone",
                told == "active" and not more,
                call=call,
                expected=f"{names.governor} alone on a {call.status} before admission",
                actual=lambda told=told, more=more: f"{told!r} and {more}",
            )


@checker(
    "GOV-01",
    "concurrency",
    "rpm",
    "image_headers",
    "capacity",
    "circuit",
    untimed=("concurrency", "rpm", "image_headers", "circuit"),
)
def admitted_answers_tell_the_limits(history: History, contract: Contract, verdict: Verdict) -> None:
    """Every Enterprise response from admission on tells concurrency, rate, capacity and circuit."""
    names = contract.headers
    found = admissions(history, contract)
    lowest = min(contract.limits(model).requests for model in contract.models if model.tier == "enterprise")
    circuits = f"{names.circuit}: one of {', '.join(CIRCUITS)}"
    for one in found.entries:
        if not one.admitted or one.status is None:
            continue
        limits = contract.limits(one.model)
        own = ("rpm", names.rpm_limit, limits.requests, names.rpm_remaining)
        if one.model.media == "image" and limits.images is not None:
            own = ("image_headers", names.image_limit, limits.images, names.image_remaining)
        for clause, limit_name, limit, remaining_name in (
            ("concurrency", names.concurrency_limit, limits.concurrency, names.concurrency_remaining),
            own,
        ):
            told = one.figure(limit_name), one.figure(remaining_name)
            verdict.case(
                clause,
                told[0] == limit and told[1] is not None,
                call=one.id,
                expected=lambda limit_name=limit_name, limit=limit, remaining_name=remaining_name: (
                    f"{limit_name}: {limit} and {remaining_name}"
                ),
                actual=told,
            )
        capacity, rpm = one.figure(names.capacity_remaining), one.figure(names.rpm_remaining)
        least, most = _tightest(one, found, lowest) if one.judged else (0, limits.requests)
        verdict.case(
            "capacity",
            capacity is not None and least <= capacity <= most and (rpm is None or capacity <= rpm),
            call=one.id,
            expected=lambda least=least, most=most, rpm=rpm: (
                f"{names.capacity_remaining}: a whole number from {least} to {most}, at most the {rpm} that remain"
            ),
            actual=one.headers.get(names.capacity_remaining),
        )
        circuit = one.headers.get(names.circuit)
        verdict.case("circuit", circuit in CIRCUITS, call=one.id, expected=circuits, actual=circuit)


def _tightest(one: Admission, found: Admissions, least: int) -> tuple[int, int]:
    """Return the least and the most that can remain of the account's tightest window at ``one``'s instant.

    Whether a window that the account does not use counts as one is open: it may lower the least alone, which is that of
    a window of the model with the lowest limit to begin with.
    """
    own = found.window(one)
    most = own.limits.requests - 1 - own.others_sure(one)
    for (account, _), window in found.windows.items():
        if account == one.account:
            least = min(least, window.limits.requests - window.units_possible.most(one.lo, one.hi))
            if window is not own and (taken := window.units_before.least(one.lo, one.hi)):
                most = min(most, window.limits.requests - taken)
    return max(0, least), max(0, most)


@checker(
    "GOV-10",
    "own_request_counted",
    "within_interval",
    "never_negative",
    "never_above_limit",
    "distinct",
    untimed=("never_negative", "never_above_limit"),
)
def remaining_headers_are_true(history: History, contract: Contract, verdict: Verdict) -> None:
    """What remains is told as of admission, the request itself counted."""
    names = contract.headers
    found = admissions(history, contract)
    for one in found.entries:
        if not one.admitted or not one.judged:
            continue
        for header, limit, own, others in _accounts_of(one, found, names):
            told = one.figure(header)
            if told is None:
                continue
            verdict.case(
                "never_negative", told >= 0, call=one.id, expected=lambda header=header: f"{header} >= 0", actual=told
            )
            verdict.case(
                "never_above_limit",
                told <= limit,
                call=one.id,
                expected=lambda header=header, limit=limit: f"{header} <= {limit}",
                actual=told,
            )
            if others is None:
                continue
            least, most = max(0, limit - own - others[1]), max(0, limit - own - others[0])
            clause = "own_request_counted" if most < told <= most + own else "within_interval"
            held = least <= told <= most
            verdict.case(
                clause,
                held,
                call=one.id,
                expected=lambda header=header, least=least, most=most: f"{header} between {least} and {most}",
                actual=told,
                at_us=one.hi,
            )
            if held and least == most:
                verdict.case("own_request_counted", True)
    for window in found.windows.values():
        expired = StepSum()
        for counted in window.counted:
            if counted.admitted is not False:
                expired.add(counted.lo + window.window_us, counted.hi + window.window_us + 1)
        _distinct(window.entries, names.rpm_remaining, expired, verdict, window.carried)
    for pool in found.pools.values():
        freed = StepSum()
        for one in pool.entries:
            if one.admitted is not False:
                freed.add(one.busy_to, one.free + 1)
        _distinct(pool.entries, names.concurrency_remaining, freed, verdict)


def _accounts_of(
    one: Admission, found: Admissions, names: HeaderNames
) -> Iterator[tuple[str, int, int, tuple[int, int] | None]]:
    """Yield each remaining header with its limit, what the call itself takes, and what others did (least, most)."""
    pool, window = found.pool(one), found.window(one)
    limits = pool.limits
    slots = pool.others_busy(one), pool.others_possibly_busy(one)
    yield names.concurrency_remaining, limits.concurrency, 1, slots
    units = window.others_sure(one), window.others_possible(one)
    yield names.rpm_remaining, limits.requests, 1, units
    tokens = None
    if window.tokens.known and one.tokens is not None:
        tokens = window.other_tokens_sure(one), window.other_tokens_possible(one)
    yield names.tpm_remaining, limits.tokens, one.tokens or 0, tokens
    if limits.images is not None:
        images = None
        if window.images.known and one.images is not None:
            images = window.other_images_sure(one), window.other_images_possible(one)
        yield names.image_remaining, limits.images, one.images or 0, images


def _distinct(
    entries: Iterable[Admission], header: str, freed: StepSum, verdict: Verdict, carried: Iterable[Counted] = ()
) -> None:
    """Two admissions are told the same only if something can have been given back between them (``freed``)."""
    told_last: dict[int, Counted] = {}
    before: Counted | None = None
    for told, one in _in_turn(carried, header):
        told_last[told] = before = one
    for told, one in _in_turn(entries, header):
        twin = told_last.get(told)
        if twin is not None and not freed.most(min(twin.lo, one.lo), max(twin.hi, one.hi)):
            verdict.case(
                "distinct",
                False,
                call=one.id,
                expected=f"{header} other than that of {twin.id}: nothing was given back between the two",
                actual=told,
                at_us=one.hi,
            )
        elif before is not None and not freed.most(min(before.lo, one.lo), max(before.hi, one.hi)):
            verdict.case("distinct", True)
        told_last[told] = before = one


def _in_turn(entries: Iterable[Counted], header: str) -> Iterator[tuple[int, Counted]]:
    """Yield what admissions were told in ``header``, as they were let in at the latest; nothing of a last one."""
    for one in sorted(entries, key=attrgetter("hi")):
        if one.admitted and one.judged and (told := one.figure(header)):
            yield told, one
