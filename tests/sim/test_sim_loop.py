"""The virtual loop: exact time, orders that repeat, and hangs, spins and failures that surface."""

import asyncio
import gc
import math
import random
from collections.abc import AsyncIterator, Callable, Coroutine

import pytest

from harness.sim import DeadlockError, LivelockError, OverrunError, SimulationError, VirtualLoop, clockwork, run

Log = list[object]
kept: list[object] = []

# Time


def test_time_jumps_to_the_next_timer() -> None:
    async def main() -> float:
        await asyncio.sleep(90)
        await asyncio.sleep(3600 * 24 * 30)
        return asyncio.get_running_loop().time()

    assert run(main()) == 90 + 3600 * 24 * 30


def test_sums_of_delays_do_not_drift() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        for _ in range(10_000):
            await asyncio.sleep(0.1)
        assert loop.now_us == 1_000_000_000
        for _ in range(30_000):
            await asyncio.sleep(1 / 3)
        assert loop.now_us == 1_000_000_000 + 30_000 * 333_333
        before_us = loop.now_us
        deadline = loop.time() + 0.1 + 0.2
        loop.call_at(deadline, lambda: None)
        await asyncio.sleep(0.3)
        assert loop.now_us == before_us + 300_000

    run(main())


@pytest.mark.parametrize(("delay_s", "expected_us"), [(1.001, 1_001_000), (0.1 + 0.2, 300_000), (2e-6 / 3, 1)])
def test_delays_are_rounded_to_the_nearest_microsecond(delay_s: float, expected_us: int) -> None:
    async def main() -> int:
        await asyncio.sleep(delay_s)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        return loop.now_us

    assert run(main()) == expected_us


def test_timers_of_one_instant_run_first_in_first_out() -> None:
    order = list(range(200))
    random.Random("timers").shuffle(order)
    ran: list[int] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for number in order:
            if number % 3:
                loop.call_later(0.1 + 0.2, ran.append, number)
            else:
                loop.call_at(loop.time() + 0.3, ran.append, number)
        for number in order[::7]:
            loop.call_later(0.3, ran.append, -number)
        await asyncio.sleep(1)

    run(main())
    assert ran == order + [-number for number in order[::7]]


def test_a_wait_shorter_than_the_clocks_step_still_ends() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + 0.000_001_3
        while loop.time() < deadline:  # noqa: ASYNC110 - what wait_for and the like amount to
            await asyncio.sleep(deadline - loop.time())
        assert loop.time() == 0.000_002

    run(main())


def test_the_first_instant_can_be_chosen() -> None:
    async def main() -> float:
        await asyncio.sleep(1)
        return asyncio.get_running_loop().time()

    assert run(main(), start_us=5_000_000) == 6


def test_cancelled_timers_are_dropped() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        for _ in range(10_000):
            loop.call_later(1000, print).cancel()
        keep = loop.call_later(500, print)
        assert len(loop._timers) < 300
        keep.cancel()
        keep.cancel()
        await asyncio.sleep(10)
        assert loop.time() == 10

    run(main())


def test_an_infinite_wait_sets_no_timer() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        timer = loop.call_later(math.inf, print)
        assert timer.when() == math.inf
        timer.cancel()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(7):
                await asyncio.sleep(math.inf)
        assert loop.time() == 7

    run(main())


# Order of sets


def test_sets_of_tasks_and_futures_order_by_creation() -> None:
    async def main() -> list[list[int]]:
        loop = asyncio.get_running_loop()
        ballast = [object() for _ in range(random.randrange(1000))]  # noqa: F841 - moves memory addresses
        tasks = {asyncio.create_task(asyncio.sleep(0.01, number)): number for number in range(50)}
        futures = {loop.create_future(): number for number in range(50)}
        for future in futures:
            future.set_result(None)
        done, _ = await asyncio.wait(tasks)
        ended, _ = await asyncio.wait(list(futures))
        return [[tasks[task] for task in done], [futures[future] for future in ended]]

    orders = [run(main()) for _ in range(5)]
    assert all(order == orders[0] for order in orders)


