"""The contract's shape: frozen values with the documents' numbers; it may hold no behaviour beyond look-ups.

Durations are whole milliseconds, money is whole credits or decimal strings in dollars, sizes are bytes. Every block
carries ``source`` (document and section, or why it was decided) and ``origin`` (stated, decided, mixed or assumed).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Literal

Origin = Literal["stated", "decided", "mixed", "assumed"]
Tier = Literal["enterprise", "general"]
Media = Literal["text", "image", "video", "audio", "gpu"]
Family = Literal["claude", "other"]
MediaSurface = Literal["images", "video", "audio", "gemini", "gpu"]
Dialect = Literal["openai", "anthropic"]


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars per million tokens as decimal strings with at most four decimals; None where the documents say n/a."""

    input: str
    output: str
    cache_read: str | None
    cache_write: str | None
    origin: Origin
    source: str


@dataclass(frozen=True, slots=True)
class ChainTarget:
    """One place a model is served from: its role in the chain and the id the upstream knows the model by."""

    role: str
    region: str
    upstream_model: str


@dataclass(frozen=True, slots=True)
class Model:
    """A model id as a client names it on one tier.

    ``surfaces`` are the wire surfaces that serve it on its tier: chat, messages, responses, and images on the
    enterprise tier (the general tier's images, video, audio and gemini are listed for the ids of the documents, and
    not served yet).
    """

    id: str
    name: str
    tier: Tier
    media: Media
    family: Family
    surfaces: tuple[str, ...]
    context_tokens: int
    default_output_tokens: int
    price: Price | None
    chain: tuple[ChainTarget, ...]
    cli_only: bool
    source: str


@dataclass(frozen=True, slots=True)
class Limits:
    """Governor limits of one media class; per account and model, but concurrency and queue, which are per model."""

    requests: int
    tokens: int
    window_ms: int
    concurrency: int
    queue_length: int
    queue_wait_ms: int
    queue_tokens: int
    images: int | None
    retry_after_min_s: int
    retry_after_max_s: int
    origin: Origin
    source: str


@dataclass(frozen=True, slots=True)
class UserRate:
    """The general API's per-user request limit: a sliding log over all of a user's keys."""

    requests: int
    window_ms: int
    retry_after_min_s: int
    retry_after_max_s: int
    origin: Origin
    source: str


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long things may take, in milliseconds."""

    connect_ms: int
    silence_ms: int
    text_call_ms: int
    image_call_ms: int
    video_call_ms: int
    gpu_sync_ms: int
    drain_ms: int
    ping_ms: int
    bad_input_ms: int
    origin: Origin
    source: str


@dataclass(frozen=True, slots=True)
class Failover:
    """Which upstream outcomes move a request on, and the pauses in between.

    The n-th pause (n from 0) is ``backoff_ms * backoff_factor**n`` capped at ``backoff_cap_ms``, times a jitter drawn
    from [jitter_low_percent, jitter_high_percent] per cent.
    """

    retries_per_target: int
    backoff_ms: int
    backoff_factor: int
    backoff_cap_ms: int
    jitter_low_percent: int
    jitter_high_percent: int
    client_fault_statuses: tuple[int, ...]
    target_fault_statuses: tuple[int, ...]
    retry_after_s: int
    origin: Origin
    source: str


@dataclass(frozen=True, slots=True)
class Breaker:
    """The circuit breaker's numbers, per model path (model x chain target)."""

    window_ms: int
    min_calls: int
    failure_percent: int
    slow_ms: int | None
    slow_percent: int
    cooldown_ms: int
    cooldown_factor: int
    cooldown_cap_ms: int
    probes: int
    successes_to_close: int
    permit_timeout_ms: int
    origin: Origin
    source: str


@dataclass(frozen=True, slots=True)
class Insurance:
    """Latency insurance of Enterprise calls; ``payout_ratio`` is a decimal string."""

    threshold_ms: int
    payout_ratio: str
    trigger: str
    reason: str
    settle_within_ms: int
    origin: Origin
    source: str


