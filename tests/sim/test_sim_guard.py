"""Blocking calls in simulated code: errors that name the task and the line, also when the code swallows them."""

import asyncio
import os
import queue
import select
import socket
import subprocess
import threading
import time
from collections.abc import Callable

import httpx
import pytest

from harness.sim import BlockingCallError, Network, SimTransport, VirtualLoop, run
from harness.sim.asgi import Receive, Scope, Send

BLOCKING: dict[str, Callable[[], object]] = {
    "time.sleep": lambda: time.sleep(0.001),
    "time.sleep imported by name": lambda: _sleep_by_name(),
    "select.select": lambda: select.select([], [], [], 0),
    "socket.connect": lambda: socket.create_connection(("127.0.0.1", 9)),
    "socket.getaddrinfo": lambda: socket.getaddrinfo("localhost", 80),
    "socket.bind": lambda: _bind(),
    "subprocess.Popen": lambda: subprocess.run(["true"], check=True),
    "os.system": lambda: os.system("true"),
    "thread.start": threading.Thread(target=print).start,
    "condition.wait": lambda: threading.Event().wait(0.001),
    "queue.get": lambda: queue.Queue().get(timeout=0.001),
    "run_in_executor": lambda: asyncio.get_running_loop().run_in_executor(None, print),
    "add_reader": lambda: asyncio.get_running_loop().add_reader(0, print),
    "create_connection": lambda: asyncio.get_running_loop().create_connection(asyncio.Protocol, "127.0.0.1", 9),
    "subprocess_exec": lambda: asyncio.get_running_loop().subprocess_exec(asyncio.SubprocessProtocol, "true"),
    "add_signal_handler": lambda: asyncio.get_running_loop().add_signal_handler(10, print),
}


def _sleep_by_name() -> None:
    from time import sleep

    sleep(0.001)


def _bind() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))


@pytest.mark.parametrize("name", BLOCKING)
def test_a_blocking_call_is_an_error_that_names_task_and_line(name: str) -> None:
    async def relay() -> None:
        BLOCKING[name]()

    async def main() -> None:
        await asyncio.create_task(relay(), name="relay")

    with pytest.raises(BlockingCallError, match=r"called by relay: sim/test_sim_guard\.py:\d+ "):
        run(main())


async def _to_thread() -> None:
    await asyncio.to_thread(print)


async def _resolve() -> None:
    await asyncio.get_running_loop().getaddrinfo("localhost", 80)


async def _spawn() -> None:
    await asyncio.create_subprocess_exec("true")


async def _open() -> None:
    await asyncio.open_connection("127.0.0.1", 9)


@pytest.mark.parametrize("call", [_to_thread, _resolve, _spawn, _open])
def test_what_leaves_the_loop_by_asyncio_is_an_error(call: Callable[[], object]) -> None:
    with pytest.raises(BlockingCallError, match=r"called by main: sim/test_sim_guard\.py:\d+ "):
        run(call())  # type: ignore[arg-type]  # a coroutine function of no result


def test_a_swallowed_error_still_fails_the_run() -> None:
    async def main() -> None:
        try:
            BLOCKING["time.sleep"]()
        except Exception:
            await asyncio.sleep(1)

    with pytest.raises(BlockingCallError, match=r"time\.sleep blocks"):
        run(main())


def test_an_application_that_blocks_fails_the_run_and_is_named_with_its_host() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        BLOCKING["os.system"]()

    async def main() -> int:
        network = Network()
        network.serve("gateway", app)
        response = await SimTransport(network, "client").handle_async_request(httpx.Request("GET", "http://gateway/x"))
        return response.status_code

    with pytest.raises(BlockingCallError, match=r"called by GET /x on gateway: sim/test_sim_guard\.py:\d+ "):
        run(main())


def test_a_callback_of_no_task_is_named_by_its_line() -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_later(1, lambda: time.sleep(0.001))
        await asyncio.sleep(2)

    with pytest.raises(BlockingCallError, match=r"called by a callback of the loop: sim/test_sim_guard\.py:\d+ "):
        run(main())


def test_outside_a_run_and_in_other_threads_nothing_is_refused() -> None:
    seen: list[str] = []
    asked, answered = threading.Event(), threading.Event()

    def other() -> None:
        asked.wait(10)
        time.sleep(0)
        seen.append("slept")
        answered.set()

    thread = threading.Thread(target=other)
    thread.start()

    async def main() -> None:
        asked.set()
        while not answered.is_set():  # noqa: ASYNC110 - the other thread knows no loop
            await asyncio.sleep(0)

    run(main())
    thread.join()
    time.sleep(0)
    assert seen == ["slept"]
    loop = VirtualLoop()
    try:
        with pytest.raises(NotImplementedError, match="add_reader"):
            loop.add_reader(0, print)
    finally:
        loop.close()
