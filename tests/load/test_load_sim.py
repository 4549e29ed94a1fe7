"""Loads in virtual time: chapters tell what the whole tells, one seed gives the same bits, and nobody is missed."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from multiprocessing import active_children
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import harness.load.shapes  # noqa: F401 - registers them
from harness.checker import CHECKERS
from harness.cli.suite import SUITE, target_spec
from harness.contract import Contract, Model
from harness.environment.history_writer import HistoryWriter
from harness.environment.load import LoadRun, scenario_of_load
from harness.environment.load_sim import TIMERS_AHEAD, run_load_in_sim
from harness.environment.sim import secrets_in_sim
from harness.environment.taps import Taps
from harness.gateway.call import Call as GatewayCall
from harness.gateway.components import Components
from harness.gateway.pipeline import Pipeline
from harness.gateway.prices import PriceList
from harness.gateway.usage import Usage
from harness.history import History, Recorder, read_chapters, read_history
from harness.load.shape import SHAPES, Asked, Load
from harness.runner import rejudge
from harness.runner.beside import JudgeBeside, JudgeLostError
from harness.runner.jobs import judge_chapters
from harness.scenario import Call
from harness.target import Bookmark, Running
from tests.load.tiny import LIMITS

MINUTES = 0.1
"""Two windows of the tiny contract."""


@dataclass(frozen=True)
class Recorded:
    """A load that was run, how it was judged as it went on, and how many calls each chapter had."""

    folder: Path
    record: dict[str, Any]
    counts: list[int]


def tiny_load(folder: Path, shape: str = "ceiling-text", mutant: str = "") -> tuple[LoadRun, Load, Contract]:
    SUITE.load()
    target = SUITE.target(target_spec("reference"))
    asked = Asked(seed=3, minutes=MINUTES)
    base = target.contract([LIMITS])
    run = LoadRun(SHAPES[shape], asked, target, base, "sim", 1, folder, mutant)
    return run, SHAPES[shape].build(base, asked), base


def simulated(
    folder: Path,
    shape: str = "ceiling-text",
    mutant: str = "",
    *,
    chapter_calls: int = 1,
    mutate: Any = None,
    stop_at: int = 0,
) -> Recorded:
    """Run a tiny load, judged as it goes on; ``stop_at``: Ctrl-C as that chapter was written."""
    run, load, base = tiny_load(folder, shape, mutant)
    mutate = mutate or (SUITE.mutate(mutant) if mutant else None)
    counts: list[int] = []
    with JudgeBeside(HistoryWriter(run, load, base), CHECKERS) as beside:

        def written(draft: Path, count: int) -> None:
            counts.append(count)
            beside.chapter(draft, count)
            if len(counts) == stop_at:
                for child in active_children():  # as a terminal does: to all of its processes
                    assert child.pid is not None
                    os.kill(child.pid, signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)

        ended = run_load_in_sim(run, load, base, lambda _: None, written, mutate=mutate, chapter_calls=chapter_calls)
        assert ended is not bool(stop_at)
        return Recorded(folder, beside.judged().record, counts)


def whole(folder: Path) -> Iterator[History]:
    """Yield the run as one chapter."""
    history = read_history(folder)
    yield replace(history, notes=tuple(note for note in history.notes if note.kind != "chapter"))


def told(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record with its evidence in one order: chapters find it by time, a checker of the whole by clause."""
    checks = [
        {**check, "evidence": sorted(map(repr, check["evidence"]))}  # what was kept of it differs past its cap alone
        for check in record["checks"]
    ]
    return {**record, "checks": checks}


@pytest.mark.parametrize(
    ("shape", "mutant", "outcome"),
    [
        ("ceiling-text", "", "pass"),
        ("probe-rpm", "", "pass"),
        ("probe-image", "", "pass"),
        ("probe-rpm", "admits_one_too_many", "fail"),
        ("ceiling-text", "forgets_the_last_token_of_the_output", "fail"),
        ("ceiling-text", "forgets_holds_that_ended", "fail"),
        ("ceiling-text", "loses_an_update_of_a_balance", "fail"),
        ("probe-rpm", "counts_refused_requests", "fail"),
    ],
)
def test_chapters_judge_what_the_whole_shows(tmp_path: Path, shape: str, mutant: str, outcome: str) -> None:
    run = simulated(tmp_path / "run", shape, mutant)
    assert run.record["outcome"] == outcome
    assert len(list(read_chapters(run.folder))) == 2
    assert told(rejudge(run.folder, CHECKERS)) == told(run.record)
    assert told(judge_chapters(whole(run.folder), CHECKERS, "run")) == told(run.record)


