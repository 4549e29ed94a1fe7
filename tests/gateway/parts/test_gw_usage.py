"""Usage is read by the provider's identities, or not at all."""

from __future__ import annotations

from typing import Any

import pytest
from gw_support import CONTRACT, settled
from hypothesis import given
from hypothesis import strategies as st

from harness.gateway.usage import Usage, UsageProblem, read_usage

CHAT, RESPONSES, MESSAGES = (CONTRACT.usage_of(surface) for surface in ("chat", "responses", "messages"))
CONTEXT = 10_000


def chat(prompt: Any = 100, completion: Any = 20, total: Any = 120, **details: Any) -> dict[str, Any]:
    """Return a chat usage object; ``cached``, ``written`` and ``reasoning`` go into its details."""
    prompt_details = {
        name: details[key]
        for key, name in (("cached", "cached_tokens"), ("written", "cache_write_tokens"))
        if key in details
    }
    raw = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": total,
        "prompt_tokens_details": prompt_details,
        "completion_tokens_details": {"reasoning_tokens": details.get("reasoning", 0)},
    }
    return {name: value for name, value in raw.items() if value != "absent"}


@pytest.mark.parametrize(
    ("surface", "raw", "usage"),
    [
        (CHAT, chat(), Usage(100, 0, 0, 20)),
        (CHAT, chat(cached=30, written=10), Usage(60, 30, 10, 20)),
        (CHAT, chat(cached=60, written=40), Usage(0, 60, 40, 20)),
        (CHAT, chat(reasoning=20), Usage(100, 0, 0, 20)),
        (CHAT, chat(0, 0, 0), Usage(0, 0, 0, 0)),
        (CHAT, chat(total="absent"), Usage(100, 0, 0, 20)),
        (CHAT, chat(total=None, cached=None), Usage(100, 0, 0, 20)),
        (CHAT, {"prompt_tokens": 5, "completion_tokens": 6}, Usage(5, 0, 0, 6)),
        (CHAT, {"prompt_tokens": 5, "completion_tokens": 6, "prompt_tokens_details": None}, Usage(5, 0, 0, 6)),
        (CHAT, chat(9_000, 1_000, 10_000), Usage(9_000, 0, 0, 1_000)),
        (
            RESPONSES,
            {
                "input_tokens": 50,
                "output_tokens": 7,
                "total_tokens": 57,
                "input_tokens_details": {"cached_tokens": 20, "cache_write_tokens": 5},
                "output_tokens_details": {"reasoning_tokens": 7},
            },
            Usage(25, 20, 5, 7),
        ),
        (
            MESSAGES,
            {
                "input_tokens": 50,
                "output_tokens": 7,
                "cache_read_input_tokens": 200,
                "cache_creation_input_tokens": 30,
                "total_tokens": 999_999,
            },
            Usage(50, 200, 30, 7),
        ),
        (MESSAGES, {"input_tokens": 50, "output_tokens": 7, "cache_read_input_tokens": None}, Usage(50, 0, 0, 7)),
        (MESSAGES, {"input_tokens": 0, "output_tokens": 0}, Usage(0, 0, 0, 0)),
    ],
)
def test_usage_is_split_into_four_disjoint_classes(surface: Any, raw: dict[str, Any], usage: Usage) -> None:
    assert read_usage(surface, raw, CONTEXT) == usage


@pytest.mark.parametrize(
    ("surface", "raw", "flag"),
    [
        (CHAT, None, "usage_missing"),
        (CHAT, [], "usage_missing"),
        (CHAT, {}, "usage_missing"),
        (CHAT, chat("absent"), "usage_missing"),
        (CHAT, chat(completion=None), "usage_missing"),
        (MESSAGES, {"output_tokens": 7}, "usage_missing"),
        (CHAT, chat(-1), "usage_negative"),
        (CHAT, chat(completion=-20), "usage_negative"),
        (CHAT, chat(total=-120), "usage_conflict"),
        (CHAT, chat(cached=-1), "usage_negative"),
        (CHAT, chat(reasoning=-1), "usage_negative"),
        (MESSAGES, {"input_tokens": 5, "output_tokens": 7, "cache_creation_input_tokens": -3}, "usage_negative"),
        (CHAT, chat(True), "usage_conflict"),
        (CHAT, chat(100.0), "usage_conflict"),
        (CHAT, chat("100"), "usage_conflict"),
        (CHAT, chat(cached="many"), "usage_conflict"),
        (CHAT, {"prompt_tokens": 1, "completion_tokens": 1, "prompt_tokens_details": 7}, "usage_conflict"),
        (CHAT, chat(10_001, 0, 10_001), "usage_absurd"),
        (CHAT, chat(9_000, 1_001, 10_001), "usage_absurd"),
        (CHAT, chat(10**18, 1, 20), "usage_absurd"),
        (CHAT, chat(total=10**9), "usage_conflict"),
        (CHAT, chat(total=120.0), "usage_conflict"),
        (CHAT, chat(cached=10**9), "usage_conflict"),
        (CHAT, {"prompt_tokens": True, "completion_tokens": 1}, "usage_conflict"),
        (CHAT, {"prompt_tokens": 1, "completion_tokens": False}, "usage_conflict"),
        (CHAT, chat(reasoning=10_001), "usage_absurd"),
        (MESSAGES, {"input_tokens": 1, "output_tokens": 1, "cache_read_input_tokens": 9_999}, "usage_absurd"),
        (CHAT, chat(total=119), "usage_conflict"),
        (CHAT, chat(total=121), "usage_conflict"),
        (CHAT, chat(cached=101), "usage_conflict"),
        (CHAT, chat(cached=60, written=41), "usage_conflict"),
        (CHAT, chat(reasoning=21), "usage_conflict"),
    ],
)
def test_usage_that_no_charge_may_rest_on_is_flagged(surface: Any, raw: Any, flag: str) -> None:
    with pytest.raises(UsageProblem) as problem:
        read_usage(surface, raw, CONTEXT)
    assert problem.value.flag == flag
    assert str(problem.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda children: st.dictionaries(
        st.sampled_from(["prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "x"]), children
    ),
    max_leaves=8,
)


@settled
@given(st.dictionaries(st.sampled_from(["prompt_tokens", "completion_tokens", "prompt_tokens_details"]), JSON))
def test_whatever_comes_is_usage_within_the_context_or_a_flag(raw: dict[str, Any]) -> None:
    flag = ""
    try:
        usage = read_usage(CHAT, raw, CONTEXT)
    except UsageProblem as problem:
        flag = problem.flag
    else:
        assert min(usage.input, usage.cache_read, usage.cache_write, usage.output) >= 0
        assert usage.total == raw["prompt_tokens"] + raw["completion_tokens"] <= CONTEXT
    assert flag in ("", "usage_missing", "usage_negative", "usage_absurd", "usage_conflict")
