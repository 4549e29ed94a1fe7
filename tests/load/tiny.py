"""A contract whose ceilings are reached in seconds, for tests of load."""

from __future__ import annotations

from harness.contract import Contract, load_contract

LIMITS = {
    "text.window_ms": 3_000,
    "text.requests": 50,
    "text.tokens": 133_340,
    "image.window_ms": 3_000,
    "image.requests": 20,
    "image.images": 20,
    "image.tokens": 200_003,
    "timeouts.drain_ms": 100,
    "insurance.settle_within_ms": 100,
}


def tiny() -> Contract:
    """Return it: 50 requests and 133,340 tokens in three seconds, and 20 images of 200,003."""
    return load_contract(overlays=[LIMITS])