def test_a_seed_gives_the_same_bits_and_chapters_change_no_call(tmp_path: Path) -> None:
    once, again = simulated(tmp_path / "once"), simulated(tmp_path / "again")
    unbroken = simulated(tmp_path / "unbroken", chapter_calls=10**9)
    lines = (once.folder / "history.jsonl").read_bytes()
    assert (again.folder / "history.jsonl").read_bytes() == lines
    assert (once.counts, unbroken.counts) == ([50, 50], [100])
    # But for request ids: the gateway gives one to whoever reads its books, too.
    seen = [
        [(call.id, call.sent, call.end, call.claims) for call in read_history(run.folder).calls]
        for run in (once, unbroken)
    ]
    assert seen[0] == seen[1]


def test_a_history_in_chapters_is_read_whole_as_any_other(tmp_path: Path) -> None:
    history = read_history(simulated(tmp_path / "run").folder)
    assert [call.id for call in history.plan.calls] == [f"s{number}" for number in range(1, 101)]
    assert len(history.calls) == len(history.attempts) == len(history.usage) == 100
    assert [entry.entry for entry in history.ledger] == list(range(1, 203))
    ends = [call.end for call in history.calls]
    assert ends == sorted(ends)


def dearer_from_then_on(parts: Components) -> Components:
    """Charges a credit too much from the 61st answer on."""

    class Dearer(PriceList):
        answers = 0

        def cost(self, model: Model, usage: Usage) -> int:
            self.answers += 1
            return super().cost(model, usage) + (self.answers > 60)

    return replace(parts, prices=Dearer(parts.contract))


def test_what_goes_wrong_in_a_later_chapter_is_found_there(tmp_path: Path) -> None:
    record = simulated(tmp_path / "run", mutate=dearer_from_then_on).record
    billing = next(check for check in record["checks"] if check["checker"] == "charge_matches_usage")
    assert billing["clauses"]["rounded_up_once"] == {"outcome": "fail", "passed": 60, "failed": 40, "inconclusive": 0}
    assert {piece["call"] for piece in billing["evidence"]} == {f"s{number}" for number in range(61, 86)}


