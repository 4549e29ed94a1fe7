"""The documents' own contract: its numbers, typed here a second time, and that every block says where it comes from."""

from __future__ import annotations

import dataclasses
import itertools
import json
from fnmatch import fnmatchcase
from typing import Any

import pytest

from harness.contract import Contract, load_contract, overlay_named, with_overlays
from harness.contract.draft import flat

# As the documents print it (000 and 002; 001 lacks four rows). Typed independently of the data files.
ENTERPRISE = """
claude-opus-4-8       | Claude Opus 4.8      | 1M   | 5.25   | 0.525  | 6.56  | 26.25
claude-sonnet-4-7     | Claude Sonnet 4.7    | 1M   | 3.15   | 0.315  | 3.94  | 15.75
claude-haiku-latest   | Claude Haiku Latest  | 200k | 1.05   | 0.105  | 1.31  | 5.25
claude-opus-4-7-max   | Claude Opus 4.7      | 200k | 5.25   | 0.525  | 6.56  | 26.25
claude-opus-4-6-max   | Claude Opus 4.6 (1M) | 1M   | 5.25   | 0.525  | 6.56  | 26.25
claude-opus-4-5-max   | Claude Opus 4.5      | 200k | 5.25   | 0.525  | 6.56  | 26.25
claude-sonnet-4-6-max | Claude Sonnet 4.6    | 200k | 3.15   | 0.315  | 3.94  | 15.75
claude-sonnet-4-5-max | Claude Sonnet 4.5    | 200k | 3.15   | 0.315  | 3.94  | 15.75
claude-haiku-4-5-max  | Claude Haiku 4.5     | 200k | 1.05   | 0.105  | 1.31  | 5.25
gpt-5-5               | GPT-5.5              | 1M   | 5.25   | 0.525  | n/a   | 31.50
deepseek-v4-pro       | DeepSeek V4 Pro      | 1M   | 0.4567 | 0.0038 | n/a   | 0.9135
qwen3-7-max           | Qwen3.7 Max          | 200k | 1.31   | 0.2625 | 1.64  | 3.94
qwen3-7-plus          | Qwen3.7 Plus         | 1M   | 0.42   | 0.084  | 0.525 | 1.68
kimi-latest           | Kimi Latest          | 256k | 0.7182 | 0.1512 | n/a   | 3.59
nano-banana-2         | Nano Banana 2        | 131k | 0.525  | n/a    | n/a   | 3.15
gpt-image-2           | GPT Image 2          | 272k | 8.40   | 2.10   | n/a   | 31.50
"""
CONTEXTS = {"1M": 1_000_000, "200k": 200_000, "256k": 256_000, "131k": 131_000, "272k": 272_000}

