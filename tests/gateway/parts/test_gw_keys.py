"""Keys: one credential, known, active; suspensions outlive a restart; no secret is kept."""

from __future__ import annotations

import asyncio

import pytest
from gw_support import account, digest, run, store

from harness.gateway.deployment import AccountSeed, KeySeed
from harness.gateway.errors import Refusal
from harness.gateway.keys import Identity, KeyRing
from harness.gateway.memory_store import MemoryStore

ACCOUNTS = (
    account("a", one="active", two="active", off="disabled", old="expired", bad="suspended"),
    account("b", three="active"),
)


def ring(kept: MemoryStore | None = None) -> KeyRing:
    return KeyRing(ACCOUNTS, kept if kept is not None else store())


@pytest.mark.parametrize(
    ("credentials", "identity"),
    [
        (["ck_one"], Identity("a", "one")),
        (["ck_two"], Identity("a", "two")),
        (["ck_three"], Identity("b", "three")),
        (["ck_one", "ck_one"], Identity("a", "one")),
        (["", "ck_one", "  "], Identity("a", "one")),
        ([" ck_one "], Identity("a", "one")),
    ],
)
def test_a_known_active_key_identifies_its_account(credentials: list[str], identity: Identity) -> None:
    assert ring().identify(credentials) == identity


@pytest.mark.parametrize(
    ("credentials", "name"),
    [
        ([], "invalid_key"),
        (["", " "], "invalid_key"),
        (["ck_one", "ck_two"], "invalid_key"),
        (["ck_one", "ck_bad"], "invalid_key"),
        (["ck_nobody"], "invalid_key"),
        (["one"], "invalid_key"),
        (["CK_one"], "invalid_key"),
        (["ck_off"], "invalid_key"),
        (["ck_old"], "invalid_key"),
        (["ck_\udcff\ud800"], "invalid_key"),
        (["ck_bad"], "suspended_key"),
    ],
)
def test_any_other_credential_is_refused(credentials: list[str], name: str) -> None:
    with pytest.raises(Refusal) as refusal:
        ring().identify(credentials)
    assert refusal.value.name == name
    assert not any(secret.strip() and secret.strip() in refusal.value.message for secret in credentials)


def test_a_key_without_the_prefix_is_refused_even_if_its_digest_is_known() -> None:
    keys = KeyRing([AccountSeed("a", 1, (KeySeed("k", digest("sk_one"), "active"),))], store())
    with pytest.raises(Refusal):
        keys.identify(["sk_one"])


def test_unknown_disabled_and_expired_keys_are_told_apart_by_nobody() -> None:
    messages = set()
    for secret in ("ck_nobody", "ck_off", "ck_old", "one"):
        with pytest.raises(Refusal) as refusal:
            ring().identify([secret])
        messages.add(refusal.value.message)
    assert len(messages) == 1


def test_keys_that_share_the_index_part_of_their_digest_are_told_apart() -> None:
    whole = digest("ck_one")
    near = KeySeed("near", whole[:-1] + ("0" if whole[-1] != "0" else "1"), "active")
    one = KeySeed("one", whole, "active")
    for seeds in ((near, one), (one, near)):
        assert KeyRing([AccountSeed("n", 1, seeds)], store()).identify(["ck_one"]) == Identity("n", "one")
    with pytest.raises(Refusal):
        KeyRing([AccountSeed("n", 1, (near,))], store()).identify(["ck_one"])


def test_a_suspended_key_stays_suspended_across_a_restart_and_others_do_not_notice() -> None:
    async def main() -> None:
        kept = store()
        keys = ring(kept)
        keys.suspend("one")
        keys.suspend("one")
        with pytest.raises(Refusal, match="suspended"):
            keys.identify(["ck_one"])
        await asyncio.sleep(0.01)
        assert list(kept.load()) == [("key", {"key": "one", "state": "suspended"})]
        reborn = ring(kept)
        with pytest.raises(Refusal, match="suspended"):
            reborn.identify(["ck_one"])
        assert reborn.identify(["ck_two"]) == Identity("a", "two")

    run(main())


def test_a_suspension_does_not_wake_a_key_that_its_owner_disabled() -> None:
    async def main() -> None:
        kept = store()
        keys = ring(kept)
        keys.suspend("off")
        with pytest.raises(Refusal) as refusal:
            keys.identify(["ck_off"])
        assert refusal.value.name == "invalid_key"
        await kept.close()
        assert list(kept.load()) == []

    run(main())


def test_a_stored_suspension_of_a_key_that_was_disabled_since_does_not_change_its_answer() -> None:
    async def main() -> None:
        kept = store()
        await kept.append("key", {"key": "off", "state": "suspended"})
        with pytest.raises(Refusal) as refusal:
            ring(kept).identify(["ck_off"])
        assert refusal.value.name == "invalid_key"

    run(main())


def test_a_stored_suspension_of_a_key_that_is_gone_is_no_problem() -> None:
    async def main() -> None:
        kept = store()
        await kept.append("key", {"key": "gone", "state": "suspended"})
        assert ring(kept).identify(["ck_one"]) == Identity("a", "one")

    run(main())


def test_a_key_that_is_not_there_cannot_be_suspended() -> None:
    with pytest.raises(KeyError):
        ring().suspend("nobody")
