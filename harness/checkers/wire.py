"""What the checkers of the wire share: the documents' paths, and a call beside its plan; it judges nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal, NamedTuple

from harness.contract import Contract, Model
from harness.history import AttemptSpan, CallSpan, History, PlannedCall

Tier = Literal["enterprise", "general", "root"]
TEXT_SURFACES = ("chat", "messages", "responses")
CHARGED_SURFACES = (*TEXT_SURFACES, "images")
"""Those whose calls are billed by tokens, and on Enterprise paths admitted by the governor."""
KILL_US = 500_000
"""How long before it is noted a kill may have been done, on sockets."""
CREDENTIAL_HEADERS = ("authorization", "x-api-key", "anthropic-api-key")


class Route(NamedTuple):
    """What a path serves. On tier ``root`` the model id decides whether the Enterprise or the general rules hold."""

    surface: str
    tier: Tier

    @property
    def anthropic(self) -> bool:
        """Whether clients of Anthropic's wire format ask this path."""
        return self.surface in ("messages", "count_tokens")


def _routes() -> dict[str, Route]:
    found = {
        "/v1/managed/chat/completions": Route("chat", "enterprise"),
        "/v1/managed/responses": Route("responses", "enterprise"),
        "/v1/managed/images/generations": Route("images", "enterprise"),
        "/v1/managed/models": Route("models", "enterprise"),
    }
    for prefix in ("/v1", "/api/v1"):
        found[f"{prefix}/chat/completions"] = Route("chat", "general")
        found[f"{prefix}/responses"] = Route("responses", "general")
        found[f"{prefix}/codex/responses"] = Route("responses", "general")
        found[f"{prefix}/models"] = Route("models", "general")
    tiers: tuple[tuple[str, Tier], ...] = (
        ("/v1/managed/messages", "enterprise"),
        ("/v1/messages", "root"),
        ("/api/v1/messages", "general"),
        ("/api/v1/v1/messages", "general"),
    )
    for path, tier in tiers:
        found[path] = Route("messages", tier)
        found[f"{path}/count_tokens"] = Route("count_tokens", tier)
    found["/api/ledger"] = Route("ledger", "general")
    return found


ROUTES = _routes()
"""The paths of the documents that are served, and the account's own ledger."""
BODILESS = ("models", "ledger")
"""Surfaces that are read with GET: their requests have no body, hence no model."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A planned call, what its caller saw of it, and what it asked for by the documents' own reading.

    ``model`` is the contract's entry for the id on the path's tier, None if the path's tier has no such id; ``tier`` is
    the one whose rules hold for the call.
    """

    plan: PlannedCall
    call: CallSpan
    route: Route | None
    tier: str
    model: Model | None
    attempts: tuple[AttemptSpan, ...]
    interrupted: bool = False
    """Whether the gateway or its store may have been broken while it was at work for this call, settlement included."""

    @property
    def words(self) -> frozenset[str]:
        """The words of the call's tag."""
        return frozenset(str(self.plan.detail.get("tag", "")).split())

    @property
    def headers(self) -> dict[str, str]:
        """The headers that the plan sets besides the client's own, by lower-case name."""
        return {name.lower(): value for name, value in self.plan.detail.get("headers", {}).items()}

    @property
    def auth(self) -> tuple[str, ...]:
        """The forms in which the call carried its key."""
        given = self.plan.detail.get("auth", "bearer")
        return tuple(form for form in ((given,) if isinstance(given, str) else given) if form != "none")

    def limit_us(self, contract: Contract) -> int:
        """Return how long the call may run."""
        times = contract.timeouts
        is_image = self.model is not None and self.model.media == "image"
        return 1000 * (times.image_call_ms if is_image else times.text_call_ms)

    def left_early(self, slack_us: int) -> bool:
        """Say whether the client certainly left before the gateway had come to an end with the call.

        What was sent to it, and the news of its leaving, may be ``slack_us`` on their way.
        """
        if self.call.outcome != "aborted":
            return False
        if any(attempt.end > self.call.end + slack_us for attempt in self.attempts):
            return True
        last = self.attempts[-1] if self.attempts else None
        unanswered = not self.plan.stream and self.call.first_byte is None and not slack_us
        return unanswered and last is not None and last.ended != "served"

    @property
    def served(self) -> bool:
        """Whether the caller got a whole answer."""
        return self.call.outcome == "ok" and self.call.status == 200