def test_tasks_are_of_the_loops_own_making() -> None:
    loop = VirtualLoop()
    try:
        loop.set_task_factory(None)
        with pytest.raises(NotImplementedError, match="makes its tasks itself"):
            loop.set_task_factory(asyncio.Task)
    finally:
        loop.close()


def test_task_names_start_anew_in_each_run() -> None:
    async def main() -> list[str]:
        tasks = [asyncio.create_task(asyncio.sleep(0)) for _ in range(3)]
        await asyncio.gather(*tasks)
        return [task.get_name() for task in tasks]

    assert run(main()) == run(main())


# Hangs and spins


async def _stuck_in_a_generator() -> None:
    async def numbers() -> AsyncIterator[int]:
        await asyncio.Event().wait()
        yield 1

    async for _ in numbers():
        pass


def test_a_deadlock_names_every_pending_task_and_its_line() -> None:
    async def waits_for_an_answer() -> None:
        await asyncio.get_running_loop().create_future()

    async def main() -> None:
        asyncio.create_task(waits_for_an_answer(), name="relay")  # noqa: RUF006 - alive as long as it hangs
        queue: asyncio.Queue[int] = asyncio.Queue()
        reader = asyncio.create_task(queue.get(), name="reader")
        streamer = asyncio.create_task(_stuck_in_a_generator(), name="streamer")
        await asyncio.sleep(1.5)
        await asyncio.wait([reader, streamer])

    with pytest.raises(DeadlockError) as caught:
        run(main())
    text = str(caught.value)
    assert "deadlock at 1.5 s" in text
    assert "main: sim/test_sim_loop.py:" in text
    assert "relay: sim/test_sim_loop.py:" in text
    assert " waits_for_an_answer\n" in text
    assert "reader: asyncio/queues.py:" in text
    assert "streamer: sim/test_sim_loop.py:" in text
    assert " numbers, waiting in asyncio/locks.py:" in text


def test_what_a_deadlock_leaves_is_cancelled() -> None:
    log: Log = []

    async def main() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            log.append("cleaned up")

    with pytest.raises(DeadlockError):
        run(main())
    assert log == ["cleaned up"]


def test_turning_for_ever_in_one_instant_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clockwork, "COLLECT_EVERY", 1000)

    async def main() -> None:
        while True:  # noqa: ASYNC110 - the mistake under test
            await asyncio.sleep(0)

    with pytest.raises(LivelockError, match=r"main: sim/test_sim_loop.py:\d+ main"):
        run(main())


