"""GOV-08 and RATE-01: general traffic is held by a limit per user, and by nothing of the governor's."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from harness.checker import Verdict, checker
from harness.checkers.admissions import all_listening, crashed_us, slack_us
from harness.checkers.remaining import governor_headers
from harness.checkers.steps import StepSum
from harness.checkers.wire import TEXT_SURFACES, Seen, seen
from harness.contract import Contract
from harness.history import History


@dataclass(slots=True, eq=False)
class Request:
    """One general call as the user's rate met it: in [lo, hi] it was let in, refused (False), or either (None)."""

    seen: Seen
    admitted: bool | None
    lo: int
    hi: int

    @property
    def id(self) -> str:
        return self.seen.call.id

    @property
    def refused(self) -> bool:
        """Whether it was turned away: 429, and no upstream saw it."""
        return self.admitted is False and self.seen.call.status == 429


@dataclass(slots=True, eq=False)
class User:
    """All general calls of one account, and the units that they hold of its one window."""

    limit: int
    window_us: int
    requests: list[Request] = field(default_factory=list)
    before: StepSum = field(default_factory=StepSum)
    sure: StepSum = field(default_factory=StepSum)
    possible: StepSum = field(default_factory=StepSum)
    by_key: defaultdict[str, StepSum] = field(default_factory=lambda: defaultdict(StepSum))

    def add(self, one: Request) -> None:
        """Count ``one`` where it can count."""
        self.requests.append(one)
        if one.admitted is not False:
            self.possible.add(one.lo, one.hi + self.window_us)
        if one.admitted:
            self.before.add(one.hi + 1, one.lo + self.window_us)
            self.sure.add(one.hi, one.lo + self.window_us)
            self.by_key[one.seen.call.key].add(one.hi, one.lo + self.window_us)

    def others_possible(self, one: Request) -> int:
        """Return how many units other calls can have had at ``one``'s instant."""
        return self.possible.most(one.lo, one.hi) - (one.admitted is not False)

    def most_of_one_key(self, one: Request) -> int:
        """Return the units of the key that has most of them."""
        return max((units.at(one.hi) for units in self.by_key.values()), default=0)

    def next_unit(self, one: Request) -> tuple[int, int]:
        """Return the interval in which a unit is free again after ``one`` was refused, nobody else coming."""
        taken = [r for r in self.requests if r.admitted and r.hi < one.lo and one.hi < r.lo + self.window_us]
        others = [r for r in self.requests if r is not one and r.admitted is not False and r not in taken]
        perhaps = [r for r in others if r.lo <= one.hi and one.lo < r.hi + self.window_us]
        lows = sorted(r.lo for r in (*taken, *perhaps))
        highs = sorted(r.hi for r in (*taken, *perhaps))
        least, most = len(taken) - self.limit, len(highs) - self.limit
        return lows[max(0, least)] + self.window_us, highs[max(0, most)] + self.window_us


def users(history: History, contract: Contract) -> dict[str, User]:
    """Return the general calls of ``history`` by account."""
    made: dict[str, User] = {}
    rate = contract.user_rate
    for one in seen(history, contract):
        if one.tier != "general" or one.route is None or one.call.sent >= crashed_us(history):
            continue
        user = made.setdefault(one.call.account, User(rate.requests, rate.window_ms * 1000))
        call = one.call
        answered = call.first_byte if call.first_byte is not None else call.end
        hi = min(one.attempts[0].start, answered) if one.attempts else answered
        admitted: bool | None = True if one.attempts and one.route.surface in TEXT_SURFACES else None
        if admitted is None and call.status is not None and 400 <= call.status < 500:
            admitted = False
        user.add(Request(one, admitted, call.sent - history.skew_us, max(hi, call.sent) + history.skew_us))
    return made


@checker("RATE-01", "per_user", "past_quota")
def user_quota_holds(history: History, contract: Contract, verdict: Verdict) -> None:
    """A user's keys share one quota; past it, and only past it, the answer is 429."""
    for account, user in users(history, contract).items():
        for one in user.requests:
            if one.admitted and user.sure.at(one.hi) > user.limit:
                clauses = ["past_quota"] + (["per_user"] if user.most_of_one_key(one) <= user.limit else [])
                for clause in clauses:
                    verdict.case(
                        clause,
                        False,
                        call=one.id,
                        expected=f"{user.limit} requests of {account} in {user.window_us // 1000} ms",
                        actual=user.sure.at(one.hi),
                        at_us=one.hi,
                    )
            elif one.refused:
                due = user.others_possible(one) >= user.limit
                verdict.case("past_quota", due, call=one.id, expected="an answer: the quota is not used up", actual=429)
                if user.before.least(one.lo, one.hi) >= user.limit > user.most_of_one_key(one):
                    verdict.case("per_user", True)


