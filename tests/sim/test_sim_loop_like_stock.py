"""Stories that a stock asyncio loop and the virtual one must tell alike."""

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable, Coroutine

import pytest

from harness.sim import run

Log = list[object]
Story = Callable[[Log], Coroutine[None, None, None]]


async def callbacks_run_in_order(log: Log) -> None:
    loop = asyncio.get_running_loop()
    loop.call_later(0, log.append, "timer that is due")
    loop.call_soon(log.append, "soon 1")
    loop.call_soon(lambda: loop.call_soon(log.append, "soon within soon"))
    loop.call_soon(log.append, "soon 2")
    dropped = loop.call_soon(log.append, "cancelled")
    dropped.cancel()
    log.append(dropped.cancelled())
    loop.call_soon_threadsafe(log.append, "threadsafe")
    await asyncio.sleep(0.002)


async def timers_run_by_due_time(log: Log) -> None:
    loop = asyncio.get_running_loop()
    for delay_s in (0.006, 0.002, 0.004, -1):
        loop.call_later(delay_s, log.append, delay_s)
    cancelled = loop.call_later(0.003, log.append, "cancelled")
    cancelled.cancel()
    at = loop.time() + 0.005
    handle = loop.call_at(at, log.append, "at")
    log.append((abs(handle.when() - at) < 1e-6, handle.cancelled(), cancelled.cancelled()))
    await asyncio.sleep(0.008)


async def contexts_are_copied(log: Log) -> None:
    variable = contextvars.ContextVar("variable", default="default")
    loop = asyncio.get_running_loop()

    async def child() -> None:
        log.append(variable.get())
        variable.set("child's")

    variable.set("parent's")
    task = asyncio.create_task(child())
    loop.call_soon(lambda: log.append(variable.get()))
    fresh = contextvars.Context()
    loop.call_soon(lambda: log.append(variable.get()), context=fresh)
    loop.call_later(0, lambda: log.append(variable.get()), context=fresh)
    variable.set("later")
    await task
    for _ in range(3):
        await asyncio.sleep(0)
    await asyncio.create_task(child(), context=fresh)
    log.append((variable.get(), fresh[variable]))


async def tasks_are_cancelled(log: Log) -> None:
    async def stubborn() -> str:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError as error:
            log.append(("cancelled", error.args))
        return "went on"

    async def never_begun() -> None:
        log.append("must not begin")

    task = asyncio.create_task(stubborn())
    other = asyncio.create_task(never_begun())
    other.cancel()
    await asyncio.sleep(0)
    task.cancel("why")
    log.append((task.cancelling(), await task))
    try:
        await other
    except asyncio.CancelledError:
        log.append((other.cancelled(), other.done()))


async def timeouts_expire(log: Log) -> None:
    try:
        async with asyncio.timeout(0.002):
            try:
                await asyncio.sleep(10)
            finally:
                log.append("left")
    except TimeoutError:
        log.append("timeout")
    async with asyncio.timeout(10) as kept:
        await asyncio.sleep(0)
    log.append(kept.expired())
    try:
        await asyncio.wait_for(asyncio.Event().wait(), 0.001)
    except TimeoutError:
        log.append("wait_for")
    log.append(await asyncio.wait_for(asyncio.sleep(0, "in time"), 10))
    try:
        async with asyncio.timeout(0.001):
            async with asyncio.timeout(10):
                await asyncio.sleep(10)
    except TimeoutError:
        log.append("outer")
    try:
        async with asyncio.timeout(-1):
            await asyncio.sleep(0)
    except TimeoutError:
        log.append("due at once")


async def primitives_wake_in_order(log: Log) -> None:
    event, lock, semaphore = asyncio.Event(), asyncio.Lock(), asyncio.Semaphore(2)
    condition = asyncio.Condition()
    queue: asyncio.Queue[int] = asyncio.Queue(2)

    async def worker(name: int) -> None:
        await event.wait()
        async with lock:
            log.append(("lock", name))
            await asyncio.sleep(0)
        async with semaphore:
            log.append(("in", name))
            await asyncio.sleep(0)
            log.append(("out", name))
        async with condition:
            await condition.wait()
            log.append(("notified", name))

    async def producer() -> None:
        for number in range(5):
            await queue.put(number)
            log.append(("put", number))

    workers = [asyncio.create_task(worker(name)) for name in range(4)]
    event.set()
    for _ in range(20):
        await asyncio.sleep(0)
    async with condition:
        condition.notify(2)
    await asyncio.sleep(0)
    async with condition:
        condition.notify_all()
    await asyncio.gather(*workers)
    making = asyncio.create_task(producer())
    log.append([await queue.get() for _ in range(5)])
    await making


async def groups_and_gathers_fail(log: Log) -> None:
    async def fail(after: int) -> None:
        for _ in range(after):
            await asyncio.sleep(0)
        raise ValueError(after)

    async def linger() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            log.append("cancelled by the group")

    log.append([repr(one) for one in await asyncio.gather(fail(2), asyncio.sleep(0, 7), return_exceptions=True)])
    try:
        await asyncio.gather(fail(1), fail(0))
    except ValueError as error:
        log.append(error.args)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(linger())
            group.create_task(fail(3))
    except* ValueError as errors:
        log.append([error.args for error in errors.exceptions])


async def waiting_for_many(log: Log) -> None:
    async def number(value: int) -> int:
        for _ in range(value * 3):
            await asyncio.sleep(0)
        return value

    tasks = [asyncio.create_task(number(value)) for value in (3, 1, 2)]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    log.append(([task.result() for task in done], len(pending)))
    log.append([await first for first in asyncio.as_completed(tasks)])
    inner = asyncio.create_task(number(1))
    shielded = asyncio.create_task(asyncio.wait_for(asyncio.shield(inner), 10))
    await asyncio.sleep(0)
    shielded.cancel()
    log.append((repr(await asyncio.gather(shielded, return_exceptions=True)), await inner))


async def callbacks_fail_into_the_handler(log: Log) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: log.append((sorted(context), repr(context["exception"]))))
    loop.call_soon(lambda: [][0])
    future = loop.create_future()
    future.add_done_callback(lambda _: log[99])
    future.set_result(1)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    loop.set_exception_handler(None)


async def generators_are_closed(log: Log) -> None:
    async def numbers(name: str) -> AsyncIterator[int]:
        try:
            for number in range(10):
                yield number
        finally:
            await asyncio.sleep(0)
            log.append(f"{name} closed")

    async for _ in numbers("dropped"):
        break
    for _ in range(10):
        await asyncio.sleep(0)
    generator = numbers("kept")
    kept.append(generator)
    await anext(generator)
    log.append("end")


kept: list[object] = []


@pytest.mark.parametrize(
    "story",
    [
        callbacks_run_in_order,
        timers_run_by_due_time,
        contexts_are_copied,
        tasks_are_cancelled,
        timeouts_expire,
        primitives_wake_in_order,
        groups_and_gathers_fail,
        waiting_for_many,
        callbacks_fail_into_the_handler,
        generators_are_closed,
    ],
)
def test_asyncio_behaves_as_on_a_stock_loop(story: Story) -> None:
    stock: Log = []
    asyncio.run(story(stock))
    virtual: Log = []
    run(story(virtual))
    assert virtual == stock
    assert virtual
