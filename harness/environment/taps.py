"""What everybody else has written down of a run, read into its history: journal, books, log; no secret gets there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import aclosing

import orjson

from harness.environment.scanner import Scanner, may_hold_one
from harness.environment.stage import Stage
from harness.history import ATTEMPT, Recording
from harness.target import Bookmark

_OPEN = b'"open"'
_HOLD, _RELEASES = b'"kind":"hold"', (b'"kind":"post"', b'"kind":"void"')
"""Found in the books without parsing it: a quote inside of a string is written with a backslash."""


class Taps:
    """Reads the taps of a stage into a recording; ``now_us`` is the time since the run's zero."""

    def __init__(self, stage: Stage, recording: Recording, now_us: Callable[[], int]) -> None:
        self._stage = stage
        self._recording = recording
        self.scanner = Scanner(stage.secrets, recording)
        self._now_us = now_us
        self.read: set[str] = set()
        """Which of journal and books were read to their end."""
        self._ended = 0
        """How many lines of the journal, which tell of what has ended, were read."""
        self._bookmark = Bookmark()
        self._held = 0
        """How many holds are open, as far as ``collect_ended`` read."""

    async def collect_ended(self, zero_s: float) -> bool:
        """Read what was written down for good since the last time; return whether all of it is at rest.

        It is if no attempt is under way and no hold open: then nothing will ever be added to the calls so far.
        """
        under_way = await self._journal(ended=True) if self._stage.control is not None else 0
        if self._stage.running.books is not None:
            await self._books(zero_s, watch_holds=True)
        return not under_way and self._held <= 0

    async def collect(self, zero_s: float, *, bodies: bool = False, books: bool = True) -> None:
        """Read the upstreams' journal (and the bodies that they got), the gateway's books if wanted, and its log.

        ``zero_s`` is the run's zero on the loop's clock. What was read before is not read again.
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
            self._recording.note("gateway_crash", self._now_us(), error=told, count=count)
        for said in stage.log:
            self.scan("log", "", said.encode())
        if "log" in stage.running.taps:
            self._recording.note("log", self._now_us(), lines=len(stage.log))

    def scan(self, where: str, call: str, *texts: bytes) -> None:
        """Note every place where a customer's secret turns up now."""
        self.scanner.scan(self._now_us(), where, call, *texts)

    async def _journal(self, *, bodies: bool = False, ended: bool = False) -> int:
        """Read the journal from where it was left, or what has ``ended`` of that; return how many attempts have not."""
        assert self._stage.control is not None
        wanted: set[str] = set()
        under_way = 0
        async with aclosing(self._stage.control.journal(self._ended)) as journal:
            async for page in journal:
                if _OPEN in page:
                    lines = page.splitlines(keepends=True)
                    over = [line for line in lines if _OPEN not in line or orjson.loads(line).get("ended") != "open"]
                    under_way += len(lines) - len(over)
                    self._ended += len(over)
                    if ended:
                        page = b"".join(over)
                else:
                    self._ended += page.count(b"\n")
                self._page("upstream", page)
                if bodies:
                    attempts = (line for line in page.splitlines() if line.startswith(ATTEMPT))
                    wanted.update(orjson.loads(line)["request_sha"] for line in attempts)
        for sha in sorted(wanted - {""} - set(self._recording.bodies)):
            body = await self._stage.control.body(sha)
            self.scan("upstream", "", body)
            self._recording.body(body)
        return under_way

    async def _books(self, zero_s: float, *, watch_holds: bool = False) -> None:
        """Read the books from where they were left; their stamps are moved to the run's zero."""
        stage = self._stage
        assert stage.running.books is not None
        shift_us = round((stage.gateway_zero_s - zero_s) * 1e6)
        async with aclosing(stage.running.books(stage.transport, stage.base_url, self._bookmark)) as books:
            async for page in books:
                if shift_us:
                    page = b"".join([_moved(line, shift_us) for line in page.splitlines()])
                self._page("books", page)
                if watch_holds:
                    self._held += page.count(_HOLD) - sum(map(page.count, _RELEASES))

    def _page(self, where: str, page: bytes) -> None:
        """Record whole lines, and note what secrets they hold; most pages hold none, and no line is looked at."""
        if not may_hold_one(page):
            self._recording.page(page)
            return
        for line in page.splitlines(keepends=True):
            self._recording.stamped(line)
            if may_hold_one(line):
                self.scan(where, orjson.loads(line)["call"], line)


def _moved(line: bytes, shift_us: int) -> bytes:
    span = orjson.loads(line)
    span["at"] += shift_us
    return orjson.dumps(span, option=orjson.OPT_APPEND_NEWLINE)
