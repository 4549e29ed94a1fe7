"""Slots are never leaked, never oversold, and handed out in turn; the queue keeps to its bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from gw_support import limits, many, run, settled
from hypothesis import given
from hypothesis import strategies as st

from harness.gateway.errors import Refusal
from harness.gateway.slots import Slots


class Room:
    """Slots, and what became of every call that asked for one."""

    def __init__(self, concurrency: int = 1, length: int = 4, tokens: int = 1000, wait_ms: int = 2000) -> None:
        self.slots = Slots(
            limits(concurrency=concurrency, queue_length=length, queue_tokens=tokens, queue_wait_ms=wait_ms)
        )
        self.waits: dict[str, asyncio.Task[None]] = {}
        self.events: list[str] = []

    async def ask(self, call: str, tokens: int = 0) -> None:
        """Let ``call`` (its account is its first letter) ask for a slot, and every task run that can."""
        if self.slots.try_take():
            self.events.append(f"{call} in")
        else:
            self.waits[call] = asyncio.create_task(self._wait(call, tokens))
        await turn()

    async def _wait(self, call: str, tokens: int) -> None:
        try:
            await self.slots.wait(call[0], tokens)
        except Refusal as refusal:
            self.events.append(f"{call} out" if refusal.name == "queue_full" else f"{call} {refusal!r}")
        except asyncio.CancelledError:
            self.events.append(f"{call} gone")
            raise
        else:
            self.events.append(f"{call} in")
        finally:
            del self.waits[call]

    async def leave(self) -> None:
        """Give one slot back, and let every task run that can."""
        self.slots.give_back()
        await turn()

    def heard(self) -> list[str]:
        """Return what happened since this was last asked."""
        events, self.events = self.events, []
        return events


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def in_room(test: Callable[[Room], Awaitable[None]], **room: int) -> None:
    async def main() -> None:
        await test(Room(**room))

    run(main())


def test_as_many_calls_as_slots_go_in_at_once_and_the_next_waits_for_one() -> None:
    async def test(room: Room) -> None:
        for call in ("a1", "a2", "a3"):
            await room.ask(call)
        assert room.heard() == ["a1 in", "a2 in"]
        assert room.slots.remaining == 0
        await room.leave()
        assert room.heard() == ["a3 in"]
        assert room.slots.remaining == 0
        await room.leave()
        await room.leave()
        assert room.slots.remaining == 2

    in_room(test, concurrency=2)


def test_a_freed_slot_goes_to_who_waits_and_never_to_a_newcomer() -> None:
    async def test(room: Room) -> None:
        await room.ask("a1")
        await room.ask("a2")
        room.slots.give_back()
        assert not room.slots.try_take()  # handed over already, although a2 is not awake yet
        await turn()
        assert room.heard() == ["a1 in", "a2 in"]

    in_room(test)


def test_a_waiter_is_refused_when_its_time_is_over_and_not_before() -> None:
    async def test(room: Room) -> None:
        await room.ask("a1")
        await room.ask("a2")
        await asyncio.sleep(1.999999)
        assert room.heard() == ["a1 in"]
        await asyncio.sleep(0.000001)
        await turn()
        assert room.heard() == ["a2 out"]
        await room.leave()
        assert room.slots.remaining == 1

    in_room(test)


def test_past_its_length_the_queue_refuses_at_once_with_a_retry_after() -> None:
    async def test(room: Room) -> None:
        for n in range(5):
            await room.ask(f"a{n}")
        with pytest.raises(Refusal) as refusal:
            await room.slots.wait("a", 0)
        assert refusal.value.name == "queue_full"
        assert refusal.value.headers == {"retry-after": "2"}
        await room.leave()
        await room.ask("a9")
        assert room.heard() == ["a0 in", "a1 in"]
        assert list(room.waits) == ["a2", "a3", "a4", "a9"]

    in_room(test)


def test_the_tokens_of_those_who_wait_are_bounded_too() -> None:
    async def test(room: Room) -> None:
        await room.ask("a0", 999)
        await room.ask("a1", 600)
        await room.ask("a2", 401)
        await room.ask("a3", 400)
        assert room.heard() == ["a0 in", "a2 out"]
        await room.leave()  # a1 goes in, its tokens wait no more
        await room.ask("a4", 600)
        await room.ask("a5", 1)
        assert room.heard() == ["a1 in", "a5 out"]

    in_room(test)


def test_accounts_are_served_in_turn_and_each_in_order_of_arrival() -> None:
    async def test(room: Room) -> None:
        for call in ("a0", "a1", "a2", "a3", "b1", "c1", "b2"):
            await room.ask(call)
        for _ in range(6):
            await room.leave()
        assert room.heard() == [f"{call} in" for call in ("a0", "a1", "b1", "c1", "a2", "b2", "a3")]

    in_room(test, length=10)


def test_when_the_queue_is_full_a_newcomer_below_its_share_takes_a_place_of_the_greediest() -> None:
    async def test(room: Room) -> None:
        for call in ("x0", "a1", "a2", "a3", "b1"):
            await room.ask(call)
        await room.ask("b2")  # the share of each of two is two
        assert room.heard() == ["x0 in", "a3 out"]
        await room.ask("b3")
        assert room.heard() == ["b3 out"]
        await room.ask("c1")  # the share of each of three is one: a and b hold two each, a came first
        assert room.heard() == ["a2 out"]
        await room.ask("d1")
        assert room.heard() == ["b2 out"]
        await room.ask("e1")  # there is no fifth share in four places
        assert room.heard() == ["e1 out"]
        for _ in range(4):
            await room.leave()
        assert room.heard() == [f"{call} in" for call in ("a1", "b1", "c1", "d1")]

    in_room(test)


def test_an_account_alone_may_fill_the_queue_and_gets_no_place_beyond_it() -> None:
    async def test(room: Room) -> None:
        for call in ("x0", "a1", "a2", "a3", "a4", "a5"):
            await room.ask(call)
        assert room.heard() == ["x0 in", "a5 out"]

    in_room(test)


def test_tokens_are_shared_like_places() -> None:
    async def test(room: Room) -> None:
        for call, tokens in (("x0", 0), ("a1", 400), ("a2", 400), ("a3", 200)):
            await room.ask(call, tokens)
        await room.ask("b1", 501)
        assert room.heard() == ["x0 in", "b1 out"]
        await room.ask("b2", 500)
        assert room.heard() == ["a3 out", "a2 out"]
        for _ in range(2):
            await room.leave()
        assert room.heard() == ["a1 in", "b2 in"]

    in_room(test, length=10)


def test_when_tokens_are_short_the_account_with_most_of_them_makes_room() -> None:
    async def test(room: Room) -> None:
        for call, tokens in (("x0", 0), ("a1", 10), ("a2", 10), ("b1", 950)):
            await room.ask(call, tokens)
        await room.ask("c1", 300)
        assert room.heard() == ["x0 in", "b1 out"]

    in_room(test, length=10)


def test_only_those_who_still_wait_weigh_on_their_accounts_share() -> None:
    async def test(room: Room) -> None:
        for call, tokens in (("x0", 0), ("a1", 600), ("a2", 100)):
            await room.ask(call, tokens)
        await room.leave()
        await room.ask("b1", 850)
        await room.ask("a3", 300)
        assert room.heard() == ["x0 in", "a1 in", "b1 out"]

    in_room(test, length=10)


def test_a_cancelled_wait_leaves_no_trace() -> None:
    async def test(room: Room) -> None:
        for call in ("a0", "a1", "a2"):
            await room.ask(call, 400)
        room.waits["a1"].cancel()
        await turn()
        await room.ask("a3", 600)
        assert room.heard() == ["a0 in", "a1 gone"]
        await room.leave()
        await room.leave()
        assert room.heard() == ["a2 in", "a3 in"]
        await room.leave()
        assert room.slots.remaining == 1
        await asyncio.sleep(10)
        assert room.heard() == []

    in_room(test)


@pytest.mark.parametrize("first", ["cancel", "hand over"])
def test_a_slot_handed_over_in_the_instant_of_a_cancellation_goes_to_the_next_in_turn(first: str) -> None:
    async def test(room: Room) -> None:
        for call in ("a0", "a1", "b1"):
            await room.ask(call)
        if first == "cancel":
            room.waits["a1"].cancel()
            room.slots.give_back()
        else:
            room.slots.give_back()
            room.waits["a1"].cancel()
        await turn()
        assert room.heard() in (["a0 in", "a1 gone", "b1 in"], ["a0 in", "b1 in", "a1 gone"])
        await room.leave()
        assert room.slots.remaining == 1

    in_room(test)


def test_a_slot_handed_over_to_a_call_that_leaves_in_that_instant_is_free_if_nobody_waits() -> None:
    async def test(room: Room) -> None:
        await room.ask("a0")
        await room.ask("a1")
        room.slots.give_back()
        room.waits["a1"].cancel()
        await turn()
        assert room.slots.remaining == 1

    in_room(test)


@pytest.mark.parametrize("offset_us", [-1, 0, 1])
def test_a_slot_that_comes_at_the_instant_of_the_timeout_is_not_leaked(offset_us: int) -> None:
    async def test(room: Room) -> None:
        await room.ask("a0")
        loop = asyncio.get_running_loop()
        when = loop.time() + 2 + offset_us / 1e6
        loop.call_at(when, room.slots.give_back)
        await room.ask("a1")
        await asyncio.sleep(3)
        events = room.heard()
        assert events in (["a0 in", "a1 in"], ["a0 in", "a1 out"])
        assert room.slots.remaining == (0 if events[1] == "a1 in" else 1)
        assert (offset_us, events[1]) not in ((-1, "a1 out"), (1, "a1 in"))

    in_room(test)


class Naive:
    """The rules of the queue once more, over plain lists."""

    def __init__(self, concurrency: int, length: int, tokens: int) -> None:
        self.free = concurrency
        self.length = length
        self.tokens = tokens
        self.queue: list[tuple[str, int]] = []
        self.turns: list[str] = []
        self.events: list[str] = []

    def places(self, account: str) -> int:
        return sum(1 for call, _ in self.queue if call[0] == account)

    def weight(self, account: str = "") -> int:
        return sum(tokens for call, tokens in self.queue if call.startswith(account))

    def drop(self, call: str) -> None:
        self.queue = [waiting for waiting in self.queue if waiting[0] != call]
        if not self.places(call[0]):
            self.turns.remove(call[0])

    def full(self, tokens: int) -> bool:
        return len(self.queue) >= self.length or self.weight() + tokens > self.tokens

    def ask(self, call: str, tokens: int) -> None:
        account = call[0]
        if self.free:
            self.free -= 1
            self.events.append(f"{call} in")
            return
        wanting = len({account, *self.turns})
        if self.full(tokens) and (
            self.places(account) + 1 > self.length // wanting or self.weight(account) + tokens > self.tokens // wanting
        ):
            self.events.append(f"{call} out")
            return
        while self.full(tokens):
            crowded = len(self.queue) >= self.length
            greediest = max(self.turns, key=self.places if crowded else self.weight)
            newest = [waiting for waiting, _ in self.queue if waiting[0] == greediest][-1]
            self.drop(newest)
            self.events.append(f"{newest} out")
        self.queue.append((call, tokens))
        if account not in self.turns:
            self.turns.append(account)

    def leave(self) -> None:
        if not self.turns:
            self.free += 1
            return
        account = self.turns[0]
        call = next(waiting for waiting, _ in self.queue if waiting[0] == account)
        self.drop(call)
        if account in self.turns:
            self.turns = [*self.turns[1:], account]
        self.events.append(f"{call} in")

    def cancel(self, call: str) -> None:
        self.drop(call)
        self.events.append(f"{call} gone")


STEPS = many(
    st.tuples(st.sampled_from(["ask", "ask", "ask", "leave", "cancel"]), st.sampled_from("abc"), st.integers(0, 60)),
)


@settled
@given(st.integers(1, 3), st.integers(0, 6), st.sampled_from([0, 60, 90, 120, 1000]), STEPS)
def test_it_agrees_with_the_rules_written_down_naively(
    concurrency: int, length: int, tokens: int, steps: list[tuple[str, str, int]]
) -> None:
    async def main() -> None:
        room, naive = Room(concurrency, length, tokens), Naive(concurrency, length, tokens)
        for number, (action, account, amount) in enumerate(steps):
            if action == "ask":
                await room.ask(f"{account}{number}", amount)
                naive.ask(f"{account}{number}", amount)
            elif action == "leave" and naive.free < concurrency:
                await room.leave()
                naive.leave()
            elif action == "cancel" and naive.queue:
                call = naive.queue[amount % len(naive.queue)][0]
                room.waits[call].cancel()
                await turn()
                naive.cancel(call)
            assert sorted(room.heard()) == sorted(naive.events)
            naive.events = []
            assert room.slots.remaining == naive.free
            assert sorted(room.waits) == sorted(call for call, _ in naive.queue)
        await asyncio.sleep(3)
        assert not room.waits  # nobody waits for ever
        while room.slots.remaining < concurrency:
            await room.leave()
        assert room.slots.remaining == concurrency

    run(main())