def test_a_run_ends_at_its_limit() -> None:
    async def main(seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "done"

    assert run(main(5), until_us=5_000_000) == "done"
    with pytest.raises(OverrunError, match=r"overrun at .* not done at its limit of 5.0 s; pending:\n  main: "):
        run(main(5.000_001), until_us=5_000_000)


# Failures


async def _fails_unseen() -> None:
    async def fail() -> None:
        raise ZeroDivisionError("unseen")

    asyncio.create_task(fail())  # noqa: RUF006 - dropped, so that nobody sees it
    await asyncio.sleep(1)
    reached.append("after the failure")


async def _fails_kept() -> None:
    async def fail() -> None:
        raise ZeroDivisionError("kept")

    kept.append(asyncio.create_task(fail()))
    await asyncio.sleep(1)


async def _fails_in_a_callback() -> None:
    asyncio.get_running_loop().call_later(0.5, lambda: 1 / 0)
    await asyncio.sleep(1)
    reached.append("after the failure")


async def _fails_while_it_is_cancelled() -> None:
    async def fail() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            raise ZeroDivisionError("on the way out")

    kept.append(asyncio.create_task(fail()))
    await asyncio.sleep(1)


async def _fails_itself() -> None:
    raise ZeroDivisionError


reached: list[str] = []


@pytest.mark.parametrize(
    "main", [_fails_unseen, _fails_kept, _fails_in_a_callback, _fails_while_it_is_cancelled, _fails_itself]
)
def test_a_failure_that_nobody_handles_fails_the_run(main: Callable[[], Coroutine[None, None, None]]) -> None:
    reached.clear()
    with pytest.raises(ZeroDivisionError):
        run(main())
    assert not reached


def test_a_failure_that_somebody_handles_does_not() -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    async def main() -> str:
        task = asyncio.create_task(fail())
        await asyncio.sleep(1)
        with pytest.raises(ZeroDivisionError):
            await task
        return "fine"

    assert run(main()) == "fine"


def test_a_pending_task_that_nobody_holds_is_a_failure() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        task = loop.create_task(asyncio.Event().wait(), name="lost")
        await asyncio.sleep(1)
        del task
        gc.collect()
        await asyncio.sleep(1)

    with pytest.raises(SimulationError, match=r"destroyed but it is pending.*lost"):
        run(main())


def test_the_first_of_several_failures_is_raised() -> None:
    async def fail(after_s: float) -> None:
        await asyncio.sleep(after_s)
        raise RuntimeError(f"after {after_s}")

    async def main() -> None:
        for after_s in (3, 1, 2):
            asyncio.create_task(fail(after_s))  # noqa: RUF006
        await asyncio.sleep(10)

    with pytest.raises(RuntimeError, match="after 1"):
        run(main())


def test_an_interrupt_gets_out_and_the_rest_is_cancelled() -> None:
    log: Log = []

    async def other() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            log.append("other cancelled")

    async def main() -> None:
        task = asyncio.create_task(other())
        asyncio.get_running_loop().set_exception_handler(lambda *_: log.append("handled"))
        await asyncio.sleep(1)
        log.append(task.done())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(main())
    assert log == [False, "other cancelled"]


def test_what_is_left_at_the_end_is_cancelled_in_order_of_creation() -> None:
    log: Log = []

    async def left(name: int) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(0.5)
            log.append(name)

    async def main() -> None:
        kept.extend(asyncio.create_task(left(name)) for name in range(20))
        await asyncio.sleep(1)

    run(main())
    assert log == list(range(20))


# Housekeeping


@pytest.mark.parametrize("collecting", [True, False])
def test_the_collector_is_off_while_the_loop_turns_and_as_before_afterwards(collecting: bool) -> None:
    async def main() -> bool:
        return gc.isenabled()

    before = gc.isenabled()
    (gc.enable if collecting else gc.disable)()
    try:
        assert run(main()) is False
        assert gc.isenabled() is collecting
    finally:
        (gc.enable if before else gc.disable)()


def test_garbage_is_collected_at_the_same_step_of_every_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clockwork, "COLLECT_EVERY", 500)

    class Cyclic:
        def __init__(self, turn: int, log: Log, loop: asyncio.AbstractEventLoop) -> None:
            self.me = self
            self.turn, self.log, self.loop = turn, log, loop

        def __del__(self) -> None:
            if self.loop.is_running():
                self.log.append((self.turn, self.loop.time()))

    async def main(log: Log) -> None:
        for turn in range(2000):
            Cyclic(turn, log, asyncio.get_running_loop())
            await asyncio.sleep(0.001)

    logs: list[Log] = [[], []]
    for log in logs:
        run(main(log))
        [[] for _ in range(random.randrange(500))]
    assert logs[0] == logs[1]
    assert len(logs[0]) > 1000


def test_debug_mode_is_tolerated() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        loop.slow_callback_duration = 0
        await asyncio.gather(asyncio.sleep(1), asyncio.create_task(asyncio.sleep(2)))
        return loop.time()

    assert run(main()) == 2


def test_a_closed_loop_takes_no_callbacks() -> None:
    loop = VirtualLoop()
    loop.run(asyncio.sleep(1))
    loop.close()
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        loop.call_soon(print)
    with pytest.raises(RuntimeError, match="closed"):
        loop.call_later(1, print)
    with pytest.raises(RuntimeError, match="closed"):
        loop.run_forever()


def test_one_loop_runs_several_times() -> None:
    loop = VirtualLoop()
    try:
        assert loop.run(asyncio.sleep(1, "first")) == "first"
        with pytest.raises(DeadlockError):
            loop.run(asyncio.Event().wait())
        assert loop.run(asyncio.sleep(1, "second")) == "second"
        assert loop.time() == 2
    finally:
        loop.close()
