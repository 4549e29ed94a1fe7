"""Where a call goes: the chain's targets, how often each is tried, the pauses in between; it sends nothing."""

from __future__ import annotations

from harness.contract import ChainTarget, Contract, Model
from harness.gateway.entropy import Entropy


class Router:
    """The contract's failover rules."""

    def __init__(self, contract: Contract, entropy: Entropy) -> None:
        self._failover = contract.failover
        self._entropy = entropy

    def chain(self, model: Model) -> tuple[ChainTarget, ...]:
        """Return the targets of ``model`` in the order in which they are tried."""
        return model.chain

    def tries(self) -> int:
        """Return how often one target is tried at most."""
        return 1 + self._failover.retries_per_target

    def pause_s(self, call: str, n: int, retry_after_s: float | None) -> float | None:
        """Return the pause before the next try of the same target, in seconds; ``n`` pauses of ``call`` went before.

        Grows exponentially to its cap, times a jitter keyed by call and pause, and never undercuts the upstream's
        Retry-After. None when that exceeds the cap: the target is left at once.
        """
        rules = self._failover
        if retry_after_s is not None and retry_after_s * 1000 > rules.backoff_cap_ms:
            return None
        base_ms: int = min(rules.backoff_ms * rules.backoff_factor**n, rules.backoff_cap_ms)
        low, high = rules.jitter_low_percent, rules.jitter_high_percent
        jitter = (low + (high - low) * self._entropy.uniform("pause", call, n)) / 100
        return max(base_ms * jitter / 1000, retry_after_s or 0.0)
