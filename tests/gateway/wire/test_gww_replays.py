"""Idempotency keys: one run per account and key, its answer again for a retry, and nothing kept that is no result."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from gww_bench import (
    BOB_SECRET,
    CHAT,
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
    deployment,
    message_answer,
    ok,
    response_answer,
    stream,
)

from harness.gateway.app import build, create_app
from harness.gateway.components import Components
from harness.gateway.entropy import KeyedEntropy
from harness.gateway.memory_store import MemoryStore
from harness.gateway.replays import Replays

KEY = {"idempotency-key": "k1"}
SMALL_BYTES = 4_500
"""Room for two answers, and not for three."""
STREAMED = {**CHAT, "stream": True}


def answers(count: int = 3) -> Upstreams:
    """Return upstreams whose answers differ, so that a second run would show."""
    return Upstreams(primary=[ok(chat_answer(text=f"answer {n}")) for n in range(count)])


def in_turn(upstreams: Upstreams, *asks: dict[str, Any], **options: Any) -> tuple[list[Heard], Bench]:
    """Send calls one after the other to a fresh gateway."""

    async def test(gateway: Bench) -> tuple[list[Heard], Bench]:
        heard = []
        for ask in asks:
            ask = {"path": MANAGED_CHAT, "body": CHAT, "headers": KEY, **ask}
            await asyncio.sleep(ask.pop("after_s", 0))
            heard.append(await gateway.ask(**ask))
            await gateway.committed()
        return heard, gateway

    result: tuple[list[Heard], Bench] = bench(test, upstreams, **options)
    return result


def replayed(heard: Heard) -> bool:
    return heard.headers.get("idempotent-replayed") == "true"


@pytest.mark.parametrize(
    ("path", "body", "answer"),
    [
        (MANAGED_CHAT, CHAT, chat_answer()),
        (MANAGED_MESSAGES, MESSAGE, message_answer()),
        (MANAGED_RESPONSES, RESPONSE, response_answer()),
    ],
)
def test_a_retry_gets_the_first_answer_whole_and_costs_nothing(path: str, body: Any, answer: Any) -> None:
    call = {"path": path, "body": body}
    (first, again), gateway = in_turn(Upstreams(primary=ok(answer)), call, call)
    assert (again.status, again.body) == (first.status, first.body)
    assert {**again.headers, "idempotent-replayed": ""} == {**first.headers, "idempotent-replayed": ""}
    assert (replayed(first), replayed(again), len(gateway.upstreams.attempts)) == (False, True, 1)
    assert gateway.kinds() == ["hold", "post"]
    told = gateway.rows()[1]
    assert (told["status"], told["credits"], told["insurance"], told["flags"]) == (
        200,
        0,
        "not_eligible",
        ["idempotent_replay"],
    )


def test_a_stream_comes_again_with_its_bill_and_without_its_pings() -> None:
    upstreams = Upstreams(primary=stream(*chat_events()[:2], 20.0, *chat_events()[2:]))
    (first, again), gateway = in_turn(upstreams, {"body": STREAMED}, {"body": STREAMED})
    assert (again.events, again.headers["content-type"]) == (first.events, first.headers["content-type"])
    assert b"balance_after" in again.body
    assert gateway.kinds() == ["hold", "post"]


@pytest.mark.parametrize("body", [CHAT, STREAMED])
def test_what_a_client_that_left_was_charged_for_is_there_when_it_comes_again(body: dict[str, Any]) -> None:
    whole = ok(chat_answer())
    reply = stream(*chat_events(), head_after_s=1) if "stream" in body else replace(whole, head_after_s=1)
    (left, again), gateway = in_turn(Upstreams(primary=reply), {"body": body, "leave_s": 0.5}, {"body": body})
    assert not left.complete
    assert (again.status, replayed(again), gateway.kinds()) == (200, True, ["hold", "post"])
    assert b"balance_after" in again.body


@pytest.mark.parametrize("change", [{"body": {**CHAT, "temperature": 0}}, {"path": "/api/v1/chat/completions"}])
def test_a_key_that_comes_with_another_request_is_refused(change: dict[str, Any]) -> None:
    body = {**CHAT, "model": "gpt-5"} if "path" in change else CHAT
    (_, other), gateway = in_turn(answers(), {}, {"body": body, **change})
    assert (other.status, other.error["type"], other.error["code"]) == (422, "idempotency_error", "key_reused")
    assert len(gateway.upstreams.attempts) == 1


def test_a_retry_while_the_first_call_runs_is_told_so_and_later_gets_the_answer() -> None:
    async def test(gateway: Bench) -> Sequence[Heard]:
        first = asyncio.create_task(gateway.ask(MANAGED_CHAT, CHAT, headers=KEY))
        await asyncio.sleep(0.5)
        early = await gateway.ask(MANAGED_CHAT, CHAT, headers=KEY)
        other = await gateway.ask(MANAGED_CHAT, {**CHAT, "temperature": 0}, headers=KEY)
        return (await first, early, other, await gateway.ask(MANAGED_CHAT, CHAT, headers=KEY))

    upstreams = Upstreams(primary=replace(ok(chat_answer()), head_after_s=1))
    first, early, other, late = bench(test, upstreams)
    assert (early.status, early.error["code"], other.status) == (409, "key_in_use", 422)
    assert (late.body, len(upstreams.attempts)) == (first.body, 1)


def test_an_account_never_meets_the_keys_of_another() -> None:
    heard, gateway = in_turn(answers(), {}, {"secret": BOB_SECRET})
    assert [replayed(one) for one in heard] == [False, False]
    assert heard[0].json["choices"] != heard[1].json["choices"]
    assert gateway.kinds("bob") == ["hold", "post"]


def test_what_an_upstream_failed_at_was_run_and_comes_again() -> None:
    upstreams = Upstreams(primary=[Reply(status=400, parts=(b'{"error": {"message": "no"}}',)), ok(chat_answer())])
    (first, again), gateway = in_turn(upstreams, {}, {})
    assert (first.status, again.status, again.body, replayed(again)) == (400, 400, first.body, True)
    assert (gateway.rows()[1]["outcome"], len(upstreams.attempts)) == ("failed", 1)


def crashes(parts: Components) -> Components:
    """Return a gateway whose price list fails at the first charge."""
    calls: list[int] = []

    class Failing(type(parts.settler)):  # type: ignore[misc] # whatever settler is there
        def cost(self, *args: Any) -> int:
            calls.append(1)
            if len(calls) == 1:
                raise RuntimeError("the gateway itself failed")
            return int(super().cost(*args))

    return replace(parts, settler=Failing(parts.contract))


@pytest.mark.parametrize(
    ("options", "first"),
    [
        ({"credits": 0}, 402),
        ({"overlay": {"text.tokens": 10}}, 429),
        ({"change": crashes}, 500),
    ],
)
def test_what_is_no_result_is_not_kept(options: dict[str, Any], first: int) -> None:
    heard, _ = in_turn(answers(), {}, {}, **options)
    assert heard[0].status == first
    assert [replayed(one) for one in heard] == [False, False]
    assert heard[1].status != 409


def test_a_key_is_new_when_its_time_is_over() -> None:
    keep_s = 30
    heard, gateway = in_turn(
        answers(), {}, {"after_s": keep_s - 5}, {"after_s": 10}, overlay={"idempotency.keep_ms": keep_s * 1000}
    )
    assert [replayed(one) for one in heard] == [False, True, False]
    assert gateway.kinds() == ["hold", "post", "hold", "post"]


def test_what_is_kept_is_bounded_and_the_oldest_goes_first() -> None:
    def small(parts: Components) -> Components:
        return replace(parts, replays=Replays(parts.contract, parts.clock, parts.store, limit_bytes=SMALL_BYTES))

    keys = [{"headers": {"idempotency-key": name}} for name in ("a", "b", "c", "c", "a")]
    heard, gateway = in_turn(answers(5), *keys, change=small)
    assert [replayed(one) for one in heard] == [False, False, False, True, False]
    assert gateway.parts.replays._bytes <= SMALL_BYTES


def test_a_key_that_is_too_long_is_refused_and_one_that_is_empty_is_none() -> None:
    (long, empty, again), gateway = in_turn(
        answers(), {"headers": {"idempotency-key": "k" * 256}}, *[{"headers": {"idempotency-key": ""}}] * 2
    )
    assert (long.status, long.error["code"]) == (400, "bad_request")
    assert (empty.status, again.status, len(gateway.upstreams.attempts)) == (200, 200, 2)


def test_the_key_stays_with_the_gateway() -> None:
    _, gateway = in_turn(answers(), {})
    assert "idempotency-key" not in gateway.upstreams.attempts[0].request.headers


def next_life(gateway: Bench, **changes: Any) -> Bench:
    """Return the gateway that comes after a kill of this one, on what it had committed; it is still to be started."""
    gateway.store.crash()
    parts = build(
        gateway.contract,
        replace(deployment(), **changes),
        store=gateway.store,
        entropy=KeyedEntropy(2),
        transport=gateway.upstreams,
        log=gateway.lines.append,
    )
    return replace(gateway, parts=parts, app=create_app(parts))


@pytest.mark.parametrize("body", [CHAT, STREAMED])
@pytest.mark.parametrize("later_s", [0.0, 50.0])
def test_an_answer_that_was_told_before_a_kill_comes_again_after_it_until_its_time_is_over(
    body: dict[str, Any], later_s: float
) -> None:
    async def test(gateway: Bench) -> tuple[Heard, Heard, Heard, Bench]:
        first = await gateway.ask(MANAGED_CHAT, body, headers=KEY)
        await asyncio.sleep(later_s)
        reborn = next_life(gateway)
        await reborn.parts.start()
        again = await reborn.ask(MANAGED_CHAT, body, headers=KEY)
        return first, again, await reborn.ask(MANAGED_CHAT, {**body, "n": 1}, headers=KEY), reborn

    answer = stream(*chat_events()) if "stream" in body else ok(chat_answer())
    first, again, other, gateway = bench(test, Upstreams(primary=answer), overlay={"idempotency.keep_ms": 40_000})
    kept = later_s == 0
    assert replayed(again) is kept
    assert (again.body == first.body) is kept  # a bill of its own tells other balances
    assert other.status == 422
    assert gateway.kinds() == ["hold", "post"] * (1 if kept else 2)


@pytest.mark.parametrize(("away_s", "kept"), [(30, True), (50, False)])
def test_a_time_of_keeping_is_of_the_walls_clock_however_a_process_counts_its_own(away_s: int, kept: bool) -> None:
    async def test(gateway: Bench) -> Heard:
        await gateway.ask(MANAGED_CHAT, CHAT, headers=KEY)
        now_s = asyncio.get_running_loop().time()
        reborn = next_life(gateway, zero_s=now_s, epoch_s=deployment().epoch_s + away_s)
        await reborn.parts.start()
        return await reborn.ask(MANAGED_CHAT, CHAT, headers=KEY)

    assert replayed(bench(test, answers(), overlay={"idempotency.keep_ms": 40_000})) is kept


@pytest.mark.parametrize("body", [CHAT, STREAMED])
def test_a_charge_whose_answer_a_kill_took_is_given_back_and_the_retry_is_run(body: dict[str, Any]) -> None:
    async def test(gateway: Bench) -> tuple[Heard, Bench]:
        first = asyncio.create_task(gateway.ask(MANAGED_CHAT, body, headers=KEY))
        while gateway.kinds() != ["hold", "post"]:  # noqa: ASYNC110 - the books tell nobody of a commit
            await asyncio.sleep(0.0001)
        reborn = next_life(gateway)
        first.cancel()
        await reborn.parts.start()
        return await reborn.ask(MANAGED_CHAT, body, headers=KEY), reborn

    answer = stream(*chat_events()) if "stream" in body else ok(chat_answer())
    again, gateway = bench(test, Upstreams(primary=answer))
    assert (again.status, replayed(again)) == (200, False)
    assert gateway.kinds() == ["hold", "post", "refund", "hold", "post"]
    entries = gateway.entries("alice")
    assert sum(one["credits"] for one in entries[1:]) == entries[-1]["credits"]  # one charge is left


def test_a_store_that_takes_no_answers_keeps_nobody_from_his() -> None:
    class Full(Replays):
        async def keep(self, call: Any, headers: Any, body: bytes) -> None:
            assert isinstance(self._store, MemoryStore)
            self._store.fail(1)
            await super().keep(call, headers, body)

    (first, again), _ = in_turn(
        answers(), {}, {}, change=lambda parts: replace(parts, replays=Full(parts.contract, parts.clock, parts.store))
    )
    assert (first.status, again.body, replayed(again)) == (200, first.body, True)
