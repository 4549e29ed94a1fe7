"""A Locust master between the harness that started it and the workers that came by themselves; it decides nothing."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import Any

import gevent
from gevent.lock import RLock
from locust.env import Environment
from locust.rpc import Message
from locust.runners import STATE_MISSING, MasterRunner

from harness.load.line import Line
from harness.load.post import MESSAGE

WATCH_S = 0.5


class Relay:
    """Hands on what workers say, with the name of each, what they are told, and the news that one is gone."""

    def __init__(self, runner: MasterRunner, line: Line) -> None:
        self._runner = runner
        self._line = line
        self._talking = RLock()
        self._known: set[str] = set()
        options = runner.environment.parsed_options
        assert options is not None
        options.headless = False  # else it starts users by itself, and ends with its last worker though others may come
        runner.register_message(MESSAGE, self._up)
        for helper in (self._down, self._watch):
            gevent.spawn(helper)
        self._say("listening", port=runner.server.port)

    def _say(self, kind: str, **value: Any) -> None:
        # A long message may leave in pieces, between which others have their turn. ``_down`` finds the harness gone.
        with self._talking, suppress(OSError):
            self._line.write(kind, **value)

    def _up(self, environment: Environment, msg: Message, **_: Any) -> None:
        self._known.add(msg.node_id)
        self._say(**msg.data, node=msg.node_id)

    def _watch(self) -> None:
        """Tell of each worker that quit, and of each whose heartbeats Locust misses."""
        while True:
            gevent.sleep(WATCH_S)
            for node in tuple(self._known):
                worker = self._runner.clients.get(node)
                if worker is None or worker.state == STATE_MISSING:
                    self._known.discard(node)
                    self._say("gone", node=node)

    def _down(self) -> None:
        """Tell workers what the harness tells them; when that is gone, all of them end, and so does this process."""
        with suppress(EOFError, OSError):
            while True:
                said = self._line.read()
                self._runner.send_message(MESSAGE, said, client_id=said.pop("node"))
        os.kill(os.getpid(), signal.SIGTERM)
