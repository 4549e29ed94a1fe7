"""Clients that go away: what is drained and charged, what ends at once, and that nothing stays taken."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from gww_bench import (
    CHAT,
    GENERAL_CHAT,
    MANAGED_CHAT,
    SECRET,
    Bench,
    Reply,
    Upstreams,
    bench,
    chat_answer,
    chat_events,
    data,
    gapped,
    ok,
    status,
    stream,
)

from harness.gateway.ledger import Ledger
from tests.gateway.pages import told


def left(upstreams: Upstreams, leave_s: float, *, streamed: bool = False, **options: Any) -> Bench:
    """Send one call whose client leaves after ``leave_s``, and return the gateway when all is over."""

    async def test(gateway: Bench) -> Bench:
        path = options.get("path", MANAGED_CHAT)
        body = {**CHAT, "stream": streamed, "model": "gpt-5" if path == GENERAL_CHAT else "gpt-5-5"}
        heard = await gateway.ask(path, body, leave_s=leave_s)
        assert not heard.complete
        return gateway

    gateway: Bench = bench(test, upstreams, overlay=options.get("overlay"))
    assert gateway.free_slots() == 80
    return gateway


def answering(after_s: float, streamed: bool) -> Reply:
    """An answer that is whole after ``after_s``."""
    if streamed:
        events = chat_events("a", "b")
        return stream(*gapped(events, after_s / len(events)))
    return ok(chat_answer(), after_s=after_s)


@pytest.mark.parametrize("path", [MANAGED_CHAT, GENERAL_CHAT])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_an_answer_that_is_whole_within_the_drain_time_is_charged_once(streamed: bool, path: str) -> None:
    gateway = left(Upstreams(primary=answering(10.0, streamed)), 6.0, streamed=streamed, path=path)
    assert gateway.kinds() == ["hold", "post"]
    row = gateway.row()
    assert (row["outcome"], row["status"], row["flags"]) == ("aborted", 200, [])
    assert row["credits"] > 0
    assert row["insurance"] == ("not_eligible" if path == MANAGED_CHAT else "")
    (attempt,) = gateway.upstreams.attempts
    assert attempt.complete


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_a_client_that_leaves_while_its_charge_is_committed_is_not_insured_by_a_later_start_either(
    streamed: bool,
) -> None:
    async def test(gateway: Bench) -> Bench:
        body = {**CHAT, "stream": streamed}
        await gateway.ask(MANAGED_CHAT, body, leave_s=100.0002)  # a commit takes longer
        await gateway.committed()
        again = Ledger(gateway.parts.store, gateway.parts.clock)
        await again.open(())
        await again.pay_what_is_due()
        assert [one["kind"] for one in told(again.entries("alice"))] == ["opening", "hold", "post"]
        return gateway

    gateway: Bench = bench(test, Upstreams(primary=answering(100.0, streamed)))
    assert (gateway.row()["outcome"], gateway.row()["insurance"]) == ("aborted", "not_eligible")


@pytest.mark.parametrize("path", [MANAGED_CHAT, GENERAL_CHAT])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("overlay", "ends_s"), [({}, 9.0), ({"timeouts.drain_ms": 0}, 4.0), ({"timeouts.drain_ms": 2_000}, 6.0)]
)
def test_one_that_is_not_whole_by_then_is_free_and_says_so(
    streamed: bool, path: str, overlay: dict[str, int], ends_s: float
) -> None:
    upstreams = Upstreams(primary=answering(10.0, streamed))
    gateway = left(upstreams, 4.0, streamed=streamed, path=path, overlay=overlay)
    assert gateway.kinds() == ["hold", "void"]
    row = gateway.row()
    assert (row["outcome"], row["status"], row["credits"]) == ("aborted", 499, 0)
    assert row["flags"] == ["unbilled_disconnect"]
    (void,) = (entry for entry in gateway.entries("alice") if entry["kind"] == "void")
    assert tuple(void["flags"]) == ("unbilled_disconnect",)
    (attempt,) = upstreams.attempts
    assert not attempt.complete
    assert attempt.end_s == pytest.approx(ends_s, abs=0.01)


def test_the_slot_is_held_until_the_upstream_call_ended() -> None:
    async def test(gateway: Bench) -> list[int]:
        call = asyncio.ensure_future(gateway.ask(MANAGED_CHAT, CHAT, leave_s=1.0))
        free = []
        for wait_s in (0.5, 1.5, 3.9, 0.2):
            await asyncio.sleep(wait_s)
            free.append(gateway.free_slots())
        await call
        return free

    assert bench(test, Upstreams(primary=Reply(head_after_s=60))) == [79, 79, 79, 80]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("failure", [status(503), Reply(refuse=httpx.ReadError("x")), Reply()])
def test_no_further_attempt_is_started_for_nobody(failure: Reply, streamed: bool) -> None:
    late = Reply(failure.status, failure.content_type, (3.0, *failure.parts), head_after_s=3.0, refuse=failure.refuse)
    upstreams = Upstreams(primary=late, second=ok(chat_answer()))
    gateway = left(upstreams, 1.0, streamed=streamed, overlay={"timeouts.drain_ms": 30_000})
    assert upstreams.roles == ["primary"]
    assert gateway.row()["flags"] == ["unbilled_disconnect"]
    assert gateway.kinds() == ["hold", "void"]


def test_a_client_that_leaves_in_a_pause_ends_the_call_at_once() -> None:
    overlay = {"failover.backoff_ms": 4_000}
    upstreams = Upstreams(primary=status(500))
    gateway = left(upstreams, 1.0, overlay=overlay)
    assert upstreams.roles == ["primary"]
    assert gateway.row()["at"] == pytest.approx(1_002_000, abs=5_000)


def test_a_client_that_leaves_the_queue_leaves_no_trace() -> None:
    async def test(gateway: Bench) -> None:
        first = asyncio.ensure_future(gateway.ask(MANAGED_CHAT, CHAT))
        await asyncio.sleep(0.1)
        await gateway.ask(MANAGED_CHAT, CHAT, leave_s=0.5)
        assert (await first).status == 200
        heard = await gateway.ask(MANAGED_CHAT, CHAT)
        assert heard.headers["x-hypereal-managed-model-rpm-remaining"] == "14998"
        assert len(gateway.upstreams.attempts) == 2
        await gateway.committed()
        assert [row["outcome"] for row in gateway.rows()] == ["aborted", "ok", "ok"]
        assert gateway.rows()[0]["flags"] == ["unbilled_disconnect"]
        assert gateway.kinds() == ["hold", "post", "hold", "post"]
        assert gateway.free_slots() == 1

    bench(test, Upstreams(primary=ok(chat_answer(), after_s=1.0)), overlay={"text.concurrency": 1})


@pytest.mark.parametrize("failure", [status(400), status(503)])
def test_disconnects_are_no_failures_to_a_circuit_and_real_ones_are(failure: Reply) -> None:
    async def test(gateway: Bench) -> list[str]:
        states: list[str] = []
        for _ in range(2):
            await gateway.ask(MANAGED_CHAT, CHAT, leave_s=1.0)
            states.append(gateway.parts.breaker.state(("gpt-5-5", "primary"), gateway.parts.clock.now_us()))
        return states

    late = Reply(failure.status, failure.content_type, failure.parts, head_after_s=2.0)
    overlay = {"breaker.min_calls": 1, "breaker.cooldown_ms": 100_000}
    states = bench(test, Upstreams(primary=[Reply(head_after_s=90), late]), overlay=overlay)
    assert states == ["closed", "open" if failure.status == 503 else "closed"]


def test_a_client_that_leaves_while_it_sends_is_nobodys_call() -> None:
    async def test(gateway: Bench) -> list[Any]:
        messages = [
            {"type": "http.request", "body": b'{"model":', "more_body": True},
            {"type": "http.disconnect"},
        ]
        sent: list[Any] = []

        async def receive() -> Any:
            return messages.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"authorization", f"Bearer {SECRET}".encode()), (b"content-type", b"application/json")]
        await gateway.app({"type": "http", "method": "POST", "path": MANAGED_CHAT, "headers": headers}, receive, send)
        await gateway.committed()
        assert gateway.row()["outcome"] == "aborted"
        return sent

    assert bench(test, Upstreams(primary=ok(chat_answer()))) == []


def test_a_stream_whose_client_left_writes_no_more_and_pings_nobody() -> None:
    events = chat_events("a", "b")
    parts: list[bytes | float | Exception] = [*events[:2], 3.0, *events[2:4], 20.0]
    gateway = left(Upstreams(primary=stream(*parts)), 1.0, streamed=True, overlay={"timeouts.ping_ms": 500})
    assert gateway.row()["flags"] == ["unbilled_disconnect"]
    assert gateway.kinds() == ["hold", "void"]


def test_an_upstream_that_waits_for_a_reader_goes_on_when_the_reader_leaves() -> None:
    events = chat_events(*("x" * 500_000 for _ in range(24)))

    async def test(gateway: Bench) -> Bench:
        await gateway.ask(MANAGED_CHAT, {**CHAT, "stream": True}, leave_s=3.0, reads_slowly_s=100.0)
        await gateway.committed()
        return gateway

    gateway = bench(test, Upstreams(primary=stream(*gapped(events, 0.01))))
    (attempt,) = gateway.upstreams.attempts
    assert attempt.complete
    assert 3.0 <= attempt.end_s < 4.0
    assert gateway.kinds() == ["hold", "post"]
    assert gateway.row()["outcome"] == "aborted"


def test_an_error_event_in_the_drain_is_no_charge() -> None:
    parts: list[bytes | float | Exception] = [chat_events("a")[1], 3.0, data({"error": {"message": "no"}})]
    gateway = left(Upstreams(primary=stream(*parts)), 1.0, streamed=True)
    assert gateway.row()["outcome"] == "aborted"
    assert gateway.kinds() == ["hold", "void"]
    assert gateway.upstreams.roles == ["primary"]
