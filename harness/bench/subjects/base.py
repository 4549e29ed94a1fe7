"""What a subject is, and how a program of somebody else's is started as one; it knows no program."""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from harness.bench.machine import free_port, listener, process_times
from harness.bench.plan import request_body
from harness.target import NotATarget, TargetError

READY_S = 60.0
STOP_S = 5.0
LOOPBACK = "127.0.0.1"
_PR_SET_PDEATHSIG = 1


class Missing(NotATarget):
    """A program that is not installed here."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where subjects are started: the mock behind them (without a final slash), a folder for their files, a seed."""

    upstream: str
    folder: Path
    seed: int
    model: str = ""
    key: str = ""
    sample: bytes = b""
    """What the mock answers to an unstreamed call."""
    sample_stream: bytes = b""
    """What it answers to a streamed one."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Somebody who takes calls: where, as which request, and the processes whose CPU is told (none: it is not).

    ``answers`` says that it answers by itself: it is no gateway, and what it adds to a call to the mock means nothing.
    """

    name: str
    host: str
    port: int
    path: str
    headers: Mapping[str, str]
    model: str
    roots: tuple[int, ...]
    about: str
    answers: bool = False

    @property
    def authority(self) -> str:
        """Host and port as a header has them: an address of IPv6 in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def request(self, call: str, *, stream: bool) -> bytes:
        """Return the bytes of one call."""
        body = request_body(self.model, call, stream=stream)
        given = {"host": self.authority, "content-type": "application/json", **self.headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        return f"POST {self.path} HTTP/1.1\r\n{head}content-length: {len(body)}\r\n\r\n".encode() + body


def program(name: str, variable: str, *, help: str, run: bool = True) -> str:  # noqa: A002 - the word users see
    """Return the program's path: what the environment says, or what is on the path. Raises Missing.

    What is not to be ``run`` itself but by another program need not be executable.
    """
    found = os.environ.get(variable) or shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if not found or not Path(found).is_file() or not os.access(found, os.X_OK if run else os.R_OK):
        raise Missing(f"{name} is not here", cause=f"it is not on the path, and {variable} names none", help=help)
    return found


@asynccontextmanager
async def running(
    name: str, arguments: Sequence[str], port: int, folder: Path, env: Mapping[str, str] | None = None
) -> AsyncIterator[int]:
    """Start a program, wait until it and nobody else listens on ``port``, yield its pid, and stop it on the way out.

    Raises TargetError with its last words if it does not come up.
    """
    log = folder / f"{name}.log"
    with log.open("wb") as said:
        process = await asyncio.create_subprocess_exec(
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            cwd=folder,
            env={**os.environ, **(env or {})},
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
    try:
        await _listening(name, process, port, log)
        yield process.pid
    finally:
        await asyncio.shield(_stop(process))


async def _listening(name: str, process: asyncio.subprocess.Process, port: int, log: Path) -> None:
    loop = asyncio.get_running_loop()
    until_s = loop.time() + READY_S
    while loop.time() < until_s and process.returncode is None:
        holder = listener(port)
        if holder is not None and _descends(holder, process.pid):
            return
        if holder is not None:
            raise TargetError(f"{name} did not get port {port}", cause=f"process {holder} has it")
        await asyncio.sleep(0.05)
    words = _last_words(log)
    told = f"it ended (exit {process.returncode})" if process.returncode is not None else f"not within {READY_S:g} s"
    raise TargetError(f"{name} did not come up", cause=f"{told}: {words or 'it said nothing'}")


def _last_words(log: Path) -> str:
    return " | ".join(log.read_text(errors="replace").splitlines()[-4:])


def _descends(pid: int, ancestor: int) -> bool:
    times = process_times()
    while pid != ancestor and pid in times:
        pid = times[pid][0]
    return pid == ancestor


async def _stop(process: asyncio.subprocess.Process) -> None:
    """End it and all of its session, also where it ended by itself."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.terminate()
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), STOP_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # its own session: it and its workers, who may outlive it, nobody else
    await process.wait()


def _end_with_parent() -> None:
    """Let the system end this process when the harness is gone, however the harness ended."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


__all__ = ["LOOPBACK", "Missing", "Site", "Subject", "free_port", "program", "running"]