@checker("RATE-01", "rate_headers", "reset_epoch", "retry_after_range", "retry_after_honest")
def refusals_tell_when_to_return(history: History, contract: Contract, verdict: Verdict) -> None:
    """A refusal tells limit, remaining and reset, and a Retry-After after which one is let in."""
    names, rate = contract.headers, contract.user_rate
    for user in users(history, contract).values():
        for one in user.requests:
            if not one.refused:
                continue
            call, headers = one.seen.call, one.seen.call.headers
            told = {name: headers.get(name) for name in (names.rate_limit, names.rate_remaining)}
            verdict.case(
                "rate_headers",
                told == {names.rate_limit: str(rate.requests), names.rate_remaining: "0"},
                call=call,
                expected=f"{names.rate_limit}: {rate.requests}, {names.rate_remaining}: 0",
                actual=told,
            )
            _reset(one, user, history, headers.get(names.rate_reset, ""), verdict)
            after = headers.get(names.retry_after, "")
            held = after.isascii() and after.isdigit()
            held = held and rate.retry_after_min_s <= int(after) <= rate.retry_after_max_s
            expected = f"a whole number from {rate.retry_after_min_s} to {rate.retry_after_max_s}"
            verdict.case("retry_after_range", held, call=call, expected=expected, actual=after)
            if held:
                _honest(one, user, int(after), slack_us(history), verdict)


def _reset(one: Request, user: User, history: History, told: str, verdict: Verdict) -> None:
    zero_us = history.plan.options.get("wall_us")
    if zero_us is None or user.before.least(one.lo, one.hi) < user.limit:
        return
    low_us, high_us = user.next_unit(one)
    least, most = (-(-(zero_us + at) // 1_000_000) for at in (low_us, high_us + slack_us(history)))
    verdict.case(
        "reset_epoch",
        told.isascii() and told.isdigit() and least <= int(told) <= most,
        call=one.id,
        expected=f"epoch seconds from {least} to {most}",
        actual=told,
    )


def _honest(one: Request, user: User, after_s: int, slack: int, verdict: Verdict) -> None:
    """The first call after Retry-After, if it comes alone, is let in."""
    due = one.seen.call.end + after_s * 1_000_000
    later = [other for other in user.requests if other is not one and other.hi > one.lo]
    probes = [other for other in later if other.seen.call.sent >= due - slack]
    first = min(probes, key=lambda other: other.lo, default=None)
    if first is None or any(
        other.admitted is not False and other.lo <= first.hi for other in later if other is not first
    ):
        return
    verdict.case(
        "retry_after_honest",
        not first.refused,
        call=first.id,
        expected=f"let in, {after_s} s after {one.id} was refused and alone",
        actual=first.seen.call.status,
    )


@checker("GOV-08", "no_headers_on_general", "general_ungoverned", "user_rate_instead")
def general_traffic_is_ungoverned(history: History, contract: Contract, verdict: Verdict) -> None:
    """General traffic carries none of the governor's headers and is held by the user's rate alone."""
    names = (contract.headers.governor, *governor_headers(contract.headers))
    limit_of = {model.id: contract.limits(model).concurrency for model in contract.models if model.tier == "general"}
    slack, listening = slack_us(history), all_listening(history)
    for user in users(history, contract).values():
        for one in user.requests:
            if one.seen.call.status is not None:
                told = [name for name in names if name in one.seen.call.headers]
                verdict.case("no_headers_on_general", not told, call=one.id, expected="no such header", actual=told)
            if one.refused:
                held = user.others_possible(one) >= user.limit
                verdict.case("user_rate_instead" if held else "general_ungoverned", held, call=one.id, actual=429)
            elif (
                one.admitted
                and listening
                and not one.seen.plan.detail.get("upload_ms")
                and one.hi - one.seen.call.sent > 2 * slack + 1
            ):
                waited = one.hi - one.seen.call.sent
                verdict.case("general_ungoverned", False, call=one.id, expected="no queue", actual=f"{waited} us in it")
            if one.admitted and user.sure.at(one.hi) > user.limit:
                verdict.case("user_rate_instead", False, call=one.id, expected=user.limit, actual=user.sure.at(one.hi))
    for model, flying in _flying(history, contract).items():
        if flying.peak()[0] > limit_of.get(model, 0):
            verdict.case("general_ungoverned", True)


def _flying(history: History, contract: Contract) -> dict[str, StepSum]:
    made: defaultdict[str, StepSum] = defaultdict(StepSum)
    for one in seen(history, contract):
        if one.tier == "general" and one.model is not None:
            for attempt in one.attempts:
                made[one.model.id].add(attempt.start, attempt.attached)
    return made
