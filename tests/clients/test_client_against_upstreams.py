"""The two readings of one answer, the client's and the upstream's: written apart from one page, they must agree."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import orjson
import pytest
from client_streams import CHAT, JSON, MESSAGES, RESPONSES, SSE, WHOLE, events, read
from hypothesis import given
from hypothesis import strategies as st

from mock_upstreams.reading import read_answer

EVENTS = {"chat": CHAT, "messages": MESSAGES, "responses": RESPONSES}
SURFACES = tuple(EVENTS)


def both(surface: str, content_type: str, body: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the client's and the upstream's reading, as JSON has them."""
    mine = asdict(read(surface, content_type, body)[0])
    return orjson.loads(orjson.dumps(mine)), orjson.loads(orjson.dumps(read_answer(surface, content_type, body)))


@pytest.mark.parametrize("surface", SURFACES)
def test_a_whole_answer_reads_alike(surface: str) -> None:
    mine, theirs = both(surface, JSON, orjson.dumps(WHOLE[surface]))
    assert mine == theirs


def test_a_token_count_reads_alike() -> None:
    mine, theirs = both("count_tokens", JSON, b'{"input_tokens": 14, "context_management": null}')
    assert mine == theirs


@given(st.sampled_from(SURFACES), st.data())
def test_a_stream_reads_alike_with_events_lost_repeated_and_displaced(surface: str, data: st.DataObject) -> None:
    values = list(EVENTS[surface])
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(values) - 1))
        match data.draw(st.sampled_from(["lose", "repeat", "swap", "move", "spoil", "end"])):
            case "lose" if len(values) > 1:
                del values[at]
            case "repeat":
                values.insert(at, values[at])
            case "swap":
                values[at - 1], values[at] = values[at], values[at - 1]
            case "move":
                values.insert(data.draw(st.integers(0, len(values) - 1)), values.pop(at))
            case "spoil":
                values.insert(at, "data: {oops\n\n")
            case "end":
                values = values[: at + 1]
    sent = events(*values, named=surface != "chat", end=data.draw(st.sampled_from(["\n", "\r\n"])))
    cut_at = data.draw(st.none() | st.integers(0, len(sent)))
    mine, theirs = both(surface, SSE, sent[:cut_at])
    assert mine == theirs