GENERAL = {
    "chat": """gpt-5 gpt-5.1 gpt-5.2 gpt-5.3 gpt-5.4 gpt-5.5 gpt-5.5-instant gpt-5.5-pro gpt-5.4-mini gpt-5.4-nano
        gpt-5.4-official gpt-5.4-pro-official gpt-5.2-official gpt-5-pro-official gpt-realtime-1.5-official
        gpt-audio-1.5-official glm-5 qwen3.5-plus qwen3.5-flash qwen3-max deepseek-v3.2 kimi-k2.5 MiniMax-M2.5
        nano-banana-2""",
    "messages": "claude-opus-4-6 claude-sonnet-4-6 claude-haiku-4-5",
    "responses": """gpt-5-codex gpt-5-codex-mini gpt-5.1-codex gpt-5.1-codex-mini gpt-5.1-codex-max gpt-5.2-codex
        gpt-5.3-codex gpt-5.3-codex-spark gpt-5.3-codex-official""",
    "images": """gpt-image-2 gpt-4o-image nano_banana nano_banana_2 gemini-3.1-flash-image-preview
        gemini-2.5-flash-image-preview flux-kontext-pro flux-2-pro doubao-seedream-4-0 doubao-seedream-4-5
        doubao-seedream-5-0 gemini-3.1-flash-image-preview-official flux-kontext-max gemini-2.5-flash-image-official
        nano_banana_pro gemini-3-pro-image-preview flux-2-flex gemini-3-pro-image-preview-official
        gemini-3-pro-image-preview-4K gemini-3.1-fast-imagen gemini-3.1-thinking-imagen gemini-3-1-flash-t2i
        nano-banana-t2i""",
    "video": """wan2.6-flash kling-2-6 MiniMax-Hailuo-02 doubao-seedance-1-0-pro-fast MiniMax-Hailuo-2.3 wan2.6
        kling-video-o1 kling-v3-omni kling-v3 kling-v3-video doubao-seedance-1-0-pro-quality doubao-seedance-2-0
        doubao-seedance-2-0-fast doubao-seedance-1-5-pro Veo3.1-fast-official Veo3.1-quality-official veo3.1-fast
        veo3.1-quality vidu-q3-pro grok-video-3 gemini_omni_flash seedance-2-0-turbo-t2v seedance-2-0-t2v
        seedance-2-0""",
    "audio": "audio-tts audio-clone audio-asr",
    "gemini": """gemini-3-pro-official gemini-3-pro-preview-official gemini-3-flash-official
        gemini-3-flash-preview-official gemini-3.1-pro gemini-3.1-pro-preview-official gemini-3.1-fast
        gemini-3.1-thinking gemini-3.1-flash-lite-preview-official gemini-2.5-pro-official gemini-2.5-flash-official
        gemini-2.5-flash-lite-official gemini-2.0-flash-official gemini-2.0-flash-lite-official gemini-2.0-flash-vip
        gemini-2.5-flash-vip gemini-2.5-pro-vip gemini-3-flash-preview-vip gemini-3.5-thinking gemini-3.5-fast""",
    "gpu": "sdxl wan-video",
}


@pytest.fixture(scope="module")
def contract() -> Contract:
    return load_contract()


def test_the_enterprise_models_are_the_printed_table_digit_for_digit(contract: Contract) -> None:
    rows = []
    for model in contract.models:
        if model.tier == "enterprise":
            price = model.price
            assert price is not None
            assert price.origin == "stated"
            context = next(text for text, tokens in CONTEXTS.items() if tokens == model.context_tokens)
            cells = (price.input, price.cache_read or "n/a", price.cache_write or "n/a", price.output)
            rows.append((model.id, model.name, context, *cells))
    assert rows == [tuple(cell.strip() for cell in line.split("|")) for line in ENTERPRISE.strip().splitlines()]


@pytest.mark.parametrize("surface", GENERAL)
def test_the_general_lists_are_the_documents(contract: Contract, surface: str) -> None:
    listed = {model.id for model in contract.models if model.tier == "general" and surface in model.surfaces}
    gemini_on_chat = set(GENERAL["gemini"].split()) if surface == "chat" else set()
    assert listed == set(GENERAL[surface].split()) | gemini_on_chat


def test_prices_that_the_documents_lack_are_marked_assumed(contract: Contract) -> None:
    general = [model for model in contract.models if model.tier == "general" and model.price]
    assert {model.price.origin for model in general if model.price} == {"assumed"}
    assert {f"models.{model.id}.price" for model in general} | {"user_rate"} == set(contract.assumed())


def test_every_model_has_three_targets_of_distinct_roles_and_upstream_ids(contract: Contract) -> None:
    for model in contract.models:
        assert [target.role for target in model.chain] == ["primary", "second", "third"]
        assert [target.region for target in model.chain] == ["us-east", "us-west", "eu-central"]
        ids = {target.upstream_model for target in model.chain}
        assert len(ids) == 3
        assert all(one.startswith(f"{model.id}:") for one in ids)


