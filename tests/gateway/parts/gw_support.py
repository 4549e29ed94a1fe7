"""What the tests of the gateway's parts share: a contract to vary, a virtual clock, a store, accounts."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from harness.contract import Contract, Limits, Model, load_contract
from harness.gateway.clock import Clock
from harness.gateway.deployment import AccountSeed, KeySeed
from harness.gateway.ledger import Ledger
from harness.gateway.memory_store import MemoryStore
from harness.sim.loop import run
from tests.gateway.pages import gathered, told

EPOCH_S = 1_767_225_600
CONTRACT = load_contract()

settled = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For property tests: how long an example takes is no property of the code."""

T = TypeVar("T")

__all__ = [
    "CONTRACT",
    "EPOCH_S",
    "account",
    "clock",
    "contract",
    "digest",
    "entries",
    "gathered",
    "limits",
    "many",
    "model",
    "run",
    "settled",
    "store",
    "told",
]


def contract(**blocks: dict[str, Any]) -> Contract:
    """Return the contract with fields of some blocks changed: ``contract(text={"requests": 3})``."""
    changes: dict[str, Any] = {name: replace(getattr(CONTRACT, name), **fields) for name, fields in blocks.items()}
    return replace(CONTRACT, **changes)


def limits(**fields: Any) -> Limits:
    """Return the text limits with some changed."""
    return replace(CONTRACT.text, **fields)


def model(model_id: str = "gpt-5-5") -> Model:
    """Return an Enterprise model."""
    found = CONTRACT.model("enterprise", model_id)
    assert found is not None
    return found


def clock() -> Clock:
    """Return a clock whose zero is the virtual loop's."""
    return Clock(0.0, EPOCH_S)


def store(commit_s: float = 0.001) -> MemoryStore:
    """Return a simulated store that takes ``commit_s`` to commit."""
    return MemoryStore(lambda n: commit_s)


def entries(ledger: Ledger, account: str | None = None, after: int = 0) -> list[Any]:
    """Return the committed entries of a ledger on a simulated store."""
    return told(ledger.entries(account, after))


def many(elements: st.SearchStrategy[T]) -> st.SearchStrategy[list[T]]:
    """Return lists of ``elements``, short ones and long ones: hypothesis alone prefers about five."""
    return st.lists(elements, max_size=12) | st.lists(elements, min_size=30, max_size=80)


def digest(secret: str) -> str:
    """Return the sha256 of a secret."""
    return sha256(secret.encode()).hexdigest()


def account(name: str, credits: int = 1000, **keys: str) -> AccountSeed:
    """Return an account whose keys are named with their states; the secret of key ``k`` is ``ck_k``."""
    seeds = tuple(KeySeed(key, digest(f"ck_{key}"), state) for key, state in keys.items())
    return AccountSeed(name, credits, seeds)
