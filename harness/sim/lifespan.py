"""The ASGI lifespan of one application, as uvicorn's ``lifespan="auto"`` keeps it: unsupported is not an error."""

from __future__ import annotations

import asyncio
from typing import Any

from harness.sim.asgi import ASGIApp, Event, Message
from harness.sim.errors import StartupError


class Lifespan:
    """Starts and stops one application. ``state`` is what it leaves for its requests."""

    def __init__(self, app: ASGIApp, name: str) -> None:
        self.state: dict[str, Any] = {}
        self._app = app
        self._name = name
        self._inbox: asyncio.Queue[Event] = asyncio.Queue()
        self._begun = False
        self._started = asyncio.Event()
        self._stopped = asyncio.Event()
        self._failure: str | None = None

    async def main(self) -> None:
        """Run the application's lifespan; whoever starts it does so in the application's process."""
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        try:
            await self._app(scope, self._inbox.get, self._send)
        except (KeyboardInterrupt, SystemExit, asyncio.CancelledError):
            raise
        except Exception:  # noqa: S110 - so an application says that it has no lifespan
            pass
        finally:
            self._started.set()
            self._stopped.set()

    async def start(self) -> None:
        """Wait until the application started. Raises StartupError if it says that it cannot."""
        self._begun = True
        self._inbox.put_nowait({"type": "lifespan.startup"})
        await self._started.wait()
        self._check("start")

    async def stop(self) -> None:
        """Wait until the application shut down, if it was started. Raises StartupError if it says that it cannot."""
        if self._begun and not self._stopped.is_set():
            self._inbox.put_nowait({"type": "lifespan.shutdown"})
            await self._stopped.wait()
        self._check("shut down")

    def _check(self, verb: str) -> None:
        if self._failure is not None:
            raise StartupError(f"{self._name} did not {verb}: {self._failure}", {self._name})

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if kind.endswith(".failed"):
            self._failure = message.get("message") or "it gave no reason"
        if kind.startswith("lifespan.startup."):
            self._started.set()
        elif kind.startswith("lifespan.shutdown."):
            self._stopped.set()
        else:
            raise RuntimeError(f"Unexpected ASGI message '{kind}' in the lifespan protocol.")
