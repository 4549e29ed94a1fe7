"""What an upstream server knows of a run: its zero, journal, injections, prompt caches, quotas; it sends nothing."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mock_upstreams.answer import Answer, Tokens, Wish, compose, prompt_tokens
from mock_upstreams.caches import PromptCache
from mock_upstreams.counts import Counts
from mock_upstreams.faults.registry import near
from mock_upstreams.injections import Injection, Schedule, read_injections
from mock_upstreams.journal import Journal
from mock_upstreams.marker import Directives
from mock_upstreams.parts import Exchange
from mock_upstreams.providers import DIALECTS, Dialect
from mock_upstreams.providers.base import Problem

EPOCH_S = 1_767_225_600
"""2026-01-01T00:00:00Z: the wall time of a run's zero, unless its start says another. Nothing is judged by it."""
QUOTA_WINDOW_S = 60.0
MOST_RUNS = 1_000
UNSTARTED_KEEPS = 10_000
"""How many spans a run keeps that nobody started: it has no end, and may go on for days."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What ``POST /control/{run}/start`` fixes."""

    zero_s: float
    seed: int = 0
    injections: tuple[Injection, ...] = ()
    bodies: bool = False
    models: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Model ids by provider; a provider that is not named serves any."""
    epoch_s: int = EPOCH_S

    @classmethod
    def from_json(cls, data: Any) -> Settings:
        """Read a start message. Raises ValueError with every problem, one a line."""
        if not isinstance(data, dict):
            raise ValueError("a start message is an object")
        known = ("zero_s", "seed", "injections", "bodies", "models", "epoch_s")
        problems = [f"no field {name!r}{near(name, known)}" for name in data if name not in known]
        zero_s, seed, epoch_s = data.get("zero_s"), data.get("seed", 0), data.get("epoch_s", EPOCH_S)
        if isinstance(zero_s, bool) or not isinstance(zero_s, int | float):
            problems.append("zero_s must be given: an instant of the loop's clock, in seconds")
            zero_s = 0.0
        for name, value in (("seed", seed), ("epoch_s", epoch_s)):
            if isinstance(value, bool) or not isinstance(value, int):
                problems.append(f"{name} must be a whole number")
        bodies = data.get("bodies", False)
        if not isinstance(bodies, bool):
            problems.append("bodies must be true or false")
        injections: tuple[Injection, ...] = ()
        try:
            injections = read_injections(data.get("injections", []))
        except ValueError as error:
            problems.append(str(error))
        models = _models(data.get("models") or {}, problems)
        if problems:
            raise ValueError("\n".join(problems))
        return cls(float(zero_s), seed, injections, bodies, models, epoch_s)


def _models(data: Any, problems: list[str]) -> dict[str, frozenset[str]]:
    providers = {dialect.provider for dialect in DIALECTS.values()}
    if not isinstance(data, dict):
        problems.append("models must be an object: model ids by provider")
        return {}
    found = {}
    for provider, ids in data.items():
        if provider not in providers:
            problems.append(f"models: no provider {provider!r}{near(provider, providers)}")
        elif not isinstance(ids, list) or not all(isinstance(model, str) for model in ids):
            problems.append(f"models: {provider} must be a list of model ids")
        else:
            found[provider] = frozenset(ids)
    return found


@dataclass(slots=True)
class _Upstream:
    """One upstream within a run: attempts so far by call, those under way, its cache, and what its quota has used."""

    attempts: Counts = field(default_factory=Counts)
    inflight: int = 0
    cache: PromptCache = field(default_factory=PromptCache)
    window: int = -1
    requests: int = 0
    tokens: int = 0


class Run:
    """One run: isolated from every other on the same server."""

    def __init__(self, settings: Settings, *, started: bool = True) -> None:
        self.settings = settings
        self.started = started
        self.journal = Journal(settings.zero_s, None if started else UNSTARTED_KEEPS)
        self.schedule = Schedule(settings.injections, settings.seed)
        self.bodies: dict[str, bytes] = {}
        self._upstreams: defaultdict[str, _Upstream] = defaultdict(_Upstream)

    def arrive(self, exchange: Exchange) -> None:
        """Count an attempt of its call at its upstream, and as under way there."""
        upstream = self._upstreams[exchange.upstream]
        exchange.ordinal = upstream.attempts.count(exchange.call)
        upstream.inflight += 1
        exchange.inflight = upstream.inflight

    def leave(self, exchange: Exchange) -> None:
        """Count an attempt as no longer under way."""
        self._upstreams[exchange.upstream].inflight -= 1

    def unknown_model(self, dialect: Dialect, model: str) -> Problem | None:
        """Return the refusal of a model that this run's provider does not have, or None."""
        known = self.settings.models.get(dialect.provider)
        if known is None or model in known:
            return None
        return Problem(404, f"The model '{model}' does not exist or you do not have access to it.", "model")

    def keep_body(self, body: bytes) -> str:
        """Keep a request's body if the run keeps bodies, and return its digest; else return ""."""
        if not self.settings.bodies:
            return ""
        digest = hashlib.sha256(body).hexdigest()
        self.bodies.setdefault(digest, body)
        return digest

    def answer(self, dialect: Dialect, exchange: Exchange, directives: Directives, raw: bytes, now_s: float) -> Answer:
        """Return the lawful answer to ``exchange``."""
        upstream = self._upstreams[exchange.upstream]
        prompt = self._prompt(dialect, exchange, directives, raw, upstream)
        since_s = now_s - self.settings.zero_s
        window = int(since_s // QUOTA_WINDOW_S)
        if window != upstream.window:
            upstream.window, upstream.requests, upstream.tokens = window, 0, 0
        answer = compose(
            upstream=exchange.upstream,
            call=exchange.call,
            ordinal=exchange.ordinal,
            directives=directives,
            wish=dialect.wish(exchange.body),
            prompt=prompt,
            created=self.settings.epoch_s + int(since_s),
            quota=(0, 0, 0.0),
        )
        upstream.requests += 1
        upstream.tokens += prompt.input + prompt.cached + prompt.written + answer.tokens.output
        answer.quota = (upstream.requests, upstream.tokens, (window + 1) * QUOTA_WINDOW_S - since_s)
        return answer

    def no_answer(self, exchange: Exchange, now_s: float) -> Answer:
        """Return an empty answer, for a request that is refused: what errors and their headers are made from."""
        return compose(
            upstream=exchange.upstream,
            call=exchange.call,
            ordinal=exchange.ordinal,
            directives=Directives(),
            wish=Wish(),
            prompt=Tokens(),
            created=self.settings.epoch_s + int(now_s - self.settings.zero_s),
            quota=(0, 0, QUOTA_WINDOW_S),
        )

    def _prompt(
        self, dialect: Dialect, exchange: Exchange, directives: Directives, raw: bytes, upstream: _Upstream
    ) -> Tokens:
        """Return the input side of the usage: as the marker tells it, else as the emulated prompt cache has it."""
        told = directives
        if told.input is not None or told.cached is not None or told.written is not None:
            fresh = prompt_tokens(len(raw)) if told.input is None else told.input
            return Tokens(fresh, told.cached or 0, told.written or 0)
        prompt = dialect.prompt(exchange.body, raw)
        if prompt is None:
            return Tokens(prompt_tokens(len(raw)))
        return upstream.cache.tokens(len(raw), prompt.pieces, prompt.breaks, prompt.least_tokens)


class Runs:
    """All runs of a server, bounded in number: past the bound the oldest without attempts under way is dropped."""

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}

    def start(self, name: str, settings: Settings) -> Run:
        """Begin ``name`` anew."""
        self._runs.pop(name, None)
        return self._add(name, Run(settings))

    def known(self, name: str) -> Run | None:
        """Return the run called ``name``, or None."""
        return self._runs.get(name)

    def of(self, name: str, now_s: float) -> Run:
        """Return the run called ``name``; one that nobody started begins now, so that curl alone will do."""
        return self._runs.get(name) or self._add(name, Run(Settings(zero_s=now_s), started=False))

    def names(self) -> list[str]:
        """Return the names of all runs."""
        return sorted(self._runs)

    def _add(self, name: str, run: Run) -> Run:
        if len(self._runs) >= MOST_RUNS:
            idle = next((other for other, kept in self._runs.items() if not kept.journal.open), next(iter(self._runs)))
            del self._runs[idle]
        self._runs[name] = run
        return run
