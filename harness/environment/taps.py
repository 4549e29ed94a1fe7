"""What everybody else has written down of a run, read into its history: journal, books, log; no secret gets there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import aclosing

import orjson

from harness.environment.stage import Stage
from harness.history import ATTEMPT, Recorder, stamp_of

_SECRET = b"ck_"
"""What every customer's key begins with: a text without it need not be searched."""


class Taps:
    """Reads the taps of a stage into a recorder; ``now_us`` is the time since the run's zero."""

    def __init__(self, stage: Stage, recorder: Recorder, now_us: Callable[[], int]) -> None:
        self._stage = stage
        self._recorder = recorder
        self._now_us = now_us
        self.read: set[str] = set()
        """Which of journal and books were read to their end."""
        self._secrets = {secret.encode(): key for key, secret in stage.secrets.items()}

    async def collect(self, zero_s: float, *, bodies: bool = False, books: bool = True) -> None:
        """Read the upstreams' journal (and the bodies that they got), the gateway's books if wanted, and its log.

        ``zero_s`` is the run's zero on the loop's clock.
        """
        stage = self._stage
        if stage.control is not None:
            await self._journal(bodies=bodies)
            self.read.add("journal")
        if books and stage.running.books is not None:
            await self._books(zero_s)
            self.read.add("books")
        crashes = Counter(told for said in stage.log if (told := stage.running.crashed(said)))
        for told, count in crashes.items():
            self._recorder.note("gateway_crash", self._now_us(), error=told, count=count)
        for said in stage.log:
            self.scan("log", "", said.encode())
        if "log" in stage.running.taps:
            self._recorder.note("log", self._now_us(), lines=len(stage.log))

    def scan(self, where: str, call: str, *texts: bytes) -> None:
        """Note every place where a customer's secret turns up: the history itself never holds one."""
        for text in texts:
            if _SECRET not in text:
                continue
            for secret, key in self._secrets.items():
                if secret in text:
                    self._recorder.note("secret_seen", self._now_us(), where=where, key=key, call=call)

    def without_secrets(self, body: bytes) -> bytes:
        """Return ``body`` with every customer's secret blotted out."""
        if _SECRET in body:
            for secret in self._secrets:
                body = body.replace(secret, b"[credential]")
        return body

    async def _journal(self, *, bodies: bool) -> None:
        assert self._stage.control is not None
        wanted: set[str] = set()
        async with aclosing(self._stage.control.journal()) as journal:
            async for line in journal:
                self._recorder.line(stamp_of(line), line)
                if bodies and line.startswith(ATTEMPT):
                    wanted.add(orjson.loads(line)["request_sha"])
                self._scan_line("upstream", line)
        for sha in sorted(wanted - {""} - set(self._recorder.bodies)):
            body = await self._stage.control.body(sha)
            self.scan("upstream", "", body)
            self._recorder.body(body)

    async def _books(self, zero_s: float) -> None:
        """Read the books; their stamps are moved to the run's zero."""
        stage = self._stage
        assert stage.running.books is not None
        shift_us = round((stage.gateway_zero_s - zero_s) * 1e6)
        async with aclosing(stage.running.books(stage.transport, stage.base_url)) as books:
            async for line in books:
                if shift_us:
                    span = orjson.loads(line)
                    span["at"] += shift_us
                    line = orjson.dumps(span, option=orjson.OPT_APPEND_NEWLINE)
                self._recorder.line(stamp_of(line), line)
                self._scan_line("books", line)

    def _scan_line(self, where: str, line: bytes) -> None:
        if _SECRET in line:
            self.scan(where, orjson.loads(line)["call"], line)