def test_cli_only_are_the_claude_max_ids_alone(contract: Contract) -> None:
    marked = {model.id for model in contract.models if model.cli_only}
    assert len(marked) == 6
    assert all(fnmatchcase(one, "claude-*-max") for one in marked)
    others = {"qwen3-7-max", "qwen3-max", "gpt-5.1-codex-max", "flux-kontext-max"}
    assert others <= {model.id for model in contract.models} - marked


def test_enterprise_claude_is_served_on_chat_and_responses_too(contract: Contract) -> None:
    for model in contract.models:
        if model.tier == "enterprise" and model.media == "text":
            claude = model.family == "claude"
            assert ("messages" in model.surfaces) == claude
            assert {"chat", "responses"} <= set(model.surfaces)


def test_older_ids_name_the_latest_of_their_family(contract: Contract) -> None:
    assert dict(contract.aliases) == {
        "claude-sonnet-4-5-20250929": "claude-sonnet-4-6",
        "claude-3-5-sonnet-20241022": "claude-sonnet-4-6",
        "claude-3-5-haiku-20241022": "claude-haiku-4-5",
    }
    served = contract.model("general", "claude-3-5-haiku-20241022")
    assert served is not None
    assert served.id == "claude-haiku-4-5"
    assert contract.model("enterprise", "claude-3-5-haiku-20241022") is None


def test_aliases_hold_on_the_general_tier_alone(contract: Contract) -> None:
    changed = with_overlays(contract, [{"aliases.gpt-5-5": "gpt-5.5"}])
    managed, general = changed.model("enterprise", "gpt-5-5"), changed.model("general", "gpt-5-5")
    assert managed is not None
    assert general is not None
    assert (managed.id, general.id) == ("gpt-5-5", "gpt-5.5")
    assert contract.model("general", "gpt-5-5") is None


def test_an_image_model_is_held_by_the_image_limits_any_other_by_the_texts(contract: Contract) -> None:
    for model in contract.models:
        assert contract.limits(model) is (contract.image if model.media == "image" else contract.text)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("text.requests", 15_000),
        ("text.tokens", 40_000_000),
        ("text.window_ms", 60_000),
        ("text.concurrency", 80),
        ("text.queue_length", 64),
        ("text.queue_wait_ms", 2_000),
        ("text.queue_tokens", 15_000_000_000),
        ("text.images", None),
        ("image.images", 250),
        ("image.tokens", 8_000_000),
        ("insurance.threshold_ms", 90_000),
        ("insurance.payout_ratio", "0.25"),
        ("insurance.trigger", "latency"),
        ("insurance.reason", "latency_threshold_exceeded"),
        ("insurance.settle_within_ms", 1_000),
        ("money.credits_per_usd", 100),
        ("money.general_minimum_credits", 200),
        ("money.enterprise_minimum_credits", 200),
        ("timeouts.ping_ms", 15_000),
        ("timeouts.silence_ms", 120_000),
        ("timeouts.text_call_ms", 300_000),
        ("timeouts.image_call_ms", 120_000),
        ("timeouts.video_call_ms", 600_000),
        ("timeouts.gpu_sync_ms", 240_000),
        ("timeouts.drain_ms", 5_000),
        ("timeouts.connect_ms", 5_000),
        ("timeouts.bad_input_ms", 1_000),
        ("failover.retries_per_target", 1),
        ("failover.client_fault_statuses", (400, 409, 413, 422)),
        ("failover.target_fault_statuses", (401, 402, 403, 404)),
        ("failover.backoff_ms", 250),
        ("failover.backoff_cap_ms", 4_000),
        ("breaker.window_ms", 30_000),
        ("breaker.min_calls", 10),
        ("breaker.failure_percent", 50),
        ("breaker.slow_ms", None),
        ("breaker.cooldown_ms", 10_000),
        ("breaker.cooldown_cap_ms", 120_000),
        ("breaker.probes", 3),
        ("sizes.body_bytes", 64 * 1024 * 1024),
        ("sizes.nesting", 128),
    ],
)
def test_the_numbers_are_the_promised_ones(contract: Contract, key: str, value: object) -> None:
    block, _, name = key.partition(".")
    assert getattr(getattr(contract, block), name) == value