@dataclass(frozen=True, slots=True)
class Money:
    """Credits and the minimum balances."""

    credits_per_usd: int
    general_minimum_credits: int
    enterprise_minimum_credits: int
    origin: Origin
    source: str


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bounds on what a client may send: bytes of a body, levels of nesting, bytes of all headers."""

    body_bytes: int
    nesting: int
    origin: Origin
    source: str


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """One row of the error table. ``name`` is what code and checkers call it; ``precedence`` 1 wins over 2."""

    name: str
    status: int
    type: str
    precedence: int
    when: str
    origin: Origin
    source: str


@dataclass(frozen=True, slots=True)
class HeaderNames:
    """Response and request header names, lower case."""

    governor: str
    concurrency_limit: str
    concurrency_remaining: str
    rpm_limit: str
    rpm_remaining: str
    tpm_limit: str
    tpm_remaining: str
    image_limit: str
    image_remaining: str
    capacity_remaining: str
    circuit: str
    insurance_status: str
    insurance_trigger: str
    insurance_latency_ms: str
    insurance_threshold_ms: str
    insurance_credits: str
    rate_limit: str
    rate_remaining: str
    rate_reset: str
    retry_after: str
    request_id: str
    client_request_id: str
    cache: str
    session: str
    source: str


@dataclass(frozen=True, slots=True)
class Idempotency:
    """The header by which a client marks its tries of one call, and how long the answer is kept for them."""

    header: str
    keep_ms: int
    origin: Origin
    source: str


@dataclass(frozen=True, slots=True)
class LawfulDifferences:
    """How an upstream request may differ from the client's: every other difference breaks CHAT-03 or CLIENT-02.

    ``replaced_fields`` get another value, ``consumed_fields`` vanish, ``added_fields`` may appear (all top-level);
    ``dropped_headers`` do not reach the upstream (credentials, hop-by-hop, the gateway's own controls).
    """

    replaced_fields: tuple[str, ...]
    consumed_fields: tuple[str, ...]
    added_fields: tuple[str, ...]
    dropped_headers: tuple[str, ...]
    source: str


@dataclass(frozen=True, slots=True)
class CliOnly:
    """How the official command line client of the -max models is told: by all of it, on an Anthropic path."""

    pattern: str
    user_agent: str
    app_header: str
    app_value: str
    beta_header: str
    beta_prefix: str
    session_header: str
    origin: Origin
    source: str


@dataclass(frozen=True, slots=True)
class UsageIdentity:
    """How one surface reports usage: dotted paths into its usage object, and what must hold among them.

    ``includes_cache``: the input count includes cache reads and writes (OpenAI) or stands beside them (Anthropic).
    ``total``: path of the sum of input and output, where the surface has one.
    """

    surface: str
    input: str
    output: str
    cache_read: str
    cache_write: str
    reasoning: str
    total: str
    includes_cache: bool
    source: str


@dataclass(frozen=True, slots=True)
class MediaRule:
    """What a media surface of a tier accepts for some of its models (all of them if ``models`` is empty).

    Empty tuples and None stand for what the documents leave to the provider. ``answer``: the member of each of an
    answer's images that holds it. ``billed_by``: request, image, second, clip or tokens.
    """

    name: str
    tier: Tier
    surface: MediaSurface
    models: tuple[str, ...]
    fields: tuple[str, ...]
    sizes: tuple[str, ...]
    aspect_ratios: tuple[str, ...]
    resolutions: tuple[str, ...]
    count_min: int | None
    count_max: int | None
    references_field: str
    references_max: int | None
    references_kinds: tuple[str, ...]
    reference_min_ms: int | None
    answer: Literal["url", "b64_json"] | None
    billed_by: str
    origin: Origin
    source: str


@dataclass(frozen=True)
class Contract:
    """Everything a gateway promises; the effective one, overlays applied, is what gateway and checkers both get."""

    name: str
    version: str
    models: tuple[Model, ...]
    aliases: Mapping[str, str]
    text: Limits
    image: Limits
    user_rate: UserRate
    timeouts: Timeouts
    failover: Failover
    breaker: Breaker
    insurance: Insurance
    money: Money
    sizes: Sizes
    errors: tuple[ErrorRow, ...]
    headers: HeaderNames
    idempotency: Idempotency
    lawful: LawfulDifferences
    cli_only: CliOnly
    usage: tuple[UsageIdentity, ...]
    media: tuple[MediaRule, ...]
    overlays: tuple[str, ...]

    def model(self, tier: str, model_id: str) -> Model | None:
        """Return the model that ``model_id`` (or what it is an alias of) names on ``tier``, or None."""
        wanted = self.aliases.get(model_id, model_id) if tier == "general" else model_id
        return self._by_id.get((tier, wanted))

    @cached_property
    def data(self) -> Mapping[str, Any]:
        """The contract as JSON data, made once, and therefore not to be changed: every run's plan holds it."""
        made: dict[str, Any] = plain(replace(self, models=()))
        made["models"] = [_model_data(model) for model in self.models]
        return made

    @cached_property
    def _by_id(self) -> Mapping[tuple[str, str], Model]:
        return {(model.tier, model.id): model for model in self.models}

    def error(self, name: str) -> ErrorRow:
        """Return the error row called ``name``; KeyError names the known rows."""
        for row in self.errors:
            if row.name == name:
                return row
        raise KeyError(f"no error row {name!r}; known: {', '.join(sorted(row.name for row in self.errors))}")

    def limits(self, model: Model) -> Limits:
        """Return the governor limits that hold for ``model``."""
        return self.image if model.media == "image" else self.text

    def assumed(self) -> tuple[str, ...]:
        """Return the dotted names of the blocks that no document gives, for reports to repeat."""
        blocks = ("text", "image", "user_rate", "timeouts", "failover", "breaker", "insurance", "money", "sizes")
        names = [name for name in (*blocks, "idempotency", "cli_only") if getattr(self, name).origin == "assumed"]
        names += [f"errors.{row.name}" for row in self.errors if row.origin == "assumed"]
        names += [f"media.{rule.name}" for rule in self.media if rule.origin == "assumed"]
        names += [f"models.{one.id}.price" for one in self.models if one.price and one.price.origin == "assumed"]
        return tuple(dict.fromkeys(names))

    def media_rule(self, model: Model, surface: MediaSurface) -> MediaRule | None:
        """Return what ``surface`` accepts for ``model``: a rule that names it before one that takes all in, or None."""
        rules = [rule for rule in self.media if rule.tier == model.tier and rule.surface == surface]
        named = next((rule for rule in rules if model.id in rule.models), None)
        return named or next((rule for rule in rules if not rule.models), None)

    def usage_of(self, surface: str) -> UsageIdentity:
        """Return the usage identity of ``surface``; KeyError if it has none."""
        for identity in self.usage:
            if identity.surface == surface:
                return identity
        raise KeyError(f"no usage identity for surface {surface!r}")


def plain(value: Any) -> Any:
    """Return a value of the contract, or the whole, as fresh JSON data."""
    if isinstance(value, str | int | None):
        return value
    if isinstance(value, tuple):
        return [plain(one) for one in value]
    if is_dataclass(value):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
    return {key: plain(one) for key, one in value.items()}


@lru_cache(maxsize=1024)
def _model_data(model: Model) -> Mapping[str, Any]:
    """Return a model as JSON data; most overlays leave most models alone, so contracts share it."""
    made: Mapping[str, Any] = plain(model)
    return made