def test_ctrl_c_stops_the_sending_and_keeps_what_there_is(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    run = simulated(tmp_path / "run", stop_at=1)
    assert signal.getsignal(signal.SIGINT) is before
    assert len(read_history(run.folder).calls) == run.record["calls"] == 50
    assert run.record["outcome"] == "pass"


def test_a_judge_that_was_killed_is_told_as_lost_and_the_history_is_whole(tmp_path: Path) -> None:
    run, load, base = tiny_load(tmp_path / "run")
    with JudgeBeside(HistoryWriter(run, load, base), CHECKERS) as beside:
        (judge,) = active_children()

        def chapter(draft: Path, count: int) -> None:
            judge.kill()
            judge.join()
            beside.chapter(draft, count)

        assert run_load_in_sim(run, load, base, lambda _: None, chapter, chapter_calls=1)
        with pytest.raises(JudgeLostError, match="ended with -9"):
            beside.judged()
    assert_same_folder(run.folder, simulated(tmp_path / "whole" / "run").folder)


def test_what_was_seen_until_a_simulation_failed_is_written(tmp_path: Path) -> None:
    run, load, base = tiny_load(tmp_path / "run")
    broken = replace(load, calls=failing(load))
    with (
        pytest.raises(ZeroDivisionError),
        JudgeBeside(HistoryWriter(run, broken, base), CHECKERS) as beside,
    ):
        run_load_in_sim(run, broken, base, lambda _: None, beside.chapter, chapter_calls=1)
    assert [path.name for path in run.folder.iterdir()] == ["history.jsonl"]
    sent = [call.id for call in read_history(run.folder).plan.calls]
    assert sent == [f"s{number}" for number in range(1, len(sent) + 1)]
    assert TIMERS_AHEAD <= len(sent) < 70  # the error came while timers were being set


def failing(load: Load) -> Callable[[Contract], Iterator[Call]]:
    """Return the calls of ``load`` up to the 70th, and then an error."""

    def calls(contract: Contract) -> Iterator[Call]:
        yield from islice(load.calls(contract), 70)
        raise ZeroDivisionError

    return calls


@pytest.mark.parametrize("half", [b"", b'{"span":"note","kind":"chapter","at":1,"detail":{}}', b'{"span":"ca'])
def test_a_history_that_was_broken_off_is_gone_on_with_where_a_chapter_ended(tmp_path: Path, half: bytes) -> None:
    run, load, base = tiny_load(tmp_path / "run")
    told: list[tuple[Path, int]] = []
    run_load_in_sim(run, load, base, lambda _: None, lambda *chapter: told.append(chapter), chapter_calls=1)
    first = HistoryWriter(run, load, base)
    first.chapter(*told[0])
    with first.path.open("ab") as file:
        file.write(half)
    HistoryWriter(run, load, base).resume(told)
    assert_same_folder(run.folder, simulated(tmp_path / "whole" / "run").folder)


def assert_same_folder(one: Path, other: Path) -> None:
    for folder in (one, other):
        assert [path.name for path in folder.iterdir()] == ["history.jsonl"]
    assert (one / "history.jsonl").read_bytes() == (other / "history.jsonl").read_bytes()


def shows_the_key(parts: Components) -> Components:
    """Answers with the caller's own key among the headers, and in the text of each third answer, written otherwise."""

    class Showing(Pipeline):
        answers = 0

        def whole(self, parts: Components, call: GatewayCall, *more: Any) -> tuple[Any, bytes]:
            headers, body = super().whole(parts, call, *more)
            self.answers += 1
            secret = call.secrets[0]
            if self.answers % 3 == 1:
                headers = [*headers, (b"x-echo", secret)]
            if self.answers % 3 == 2:
                hidden = b"".join(b"\\u%04x" % byte for byte in secret)
                body = body.replace(b'"content":"', b'"content":"' + hidden)
            return headers, body

    return replace(parts, pipeline=Showing())


def test_a_key_that_an_answer_shows_is_in_no_draft_and_no_history(tmp_path: Path) -> None:
    run, load, base = tiny_load(tmp_path / "run")
    told: list[tuple[Path, int]] = []
    run_load_in_sim(
        run, load, base, lambda _: None, lambda *chapter: told.append(chapter), mutate=shows_the_key, chapter_calls=1
    )
    keys = [secret.encode() for secret in secrets_in_sim(scenario_of_load(run, load), 3).values()]
    assert not [draft for draft, _ in told for key in keys if key in draft.read_bytes()]
    writer = HistoryWriter(run, load, base)
    for chapter in told:
        writer.chapter(*chapter)
    history = read_history(run.folder)
    assert not [key for key in keys if key in (run.folder / "history.jsonl").read_bytes()]
    shown = [int(call.id[1:]) % 3 for call in history.calls if call.claims.get("leaked")]
    assert (shown.count(1), shown.count(2), shown.count(0)) == (34, 33, 0)
    assert sum(note.kind == "secret_seen" for note in history.notes) == 67


class Told:
    """Stands in for a stage's taps: tells what it is given."""

    def __init__(self) -> None:
        self.journaled: list[bytes] = []
        self.booked: list[bytes] = []

    async def journal(self, after: int) -> AsyncGenerator[bytes, None]:
        for line in self.journaled[after:]:
            yield line

    async def books(self, transport: object, base_url: str, mark: Bookmark) -> AsyncGenerator[bytes, None]:
        for line in self.booked[mark.at :]:
            yield line
        mark.at = len(self.booked)


def test_nothing_is_at_rest_while_an_attempt_or_a_hold_is_open() -> None:
    told = Told()
    running = Running(books=told.books)
    stage: Any = SimpleNamespace(
        control=told, running=running, transport=None, base_url="", secrets={}, log=[], gateway_zero_s=0.0
    )
    hold = b'{"span":"ledger","entry":1,"call":"s1","kind":"hold","at":1}\n'
    post = b'{"span":"ledger","entry":2,"call":"s1","kind":"post","at":2}\n'
    ended = b'{"span":"attempt","id":"p:s1:1","end":3,"ended":"served"}\n'
    under_way = b'{"span":"attempt","id":"p:s1:1","end":2,"ended":"open"}\n'

    async def states() -> list[bool]:
        found = []
        for told.journaled, told.booked in (([], [hold]), ([under_way], [hold, post]), ([ended], [hold, post])):
            found.append(await taps.collect_ended(0.0))
        return found

    with closing(Recorder()) as recorder:
        taps = Taps(stage, recorder, lambda: 0)
        assert asyncio.run(states()) == [False, False, True]
        assert list(recorder.spans()) == [hold, post, ended]