@pytest.mark.parametrize(
    ("name", "status", "kind", "precedence"),
    [
        ("invalid_key", 401, "authentication_error", 1),
        ("suspended_key", 403, "permission_error", 2),
        ("bad_request", 400, "invalid_request_error", 3),
        ("missing_model", 400, "invalid_request_error", 3),
        ("unknown_model", 400, "invalid_request_error", 3),
        ("wrong_endpoint", 400, "invalid_request_error", 3),
        ("too_large", 413, "request_too_large", 3),
        ("unsupported_media", 415, "invalid_request_error", 3),
        ("not_found", 404, "not_found_error", 3),
        ("method_not_allowed", 405, "invalid_request_error", 3),
        ("cli_only", 403, "permission_error", 4),
        ("key_reused", 422, "idempotency_error", 5),
        ("key_in_use", 409, "idempotency_error", 5),
        ("insufficient_balance", 402, "billing_error", 6),
        ("rate_limited", 429, "rate_limit_error", 7),
        ("queue_full", 429, "rate_limit_error", 7),
        ("circuits_open", 503, "overloaded_error", 7),
        ("upstream_rate_limited", 429, "rate_limit_error", 8),
        ("upstream_timeout", 504, "timeout_error", 8),
        ("upstream_error", 502, "api_error", 8),
        ("stream_broken", 502, "api_error", 8),
        ("internal", 500, "api_error", 9),
    ],
)
def test_the_error_table_has_this_row(contract: Contract, name: str, status: int, kind: str, precedence: int) -> None:
    row = contract.error(name)
    assert (row.status, row.type, row.precedence) == (status, kind, precedence)


def test_an_unknown_error_row_or_surface_is_told_with_the_known_ones(contract: Contract) -> None:
    with pytest.raises(KeyError, match="rate_limited"):
        contract.error("rate_limit")
    with pytest.raises(KeyError, match="video"):
        contract.usage_of("video")


@pytest.mark.parametrize(
    ("surface", "paths"),
    [
        (
            "chat",
            (
                "prompt_tokens",
                "completion_tokens",
                "prompt_tokens_details.cached_tokens",
                "prompt_tokens_details.cache_write_tokens",
                "completion_tokens_details.reasoning_tokens",
                "total_tokens",
                True,
            ),
        ),
        (
            "responses",
            (
                "input_tokens",
                "output_tokens",
                "input_tokens_details.cached_tokens",
                "input_tokens_details.cache_write_tokens",
                "output_tokens_details.reasoning_tokens",
                "total_tokens",
                True,
            ),
        ),
        (
            "messages",
            ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "", "", False),
        ),
        (
            "images",
            ("input_tokens", "output_tokens", "input_tokens_details.cached_tokens", "", "", "total_tokens", True),
        ),
    ],
)
def test_usage_is_read_where_the_providers_put_it(contract: Contract, surface: str, paths: tuple[object, ...]) -> None:
    usage = contract.usage_of(surface)
    assert paths == (
        usage.input,
        usage.output,
        usage.cache_read,
        usage.cache_write,
        usage.reasoning,
        usage.total,
        usage.includes_cache,
    )


def test_media_rules_hold_the_documents_sizes_and_limits(contract: Contract) -> None:
    rules = {rule.name: rule for rule in contract.media}
    assert (rules["images"].count_min, rules["images"].count_max) == (1, 10)
    assert rules["gpt-image-2"].sizes == ("1024x1024", "1536x1024", "1024x1536", "2048x2048", "4096x4096")
    assert rules["gpt-image-2"].references_kinds == ("https",)
    nano = rules["gemini-3-1-flash-t2i"]
    assert nano.aspect_ratios == ("1:1", "3:2", "2:3", "4:3", "3:4", "16:9", "9:16", "21:9")
    assert nano.resolutions == ("0.5K", "1K", "2K", "4K")
    assert {rules[name].references_max for name in ("gpt-image-2", "gemini-3-1-flash-t2i")} == {4}
    assert rules["video-omni"].aspect_ratios == ("16:9", "9:16")
    assert rules["audio-clone"].reference_min_ms == 10_000


