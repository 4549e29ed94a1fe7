"""Customers' keys for a run: made up from a seed in sim, from the system's randomness on sockets."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from secrets import token_hex  # noqa: TID251 - real sockets need unguessable keys; sim never calls this

from harness.scenario import World

PREFIX = "ck_"


def made_up_secrets(world: World, seed: str) -> Mapping[str, str]:
    """Return a secret per key id, the same for the same seed."""
    return {key: PREFIX + hashlib.sha256(f"{seed}/key/{key}".encode()).hexdigest()[:40] for key in _key_ids(world)}


def random_secrets(world: World) -> Mapping[str, str]:
    """Return a fresh secret per key id."""
    return {key: PREFIX + token_hex(20) for key in _key_ids(world)}


def _key_ids(world: World) -> list[str]:
    return [key.id for account in world.accounts for key in account.all_keys()]
