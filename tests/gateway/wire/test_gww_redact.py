"""What no client, log or upstream may read is taken out of texts, and nothing else is."""

from __future__ import annotations

import pytest
from gww_bench import deployment

from harness.gateway.redact import REDACTED, Redactor


@pytest.mark.parametrize(
    "text",
    [
        "ck_live_9hQ2mZ7rT4",
        "ck_a",
        "sk-live-4Tq8zWmVxK2p",
        "Bearer abcdefghijklmnop",
        "up-primary-xyz",
        "http://10.1.2.3:8443/v1",
        "HTTPS://somewhere.else/path?x=1",
        "10.1.2.3:8443",
        "10.1.2.3",
        "primary.upstream",
        "second.example.com:8080",
    ],
)
def test_secrets_and_addresses_vanish(text: str) -> None:
    cleaned = Redactor(deployment()).clean(f"cannot use {text}, sorry ({text})")
    assert cleaned == f"cannot use {REDACTED}, sorry ({REDACTED})"


@pytest.mark.parametrize(
    "text",
    [
        "the key has no ck_ prefix",
        "stack_trace and check_that",
        "task-oriented sk-short",
        "send it as a Bearer token",
        "messages.0.content.1.type: field required",
        "gpt-5.5 and claude-3-5-sonnet-20241022, version 1.2.3",
        "max_tokens: 7 > 5",
        "in a second. Then again in the second",
    ],
)
def test_ordinary_words_stay(text: str) -> None:
    assert Redactor(deployment()).clean(text) == text


def test_a_text_is_one_line_and_bounded() -> None:
    assert Redactor(deployment()).clean("a\nb\x00\x1bc") == "a b c"
    assert Redactor(deployment()).clean("x" * 50, 10) == "x" * 10 + "..."
