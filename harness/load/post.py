"""A worker's end of the way to a harness that it did not start: Locust's own messages, through its master; no load."""

from __future__ import annotations

import time  # noqa: TID251 - the worker runs in real time, in a process of its own
from types import TracebackType
from typing import Any

import gevent
from gevent.queue import Queue
from locust.env import Environment
from locust.exception import RPCError
from locust.rpc import Message
from locust.runners import WorkerRunner

MESSAGE = "harness"
"""The type of Locust's messages that carry those of the harness."""
CHUNK = 1 << 18
"""How many bytes of rows go in one message, at most but for one row."""
UNHEARD_S = 10.0
"""A worker that its master has not answered for so long ends: nobody takes its rows any more."""


class RefusedError(Exception):
    """The harness does not want this worker; the message says why."""


class Post:
    """Messages to and from the harness; what waits for one lets others run."""

    def __init__(self, runner: WorkerRunner) -> None:
        self._runner = runner
        self._inbox: Queue = Queue()
        self._heard_s = time.monotonic()
        self.unheard = False
        """Whether the master is taken for gone."""
        runner.register_message(MESSAGE, self._take)
        runner.environment.events.heartbeat_received.add_listener(self._hear)  # type: ignore[no-untyped-call]  # untyped
        gevent.spawn(self._give_up)

    def read(self) -> dict[str, Any]:
        """Return the next message. Raises RefusedError, and EOFError when the master is gone."""
        said: dict[str, Any] | None = self._inbox.get()
        if said is None:
            self._inbox.put(None)  # for whoever asks next
            raise EOFError(f"nothing was heard of the harness for {UNHEARD_S:g} s")
        if said["kind"] == "refused":
            raise RefusedError(said["why"])
        return said

    def write(self, kind: str, **value: Any) -> None:
        """Send a message. Raises OSError when it cannot be sent."""
        try:
            self._runner.send_message(MESSAGE, {"kind": kind, **value})
        except RPCError as error:
            raise OSError(f"the master takes no message: {error}") from error

    def rows(self, path: str) -> Posted:
        """Return what sends rows to the harness, which alone writes them to a file."""
        assert not path
        return Posted(self)

    def _take(self, environment: Environment, msg: Message, **_: Any) -> None:
        self._inbox.put(msg.data)

    def _hear(self, **_: Any) -> None:
        self._heard_s = time.monotonic()

    def _give_up(self) -> None:
        while time.monotonic() - self._heard_s < UNHEARD_S:
            gevent.sleep(1)
        self.unheard = True
        self._inbox.put(None)


class Posted:
    """Rows on their way to the harness: all that were written since it was flushed last, and none of the others."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._held: list[bytes] = []

    def __enter__(self) -> Posted:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.flush()

    def write(self, row: bytes) -> None:
        """Hold a row."""
        self._held.append(row)

    def flush(self) -> None:
        """Send what is held, a bounded message after the other. Raises OSError, and then holds on to the rest."""
        while self._held:
            size = count = 0
            while count < len(self._held) and size < CHUNK:
                size += len(self._held[count])
                count += 1
            self._post.write("rows", rows=b"".join(self._held[:count]).decode())
            del self._held[:count]
