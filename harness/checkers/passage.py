"""What passes through: the body that an upstream got beside the client's, the client's answer beside the upstream's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from harness.checker import Verdict, checker
from harness.checkers.causes import ran_out
from harness.checkers.flaws import told
from harness.checkers.money import server_of
from harness.checkers.wire import Seen, canonical, fault_names, parsed, seen
from harness.contract import Contract
from harness.history import AttemptSpan, History, Reading

WIDE = 1 << 53
"""From here on integers lose digits in a reader that makes doubles of them."""
OPT_IN_HEADER = "anthropic-beta"
"""The header field that fields of a messages body may depend on: without it a provider refuses them."""
UNKNOWN = "x_"
"""How a field is called that no provider documents, and that no gateway therefore needs to know."""


class Passage(NamedTuple):
    """One request on its way: the client's body, and what one attempt brought to an upstream."""

    seen: Seen
    attempt: AttemptSpan
    mine: Mapping[str, Any]
    theirs: Mapping[str, Any]

    def same(self, name: str) -> bool:
        """Say whether a top-level field arrived as it was sent."""
        return name in self.theirs and canonical(self.mine[name]) == canonical(self.theirs[name])


def surface_of(one: Seen) -> str:
    """Return the surface whose body the call has: a token count has that of a message."""
    surface = one.route.surface if one.route is not None else ""
    return "messages" if surface == "count_tokens" else surface


def passages(history: History, contract: Contract) -> Iterator[Passage]:
    """Yield every attempt whose body is known beside the body of its call."""
    for one in seen(history, contract):
        mine = parsed(history.bodies.get(one.call.request_sha)) if one.attempts and surface_of(one) else None
        if not isinstance(mine, dict):
            continue
        for attempt in one.attempts:
            theirs = parsed(history.bodies.get(attempt.request_sha))
            if isinstance(theirs, dict):
                yield Passage(one, attempt, mine, theirs)


@checker(
    "CHAT-03",
    "chat_body",
    "messages_body",
    "responses_body",
    "images_body",
    "unknown_fields",
    "wide_integers",
    "model_rewritten",
    "hypereal_consumed",
)
def everything_reaches_the_upstream(history: History, contract: Contract, verdict: Verdict) -> None:
    """Everything the client sends reaches the upstream unchanged, but for the contract's lawful differences."""
    for passage in passages(history, contract):
        surface = surface_of(passage.seen)
        changed = _changes(passage, contract)
        _case(
            f"{surface}_body",
            not changed,
            passage,
            "the client's body but for the lawful differences",
            changed,
            verdict,
        )
        unknown = [name for name in passage.mine if name.startswith(UNKNOWN)]
        if unknown:
            lost = [name for name in unknown if not passage.same(name)]
            _case("unknown_fields", not lost, passage, f"{unknown} unchanged", lost, verdict)
        opted = passage.seen.headers.get(OPT_IN_HEADER)
        if opted is not None and surface == "messages":
            got = passage.attempt.headers.get(OPT_IN_HEADER)
            _case("unknown_fields", got == opted, passage, f"{OPT_IN_HEADER}: {opted}", got, verdict)
        wide = _wide_integers(passage.mine)
        if wide:
            theirs = _wide_integers(passage.theirs)
            bent = [f"{path}: {value}" for path, value in wide.items() if theirs.get(path) != value]
            _case("wide_integers", not bent, passage, f"integers unchanged: {wide}", bent or theirs, verdict)
        target = _upstream_model(passage.seen, passage.attempt)
        if target is not None:
            named = passage.theirs.get("model")
            _case("model_rewritten", named == target, passage, f"model {target}", f"model {named}", verdict)
        if "hypereal" in passage.mine:
            ok = "hypereal" not in passage.theirs
            _case("hypereal_consumed", ok, passage, "no hypereal", "hypereal reached the upstream", verdict)


def _changes(passage: Passage, contract: Contract) -> list[str]:
    """Return every unlawful difference between the bodies, by top-level field."""
    lawful, mine, theirs = contract.lawful, passage.mine, passage.theirs
    apart = {*lawful.replaced_fields, *lawful.consumed_fields}
    found = [f"{name} changed or lost" for name in mine if name not in apart and not passage.same(name)]
    found += [f"{name} added" for name in theirs if name not in mine and name not in lawful.added_fields]
    options = mine.get("stream_options")
    if isinstance(options, dict):
        kept = theirs.get("stream_options")
        kept = kept if isinstance(kept, dict) else {}
        lost = [n for n, v in options.items() if n != "include_usage" and canonical(kept.get(n)) != canonical(v)]
        found += [f"stream_options.{name} changed or lost" for name in lost]
    return found