@pytest.mark.parametrize(
    ("tier", "model_id", "rule", "answer"),
    [
        ("enterprise", "gpt-image-2", "enterprise-images", "b64_json"),
        ("general", "gpt-image-2", "gpt-image-2", "url"),
        ("general", "flux-2-pro", "images", None),
    ],
)
def test_an_image_model_has_the_rule_of_its_tier(
    contract: Contract, tier: str, model_id: str, rule: str, answer: str | None
) -> None:
    model = contract.model(tier, model_id)
    assert model is not None
    found = contract.media_rule(model, "images")
    assert found is not None
    assert (found.name, found.answer) == (rule, answer)


def test_a_model_without_a_media_rule_has_none(contract: Contract) -> None:
    model = contract.model("enterprise", "gpt-5-5")
    assert model is not None
    assert contract.media_rule(model, "images") is None


@pytest.mark.parametrize("header", ["authorization", "x-api-key", "anthropic-api-key", "x-goog-api-key", "cookie"])
def test_no_credential_header_may_reach_an_upstream(contract: Contract, header: str) -> None:
    assert header in contract.lawful.dropped_headers


def test_no_upstream_is_waited_for_to_ask_for_a_body(contract: Contract) -> None:
    assert "expect" in contract.lawful.dropped_headers


def test_every_block_says_its_source_and_origin(contract: Contract) -> None:
    blocks = [getattr(contract, field.name) for field in dataclasses.fields(contract)]
    rows: list[Any] = [*(block for block in blocks if dataclasses.is_dataclass(block)), *contract.errors]
    rows += contract.media
    assert len(rows) > 30
    for row in [*rows, *contract.models, *(model.price for model in contract.models if model.price)]:
        assert row.source
        assert getattr(row, "origin", "stated") in {"stated", "decided", "mixed", "assumed"}


def test_the_short_overlay_scales_times_only_and_keeps_their_order() -> None:
    keys = overlay_named("short")
    assert all(key.endswith("_ms") for key in keys)
    short, long = load_contract(overlays=["short"]), load_contract()
    for made in (short, long):
        times = made.timeouts
        order = (
            times.ping_ms,
            made.insurance.threshold_ms,
            times.silence_ms,
            times.text_call_ms,
            made.breaker.permit_timeout_ms,
        )
        assert all(low < high for low, high in itertools.pairwise(order))
        assert 2 * times.ping_ms < times.silence_ms
        assert made.breaker.permit_timeout_ms > max(times.text_call_ms, times.video_call_ms)
        assert min(made.text.window_ms, made.image.window_ms, made.user_rate.window_ms) >= 2_000
        assert made.failover.backoff_cap_ms >= 1_000
    assert all(isinstance(keys[key], int) and keys[key] < flat(_as_json(long))[key] for key in keys)


def test_a_model_on_both_tiers_is_two_models_and_an_overlay_meets_both(contract: Contract) -> None:
    changed = with_overlays(contract, [{"models.nano-banana-2.context_tokens": 7}])
    for tier in ("enterprise", "general"):
        before, after = contract.model(tier, "nano-banana-2"), changed.model(tier, "nano-banana-2")
        assert before is not None
        assert after is not None
        assert (before.context_tokens, after.context_tokens) == (131_000, 7)
        assert before.price == after.price


def _as_json(contract: Contract) -> dict[str, object]:
    made: dict[str, object] = json.loads(json.dumps(dataclasses.asdict(contract)))
    return made
