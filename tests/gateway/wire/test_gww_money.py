"""What a call costs and is told: bills, flawed usage, balances, insurance, and that a crash leaves nothing taken."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from gww_bench import (
    CHAT,
    GENERAL_CHAT,
    MANAGED_CHAT,
    MANAGED_MESSAGES,
    MANAGED_RESPONSES,
    MESSAGE,
    RESPONSE,
    Bench,
    Heard,
    Reply,
    Upstreams,
    bench,
    chat_answer,
    chat_events,
    chat_usage,
    message_answer,
    message_events,
    ok,
    response_answer,
    response_events,
    stream,
)

from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.memory_store import MemoryStore
from harness.gateway.relay import Relay
from harness.gateway.settlement import Settler
from harness.gateway.store import StoreError

GENERAL = {**CHAT, "model": "gpt-5"}
INSURANCE_FIELDS = {
    "status", "trigger", "reason", "latency_ms", "threshold_ms", "credits_charged", "credits_compensated",
}  # fmt: skip


def asked(upstreams: Upstreams, path: str = MANAGED_CHAT, body: Any = CHAT, **options: Any) -> tuple[Heard, Bench]:
    """Send one call to a fresh gateway."""

    async def test(gateway: Bench) -> tuple[Heard, Bench]:
        heard = await gateway.ask(path, body)
        await gateway.committed()
        return heard, gateway

    result: tuple[Heard, Bench] = bench(test, upstreams, **options)
    return result


@pytest.mark.parametrize(
    ("path", "body", "answer"),
    [
        (MANAGED_CHAT, CHAT, chat_answer()),
        (MANAGED_MESSAGES, MESSAGE, message_answer()),
        (MANAGED_RESPONSES, RESPONSE, response_answer()),
    ],
)
def test_an_enterprise_answer_tells_its_bill_and_its_insurance(path: str, body: Any, answer: Mapping[str, Any]) -> None:
    heard, gateway = asked(Upstreams(primary=ok(answer, after_s=1.5)), path, body)
    block = heard.json["hypereal"]
    credits = gateway.row()["credits"]
    assert credits > 0
    assert block["billing"] == {
        "model": body["model"],
        "credits_charged": credits,
        "balance_before": 100_000,
        "balance_after": 100_000 - credits,
    }
    insurance = block["insurance"]
    assert set(insurance) == INSURANCE_FIELDS
    assert (insurance["status"], insurance["latency_ms"], insurance["credits_charged"]) == (
        "not_triggered",
        1_500,
        credits,
    )
    told = {
        name.removeprefix("x-hypereal-insurance-"): value
        for name, value in heard.headers.items()
        if "insurance" in name
    }
    assert told == {
        "status": insurance["status"],
        "trigger": insurance["trigger"],
        "latency-ms": str(insurance["latency_ms"]),
        "threshold-ms": str(insurance["threshold_ms"]),
        "credits": str(insurance["credits_compensated"]),
    }


FLAWED = {
    "usage_missing": None,
    "usage_negative": chat_usage(-5, 5),
    "usage_absurd": chat_usage(10**9, 1),
    "usage_conflict": {**chat_usage(), "total_tokens": 7},
}


@pytest.mark.parametrize("flag", FLAWED)
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("path", "body"), [(MANAGED_CHAT, CHAT), (GENERAL_CHAT, GENERAL)])
def test_flawed_usage_is_free_flagged_and_keeps_the_answer(flag: str, streamed: bool, path: str, body: Any) -> None:
    usage = FLAWED[flag]
    reply = stream(*chat_events("hello", usage=usage)) if streamed else ok(chat_answer(usage=usage))
    heard, gateway = asked(Upstreams(primary=reply), path, {**body, "stream": streamed})
    assert heard.status == 200
    assert b"hello" in heard.body
    assert gateway.kinds() == ["hold", "void"]
    row = gateway.row()
    assert (row["status"], row["outcome"], row["credits"], row["flags"]) == (200, "ok", 0, [flag])
    if path == MANAGED_CHAT and not streamed:
        assert heard.json["hypereal"]["billing"]["credits_charged"] == 0
        assert heard.json["hypereal"]["insurance"]["status"] == "not_eligible"


@pytest.mark.parametrize(
    ("path", "body", "events"),
    [
        (MANAGED_MESSAGES, MESSAGE, message_events("a", usage=None)),
        (MANAGED_RESPONSES, RESPONSE, response_events("a", usage=None)),
    ],
)
def test_a_stream_without_its_final_usage_is_free(path: str, body: Any, events: list[bytes]) -> None:
    _, gateway = asked(Upstreams(primary=stream(*events)), path, {**body, "stream": True})
    assert (gateway.row()["credits"], gateway.row()["flags"]) == (0, ["usage_missing"])


def test_explicit_zeros_cost_nothing_and_are_no_flaw() -> None:
    _, gateway = asked(Upstreams(primary=ok(chat_answer(usage=chat_usage(0, 0)))))
    assert (gateway.row()["credits"], gateway.row()["flags"]) == (0, [])
    assert gateway.kinds() == ["hold", "post"]


def test_the_token_window_is_settled_to_what_was_used() -> None:
    async def test(gateway: Bench) -> list[int]:
        remaining = []
        for _ in range(2):
            heard = await gateway.ask(MANAGED_CHAT, CHAT)
            remaining.append(int(heard.headers["x-hypereal-managed-model-tpm-remaining"]))
        return remaining

    first, second = bench(test, Upstreams(primary=ok(chat_answer())))
    estimate = 40_000_000 - first
    assert 100 < estimate < 130
    assert second == first - 1_200


def test_the_slot_is_free_while_the_charge_is_still_to_be_committed() -> None:
    async def test(gateway: Bench) -> None:
        task = asyncio.ensure_future(gateway.ask(MANAGED_CHAT, CHAT))
        await asyncio.sleep(2.0)
        assert (gateway.free_slots(), task.done()) == (79, False)
        await asyncio.sleep(2.0)
        assert (gateway.free_slots(), task.done()) == (80, False)
        assert (await task).status == 200

    bench(test, Upstreams(primary=ok(chat_answer(), after_s=3.0)), commit_s=20.0)


# Who can pay.


@pytest.mark.parametrize(
    ("path", "body", "credits", "status"),
    [
        (GENERAL_CHAT, GENERAL, 199, 402),
        (GENERAL_CHAT, GENERAL, 200, 200),
        (GENERAL_CHAT, {**GENERAL, "max_tokens": 10_000_000}, 200, 200),
        (MANAGED_CHAT, CHAT, 0, 402),
        (MANAGED_CHAT, CHAT, 1, 200),
        (MANAGED_CHAT, {**CHAT, "max_tokens": 1_000_000}, 199, 402),
        (MANAGED_CHAT, {**CHAT, "max_tokens": 1_000_000}, 200, 200),
        (MANAGED_CHAT, {**CHAT, "max_tokens": 60_000}, 190, 200),
        (MANAGED_CHAT, {**CHAT, "max_tokens": 60_000}, 188, 402),
    ],
)
def test_the_balance_lets_in_or_not(path: str, body: Any, credits: int, status: int) -> None:
    heard, gateway = asked(Upstreams(primary=ok(chat_answer())), path, body, credits=credits)
    assert heard.status == status
    if status == 402:
        assert heard.error["type"] == "billing_error"
        assert gateway.upstreams.attempts == []
        assert gateway.kinds() == []


@pytest.mark.parametrize(("path", "body"), [(MANAGED_CHAT, {**CHAT, "max_tokens": 50_000}), (GENERAL_CHAT, GENERAL)])
def test_simultaneous_calls_cannot_pass_on_one_balance(path: str, body: Any) -> None:
    # Enterprise: two holds of 158 credits cannot both be covered, nor is the minimum left. General: a hold deducts.
    credits = 200 if path == GENERAL_CHAT else 250

    async def test(gateway: Bench) -> list[int]:
        heard = await asyncio.gather(*(gateway.ask(path, body) for _ in range(5)))
        return sorted(one.status for one in heard)

    assert bench(test, Upstreams(primary=ok(chat_answer(), after_s=1)), credits=credits) == [200, 402, 402, 402, 402]


def test_the_user_rate_holds_general_traffic_and_the_governor_does_not() -> None:
    async def test(gateway: Bench) -> list[Heard]:
        return [await gateway.ask(GENERAL_CHAT, GENERAL) for _ in range(3)]

    overlay = {"user_rate.requests": 2, "text.requests": 1, "text.concurrency": 1}
    first, second, third = bench(test, Upstreams(primary=ok(chat_answer())), overlay=overlay)
    assert [first.status, second.status, third.status] == [200, 200, 429]
    assert third.headers["x-ratelimit-remaining"] == "0"
    assert 1 <= int(third.headers["retry-after"]) <= 60
    assert not any(name.startswith("x-hypereal") for heard in (first, third) for name in heard.headers)


def test_refusals_by_the_governor_take_nothing_and_carry_the_first_header_alone() -> None:
    async def test(gateway: Bench) -> None:
        heard = await asyncio.gather(*(gateway.ask(MANAGED_CHAT, CHAT) for _ in range(3)))
        assert [one.status for one in heard] == [200, 200, 429]
        refused = heard[2]
        assert refused.error["code"] == "queue_full"
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert [name for name in refused.headers if name.startswith("x-hypereal")] == ["x-hypereal-managed-governor"]
        await gateway.committed()
        assert gateway.kinds() == ["hold", "post"] * 2
        assert [row["outcome"] for row in gateway.rows()] == ["refused", "ok", "ok"]

    overlay = {"text.concurrency": 1, "text.queue_length": 1}
    bench(test, Upstreams(primary=ok(chat_answer(), after_s=1)), overlay=overlay)


# Insurance.


@pytest.mark.parametrize(("took_s", "status"), [(89.999, "not_triggered"), (90.0, "not_triggered"), (90.001, "paid")])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_slower_than_the_threshold_is_paid_in_its_own_entry(took_s: float, status: str, streamed: bool) -> None:
    usage = chat_usage(20_000, 1_000)
    whole = ok(chat_answer(usage=usage), after_s=took_s)
    reply = (
        Reply(200, "text/event-stream", tuple(chat_events("a", usage=usage)), head_after_s=took_s)
        if streamed
        else whole
    )
    heard, gateway = asked(Upstreams(primary=reply), body={**CHAT, "stream": streamed})
    row = gateway.row()
    assert (row["insurance"], row["latency_ms"]) == (status, round(took_s * 1_000))
    paid = status == "paid"
    assert gateway.kinds() == ["hold", "post", *(["payout"] if paid else [])]
    assert row["compensated"] == (4 if paid else 0)
    if streamed:
        assert heard.headers["x-hypereal-insurance-status"] == "pending"
        assert heard.headers["x-hypereal-insurance-threshold-ms"] == "90000"
        assert "x-hypereal-insurance-latency-ms" not in heard.headers
    else:
        block = heard.json["hypereal"]
        assert block["insurance"]["credits_compensated"] == row["compensated"]
        assert block["billing"]["balance_after"] == block["billing"]["balance_before"] - row["credits"]


def test_waiting_failing_and_pausing_count_as_latency() -> None:
    async def test(gateway: Bench) -> list[int]:
        await asyncio.gather(*(gateway.ask(MANAGED_CHAT, CHAT) for _ in range(2)))
        await gateway.committed()
        return [row["latency_ms"] for row in gateway.rows()]

    late = Reply(503, parts=(b"{}",), head_after_s=0.5)
    upstreams = Upstreams(primary=[ok(chat_answer(), after_s=1.0), late, ok(chat_answer(), after_s=1.0)])
    first, second = bench(test, upstreams, overlay={"text.concurrency": 1})
    assert first == 1_000
    assert 2_500 + 125 <= second <= 2_500 + 250


@pytest.mark.parametrize("reuse", ["same-id", ""])
def test_two_slow_calls_of_one_name_are_both_paid(reuse: str) -> None:
    async def test(gateway: Bench) -> list[str]:
        for _ in range(2):
            await gateway.ask(MANAGED_CHAT, CHAT, headers={"x-client-request-id": reuse})
        await gateway.committed()
        return gateway.kinds()

    kinds = bench(test, Upstreams(primary=ok(chat_answer(), after_s=100)))
    assert kinds == ["hold", "post", "payout"] * 2


@pytest.mark.parametrize(("refusals", "paid"), [(1, True), (6, True), (7, False)])
def test_a_payout_that_the_store_refuses_is_tried_again_and_if_owed_said_so(refusals: int, paid: bool) -> None:
    class Refused(Settler):
        async def insure(self, parts: Components, call: Call, bill: Any) -> Any:
            assert isinstance(parts.store, MemoryStore)
            parts.store.fail(refusals)
            return await super().insure(parts, call, bill)

    heard, gateway = asked(
        Upstreams(primary=ok(chat_answer(), after_s=100)),
        change=lambda parts: replace(parts, settler=Refused(parts.contract)),
    )
    assert heard.status == 200
    assert heard.json["hypereal"]["insurance"]["status"] == ("paid" if paid else "pending")
    assert gateway.kinds() == ["hold", "post", *(["payout"] if paid else [])]
    assert gateway.row()["flags"] == ([] if paid else ["payout_failed"])
    assert gateway.row()["compensated"] == int(paid)
    assert gateway.row()["at"] < 101_000_000


# Labels and rows.


@pytest.mark.parametrize(
    ("label", "kept"),
    [
        ("c17", True),
        ("a-b_c.d:e", True),
        ("x" * 64, True),
        ("x" * 65, False),
        ("a b", False),
        ("é", False),
        ("", False),
    ],
)
def test_the_callers_name_for_a_call_is_kept_if_it_is_harmless(label: str, kept: bool) -> None:
    async def test(gateway: Bench) -> Bench:
        await gateway.ask(MANAGED_CHAT, CHAT, headers={"x-client-request-id": label})
        await gateway.committed()
        return gateway

    gateway = bench(test, Upstreams(primary=ok(chat_answer())))
    row = gateway.row()
    assert row["call"] == (label if kept else row["request"])
    assert {entry["call"] for entry in gateway.entries("alice")} == {"", row["call"]}


def test_a_row_has_every_field_of_a_usage_span() -> None:
    _, gateway = asked(Upstreams(primary=ok(chat_answer())))
    assert set(gateway.row()) == {
        "call", "request", "account", "key", "endpoint", "model", "status", "outcome", "credits", "compensated",
        "insurance", "latency_ms", "usage", "flags", "at",
    }  # fmt: skip
    assert (gateway.row()["account"], gateway.row()["key"], gateway.row()["endpoint"]) == (
        "alice",
        "alice-1",
        MANAGED_CHAT,
    )


# Crashes.


class Crashing(Relay):
    """Fails in the middle of an attempt, as only an error of ours can."""

    async def exchange(self, parts: Components, call: Call, target: Any) -> Any:
        await asyncio.sleep(0.1)
        raise KeyError("ck_secret_in_an_error")


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_a_crash_of_the_gateway_is_a_clean_500_and_gives_everything_back(streamed: bool) -> None:
    heard, gateway = asked(
        Upstreams(primary=ok(chat_answer())),
        body={**CHAT, "stream": streamed},
        change=lambda parts: replace(parts, relay=Crashing(parts.contract)),
    )
    assert (heard.status, heard.error["type"], heard.error["code"]) == (500, "api_error", "internal")
    assert gateway.kinds() == ["hold", "void"]
    assert gateway.free_slots() == 80
    assert gateway.row()["outcome"] == "failed"
    told = heard.body.decode() + "".join(gateway.lines)
    assert "ck_secret" not in told
    assert '"crash":"KeyError"' in told


def test_a_handler_that_is_cancelled_gives_everything_back() -> None:
    async def test(gateway: Bench) -> Bench:
        task = asyncio.ensure_future(gateway.ask(MANAGED_CHAT, {**CHAT, "stream": True}))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait((task,))
        assert task.cancelled()
        await gateway.committed()
        return gateway

    gateway = bench(test, Upstreams(primary=stream(*chat_events("a")[:2], 50.0)))
    assert gateway.kinds() == ["hold", "void"]
    assert gateway.free_slots() == 80


def test_a_store_that_keeps_nothing_refuses_calls_and_charges_nobody() -> None:
    async def test(gateway: Bench) -> Heard:
        gateway.store.fail(1)
        heard = await gateway.ask(MANAGED_CHAT, CHAT)
        assert gateway.upstreams.attempts == []
        assert gateway.free_slots() == 80
        return heard

    assert bench(test, Upstreams(primary=ok(chat_answer()))).status == 500


def test_a_charge_that_was_not_kept_is_told_to_nobody() -> None:
    async def test(gateway: Bench) -> Heard:
        task = asyncio.ensure_future(gateway.ask(MANAGED_CHAT, {**CHAT, "stream": True}))
        await asyncio.sleep(1)
        gateway.store.fail_commit()
        heard: Heard = await task
        with pytest.raises(StoreError):
            await gateway.parts.ledger.payout("alice", "x", 1)
        return heard

    upstreams = Upstreams(primary=stream(*chat_events("a")[:2], 2.0, *chat_events("a")[2:]))
    heard = bench(test, upstreams)
    assert b"hypereal" not in heard.body
    assert b"completion_tokens" not in heard.body
    assert b'"code":"internal"' in heard.body