def seen(history: History, contract: Contract) -> Sequence[Seen]:
    """Return every planned call that was made, in the plan's order (made once per history)."""
    kept: tuple[Seen, ...] | None = history.memo.get("seen")
    if kept is None:
        kept = history.memo["seen"] = tuple(_seen(history, contract))
    return kept


def _seen(history: History, contract: Contract) -> Iterator[Seen]:
    broken = broken_us(history)
    settling_us = contract.insurance.settle_within_ms * 1000 + history.skew_us
    for plan in history.plan.calls:
        call = history.call.get(plan.id)
        if call is None:
            continue
        route = ROUTES.get(plan.path.partition("?")[0])
        tier, model = _model(contract, route, plan)
        attempts = history.attempts_of(plan.id)
        interrupted = False
        if broken:
            over_us = max([call.end, *(attempt.end for attempt in attempts)]) + settling_us
            interrupted = any(call.sent <= last and first <= over_us for first, last in broken)
        yield Seen(plan, call, route, tier, model, attempts, interrupted)


def broken_us(history: History) -> list[tuple[int, int]]:
    """Return from when to when the gateway or its store was broken, at most: a store may fail at any later append."""
    failures = [note.at - history.skew_us for note in history.notes if note.kind == "store_failure"]
    return down_us(history) + [(at_us, sys.maxsize) for at_us in failures]


def down_us(history: History) -> list[tuple[int, int]]:
    """Return from when to when the gateway was not there, at most.

    A kill is noted when it is done, on sockets perhaps a little after that; where none is noted, the plan tells when.
    """
    margin = history.skew_us + (0 if history.plan.mode == "sim" else KILL_US)
    planned = (round(crash["at_ms"] * 1000) for crash in history.plan.options.get("crashes", ()))
    kills = [note.at - margin for note in history.notes if note.kind == "kill"]
    back = [note.at + margin for note in history.notes if note.kind == "crash"]
    if not kills:
        kills = [min(planned, default=0)] * len(back)
    return list(zip_longest(kills, back, fillvalue=sys.maxsize))


def _model(contract: Contract, route: Route | None, plan: PlannedCall) -> tuple[str, Model | None]:
    if route is None:
        return "", None
    if route.tier == "root":
        enterprise = contract.model("enterprise", plan.model)
        return ("enterprise", enterprise) if enterprise else ("general", contract.model("general", plan.model))
    return route.tier, contract.model(route.tier, plan.model)


def images_asked(one: Seen) -> int | None:
    """Return how many images the call asks for: one, unless its body says another number; None if that is unknown."""
    if one.plan.surface != "images":
        return 1
    detail = one.plan.detail
    if detail.get("own_body"):
        return None
    told = detail.get("fields", {}).get("n") or [None]
    asked = told[0]
    if asked is None:
        return 1
    return asked if type(asked) is int and asked > 0 else None


def fault_names(history: History) -> dict[str, frozenset[str]]:
    """Return the faults that hit each attempt, by the attempt's id."""
    found: dict[str, set[str]] = {}
    for fault in history.faults:
        found.setdefault(fault.attempt, set()).add(fault.fault)
    return {attempt: frozenset(names) for attempt, names in found.items()}


def answer_body(history: History, call: CallSpan) -> bytes | None:
    """Return the whole body that the caller got, None where it was not kept or was kept cut."""
    body = history.bodies.get(call.answer_sha) if call.answer_sha else None
    return body if body is not None and len(body) == call.answer_bytes else None


def parsed(body: bytes | None) -> Any:
    """Return a JSON body as values, integers exact; None if there is none or it is no JSON."""
    if body is None:
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def canonical(value: Any) -> str:
    """Return a value as text that tells 1 from 1.0 and from true, and keeps every digit of an integer."""
    return json.dumps(value, sort_keys=True)


def content_type(call: CallSpan) -> str:
    """Return the answer's media type without its parameters, lower case."""
    return call.headers.get("content-type", "").partition(";")[0].strip().lower()
