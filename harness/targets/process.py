"""The reference gateway in a process that can be killed and started again on its books; it knows nothing of a run."""

from __future__ import annotations

import asyncio
import ctypes
import os
import resource
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from hashlib import sha256
from pathlib import Path
from subprocess import SubprocessError
from tempfile import TemporaryDirectory

from harness.target import Start, TargetError
from harness.targets.child import Child, start_child

_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE = 24, 1
"""Of Linux: what lets root write a file that nobody may write; a child that never had it is like everybody's."""


class GatewayProcess:
    """``harness serve gateway`` on a file of its own: one process after the other, all at the same address.

    While none of them runs the address is kept by a socket that is bound and takes no connection, so that callers are
    refused, as they are by a dead process, and nobody else can be given the port.
    """

    def __init__(self, config: bytes, database: Path, mutant: str, log: Callable[[str], None] | None) -> None:
        self.base_url = ""
        self._config = config
        self._database = database
        self._log = log
        self._options = ["--mutant", mutant] if mutant else []
        self._life = AsyncExitStack()
        self._child: Child | None = None
        self._killed: Child | None = None

    @property
    def pid(self) -> int | None:
        """The id of the process; None while it is down."""
        return None if self._child is None else self._child.process.pid

    def alive(self) -> None:
        """Raise TargetError if the process has ended and was not killed by ``kill``."""
        if self._child is not None:
            self._child.alive()

    async def start(self, port: int = 0) -> None:
        """Start the process. Raises TargetError if it does not come up."""
        arguments = [*self._arguments(), "--port", str(port)]
        self._child = await self._life.enter_async_context(start_child(arguments, self._config, log=self._log))
        self.base_url = self._child.base_url

    def kill(self) -> None:
        """Kill the process as kill -9 does."""
        assert self._child is not None
        with suppress(ProcessLookupError):
            self._child.process.kill()
        self._child, self._killed = None, self._child

    async def gone(self) -> None:
        """Return when the process that was killed is gone, and its address is kept."""
        assert self._killed is not None
        await self._killed.process.wait()
        await self._life.aclose()
        keeper = self._life.enter_context(socket.socket())
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        host, _, port = self.base_url.rpartition("/")[2].partition(":")
        keeper.bind((host, int(port)))

    async def restart(self) -> None:
        """Start the process again at its address. Raises TargetError if it does not come up."""
        await self.start(int(self.base_url.rpartition(":")[2]))

    async def stop(self) -> None:
        """End the process, as a good one ends."""
        await self._life.aclose()

    async def start_second(self, *, read_only: bool = False) -> Start | None:
        """Start another process on the file, and end it if it came up; None if the file cannot be made read-only."""
        if not read_only:
            return await self._tried(None)
        files = sorted(self._database.parent.glob(f"{self._database.name}*"))
        before = [_digest(file) for file in files]
        modes = [file.stat().st_mode for file in files]
        for file in files:
            file.chmod(0o444)
        try:
            prepare = _without_override if os.access(self._database, os.W_OK) else None
            tried = await self._tried(prepare)
        except SubprocessError:  # it could not be made like everybody's
            return None
        finally:
            for file, mode in zip(files, modes, strict=True):
                file.chmod(mode)
        return Start(tried.refused, tried.said, [_digest(file) for file in files] == before)

    def fill_disk(self, room_bytes: int) -> bool:
        """Let no file of the process grow by more than ``room_bytes``: the system then refuses it what is beyond.

        False if it is down: on a busy machine the instant for it may come together with that of a kill.
        """
        if self._child is None:
            return False
        largest = max(file.stat().st_size for file in self._database.parent.glob(f"{self._database.name}*"))
        _, hard = resource.prlimit(self._child.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self._child.process.pid, resource.RLIMIT_FSIZE, (largest + room_bytes, hard))
        return True

    def _arguments(self) -> list[str]:
        return ["serve", "gateway", "--config", "-", "--database", str(self._database), *self._options]

    async def _tried(self, prepare: Callable[[], None] | None) -> Start:
        try:
            async with start_child(self._arguments(), self._config, prepare=prepare):
                return Start(False, "it came up", None)
        except TargetError as error:
            return Start(True, error.cause.replace(str(self._database), "the file"), None)


def _without_override() -> None:
    """Give up, for this process and what it becomes, what lets root write anything. Raises OSError."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def _digest(file: Path) -> str:
    return sha256(file.read_bytes()).hexdigest()


@asynccontextmanager
async def serving_process(
    config: bytes, *, mutant: str, log: Callable[[str], None] | None
) -> AsyncIterator[GatewayProcess]:
    """Serve the gateway on books of its own, and stop it and remove them on the way out."""
    with TemporaryDirectory(prefix="harness-books-") as folder:
        process = GatewayProcess(config, Path(folder) / "ledger.sqlite", mutant, log)
        try:
            await process.start()
            yield process
        finally:
            await asyncio.shield(process.stop())
