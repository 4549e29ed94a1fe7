"""Puts a load's records together as an ordinary history: rows of the workers, journal, books, and the plan; no judge.

Nothing is held but where each line lies: lines go through a spool on disk, and the plan's calls, drawn once more, are
written one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from harness.history import Reading, Recorder, span_line, stamp_of
from harness.scenario import Call

_CALLS = b'"calls":[]'


def add_rows(recorder: Recorder, files: Iterable[Path], look: Callable[[bytes], None]) -> int:
    """Add what the workers' callers saw, and return how many calls that are; ``look`` is shown each line.

    The last line of a worker that was killed may have broken off: it is left out.
    """
    count = 0
    for path in files:
        if not path.is_file():
            continue
        with path.open("rb") as rows:
            for line in rows:
                if line.endswith(b"\n"):
                    recorder.line(stamp_of(line), line)
                    look(line)
                    count += 1
    return count


def add_unknown(recorder: Recorder, rows: Path, share: Iterable[Call], *, sent_by_us: int, end_us: int) -> None:
    """Add a span, open to the run's end, for each call that a lost worker may have sent and did not write down.

    The gateway may have let it in at any time since it was due: without it the checkers would take its unit, its tokens
    and its slot for the gateway's own mistake.
    """
    written = set(_ids(rows))
    for call in share:
        assert call.at_ms is not None
        at_us = round(call.at_ms * 1000)
        if at_us > sent_by_us:
            return
        if call.id not in written:
            recorder.span("call", end_us, _unknown(call, at_us, end_us))


def _ids(rows: Path) -> Iterator[str]:
    if rows.is_file():
        with rows.open("rb") as lines:
            yield from (orjson.loads(line)["id"] for line in lines if line.endswith(b"\n"))


def _unknown(call: Call, at_us: int, end_us: int) -> dict[str, Any]:
    """Return the span of a call of which nobody knows whether it was sent, or what came of it."""
    return {
        "id": call.id,
        "account": call.account,
        "key": "",
        "surface": call.surface,
        "model": call.model,
        "stream": call.stream,
        "sent": at_us,
        "first_byte": None,
        "first_content": None,
        "end": end_us,
        "outcome": "open",
        "status": None,
        "headers": {},
        "reading": asdict(Reading()),
        "chunks": [],
        "pings": [],
        "claims": {},
        "request_sha": "",
        "answer_sha": "",
        "answer_bytes": 0,
        "detail": "the worker that may have sent it was lost",
    }


def write_history(
    folder: Path, plan: Mapping[str, Any], calls: Iterable[Mapping[str, Any]], recorder: Recorder
) -> None:
    """Write ``history.jsonl`` into ``folder``: the plan with ``calls`` in it, then every span. Raises OSError.

    ``plan`` has an empty list of calls.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "history.jsonl").open("wb") as file:
        file.writelines(_plan_line(plan, calls))
        file.writelines(recorder.spans())


def _plan_line(plan: Mapping[str, Any], calls: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    line = span_line("plan", plan)
    before, empty, after = line.partition(_CALLS)
    if not empty or b'"calls":[' in before:
        raise ValueError("the plan has no empty list of calls, or more than one")
    yield before + _CALLS[:-1]
    for number, call in enumerate(calls):
        yield (b"," if number else b"") + orjson.dumps(call)
    yield _CALLS[-1:] + after