def _wide_integers(value: Any, path: str = "$") -> dict[str, int]:
    """Return every integer that doubles cannot hold, by its place."""
    if isinstance(value, dict):
        members = [(f"{path}.{name}", member) for name, member in value.items()]
    elif isinstance(value, list):
        members = [(f"{path}[{n}]", member) for n, member in enumerate(value)]
    else:
        wide = isinstance(value, int) and not isinstance(value, bool) and abs(value) > WIDE
        return {path: value} if wide else {}
    return {place: number for inner, member in members for place, number in _wide_integers(member, inner).items()}


def _upstream_model(one: Seen, attempt: AttemptSpan) -> str | None:
    chain = one.model.chain if one.model is not None else ()
    return next((target.upstream_model for target in chain if target.role == attempt.upstream), None)


def _case(clause: str, ok: bool, passage: Passage, expected: str, actual: object, verdict: Verdict) -> None:
    call, attempts = passage.seen.call, (passage.attempt,)
    verdict.case(clause, ok, call=call, attempts=attempts, expected=expected, actual=actual)


def owed(history: History, contract: Contract, one: Seen, faults: Iterable[str] = ()) -> list[AttemptSpan]:
    """Return the attempts whose whole answers the gateway had in good time: the caller is owed each of them.

    One is enough for a call, so an attempt behind another is a broken promise of the first. With ``faults`` only
    attempts hit by one of them count, and those too that the gateway itself broke off although the fault is lawful.
    """
    if one.interrupted or one.call.outcome in ("aborted", "open"):
        return []
    hit = fault_names(history) if faults else {}
    may_wait = bool(faults) and not ran_out(one, history, contract)
    in_time_us = min(contract.timeouts.silence_ms * 1000, one.limit_us(contract)) * 8 // 10
    return [
        attempt
        for attempt in one.attempts
        if attempt.status == 200
        and attempt.end - attempt.start < in_time_us
        and (not faults or hit.get(attempt.id, frozenset()) & frozenset(faults))
        and (
            _is_whole(attempt)
            or (attempt.ended == "left" and may_wait and hit.get(attempt.id, frozenset()) <= frozenset(faults))
        )
    ]


def _is_whole(attempt: AttemptSpan) -> bool:
    reading = attempt.reading
    return attempt.ended == "served" and reading.terminal and not reading.error_type


def undelivered(one: Seen, attempt: AttemptSpan, *fields: str) -> list[str]:
    """Return what keeps the caller's answer from being that of ``attempt``; empty if it is, in all ``fields``."""
    if not one.served:
        return [told(one.call)]
    if attempt is not one.attempts[-1]:
        return [f"the answer of another attempt, {one.attempts[-1].id}"]
    return unlike(one.call.reading, attempt.reading, *fields)


def unlike(client: Reading, upstream: Reading, *fields: str) -> list[str]:
    """Return what differs between two readings of one answer, field by field, in a few words."""
    found = []
    for name in fields:
        mine, theirs = getattr(client, name), getattr(upstream, name)
        if (mine != theirs) if isinstance(mine, str) else (canonical(mine) != canonical(theirs)):
            found.append(f"{name}: {_short(mine)} instead of {_short(theirs)}")
    return found


def own_answer_case(clause: str, history: History, one: Seen, verdict: Verdict) -> None:
    """Judge that a served, unstreamed call got the answer that its upstream gave, and nobody else's."""
    server = server_of(one)
    if server is not None:
        differing = unlike(one.call.reading, server.reading, "text", "finish", "items")
    elif one.attempts or not history.has_tap("journal"):
        return
    else:
        differing = ["an answer that no upstream gave to this call"]
    attempts = () if server is None else (server,)
    expected = "the upstream's answer"
    verdict.case(clause, not differing, call=one.call, attempts=attempts, expected=expected, actual=differing)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:120]}...{text[-60:]}"
