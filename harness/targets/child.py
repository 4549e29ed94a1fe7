"""A child process of the harness's own: port 0, known by its ready line, stopped by its id on every way out."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from harness.target import TargetError

READY_LIMIT_S = 30.0
STOP_LIMIT_S = 5.0


@dataclass(slots=True)
class Child:
    """A running child: the address and the names of its ready line, and its process."""

    base_url: str
    named: dict[str, str]
    process: asyncio.subprocess.Process
    last_lines: deque[str] = field(default_factory=deque)

    def alive(self) -> None:
        """Raise TargetError if the child has ended."""
        if self.process.returncode is not None:
            raise TargetError(
                f"the process that listened at {self.base_url} has died (exit {self.process.returncode})",
                cause=" | ".join(self.last_lines) or "it said nothing",
            )


@asynccontextmanager
async def start_child(
    arguments: Sequence[str],
    config: bytes,
    *,
    log: Callable[[str], None] | None = None,
    prepare: Callable[[], None] | None = None,
) -> AsyncIterator[Child]:
    """Start ``harness <arguments>`` with ``config`` on its standard input, and wait for its ready line.

    The child's input stays open: it ends by itself when the harness is gone, however the harness ended. ``prepare`` is
    called in the child before anything else of it is. Raises TargetError if it does not become ready.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "harness.cli",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # a Ctrl-C goes to the harness, which then stops its children
        preexec_fn=prepare,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    last_lines: deque[str] = deque(maxlen=8)
    reader = asyncio.create_task(_read_log(process, last_lines, log))
    try:
        assert process.stdin is not None
        process.stdin.write(config.replace(b"\n", b" ") + b"\n")
        await process.stdin.drain()
        ready = await _ready_line(process, arguments, last_lines)
        base_url, *pairs = ready.split()
        yield Child(base_url, dict(pair.split("=", 1) for pair in pairs), process, last_lines)
    finally:
        await asyncio.shield(_stop(process, reader))


async def _ready_line(process: asyncio.subprocess.Process, arguments: Sequence[str], last_lines: deque[str]) -> str:
    assert process.stdout is not None
    what = f"harness {' '.join(arguments[:2])}"
    try:
        line = (await asyncio.wait_for(process.stdout.readline(), READY_LIMIT_S)).decode().strip()
    except TimeoutError:
        raise TargetError(
            f"{what} did not become ready in {READY_LIMIT_S:.0f} s", cause=" | ".join(last_lines)
        ) from None
    if not line.startswith("ready "):
        await asyncio.sleep(0.05)  # let the last words of standard error arrive
        wordless = f"it ended without a word (exit {process.returncode})"
        raise TargetError(f"{what} did not start", cause=" | ".join(last_lines) or line or wordless)
    return line.removeprefix("ready ")


async def _read_log(
    process: asyncio.subprocess.Process, last_lines: deque[str], log: Callable[[str], None] | None
) -> None:
    assert process.stderr is not None
    async for line in process.stderr:
        text = line.decode(errors="replace").rstrip("\n")
        last_lines.append(text)
        if log is not None:
            log(text)


async def _stop(process: asyncio.subprocess.Process, reader: asyncio.Task[None]) -> None:
    if process.stdin is not None:
        process.stdin.close()
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_LIMIT_S)
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    with suppress(asyncio.CancelledError):
        await asyncio.wait_for(reader, STOP_LIMIT_S)
