"""The gateway's event reader: the WHATWG's vectors, whole, cut anywhere, and byte by byte."""

from __future__ import annotations

import pytest

from harness.gateway.sse import BOM, EventReader, EventTooLong

VECTORS = [
    ("one event", b"data: a\n\n", [("", "a")]),
    ("no space after the colon", b"data:a\n\n", [("", "a")]),
    ("only one space is stripped", b"data:  a\n\n", [("", " a")]),
    ("CRLF", b"data: a\r\n\r\ndata: b\r\n\r\n", [("", "a"), ("", "b")]),
    ("CRLF and a name", b"event: x\r\ndata: a\r\n\r\n", [("x", "a")]),
    ("CR", b"data: a\r\rdata: b\r\r", [("", "a"), ("", "b")]),
    ("mixed line ends", b"event: x\rdata: a\r\n\ndata: b\n\r\n", [("x", "a"), ("", "b")]),
    ("a name", b"event: x\ndata: a\n\n", [("x", "a")]),
    ("a name after the data", b"data: a\nevent: x\n\n", [("x", "a")]),
    ("several data lines", b"data: a\ndata: b\ndata\n\n", [("", "a\nb\n")]),
    ("empty data", b"data:\n\n", [("", "")]),
    ("data without a colon", b"data\n\n", [("", "")]),
    ("no data", b"event: x\n\nid: 1\n\nretry: 5\n\n", []),
    ("comments", b": hi\n\n:\ndata: a\n: in between\ndata: b\n\n", [("", "a\nb")]),
    ("field names are case-sensitive", b"DATA: a\n\nData: b\n\n", []),
    ("unknown fields", b"foo: a\ndata: b\n\n", [("", "b")]),
    ("many blank lines", b"\n\n\ndata: a\n\n\n\n\ndata: b\n\n\n", [("", "a"), ("", "b")]),
    ("the last event is not ended", b"data: a\n\ndata: b\n", [("", "a")]),
    ("a BOM", BOM + b"data: a\n\n", [("", "a")]),
    ("two BOMs", BOM + BOM + b"data: a\n\ndata: b\n\n", [("", "b")]),
    ("UTF-8", "data: žluťoučký 🦊\n\n".encode(), [("", "žluťoučký 🦊")]),
    ("a CR that ends the stream", b"data: a\n\r", [("", "a")]),
    ("a short stream", b"d", []),
    ("nothing", b"", []),
]


def read(*chunks: bytes) -> list[tuple[str, str]]:
    reader = EventReader()
    return [(event.name.decode(), event.data.decode()) for chunk in chunks for event in reader.feed(chunk)]


@pytest.mark.parametrize(("stream", "events"), [vector[1:] for vector in VECTORS], ids=[v[0] for v in VECTORS])
def test_a_stream_is_read_alike_however_it_is_cut(stream: bytes, events: list[tuple[str, str]]) -> None:
    assert read(stream) == events
    assert read(*(stream[n : n + 1] for n in range(len(stream)))) == events
    for cut in range(len(stream) + 1):
        assert read(stream[:cut], b"", stream[cut:]) == events, cut


def test_an_event_comes_out_with_the_very_bytes_that_complete_it() -> None:
    reader = EventReader()
    assert reader.feed(b"data: a\n") == []
    (event,) = reader.feed(b"\ndata: b")
    assert event.data == b"a"
    # A CR ends a line at once, whether an LF follows or not.
    (event,) = reader.feed(b"\r\r")
    assert event.data == b"b"
    assert reader.feed(b"\n") == []


@pytest.mark.parametrize(
    ("stream", "raw"),
    [
        (b"event: x\ndata: {}\n\n", b"event: x\ndata: {}\n\n"),
        (b"id: 7\r\nevent: x\r\ndata: 1\r\ndata: 2\r\n\r\n", b"id: 7\nevent: x\ndata: 1\ndata: 2\n\n"),
        (b": comment\ndata:a\n\n", b"data:a\n\n"),
        (BOM + b"data: a\n\n", b"data: a\n\n"),
    ],
)
def test_what_is_passed_on_has_every_field_as_it_came_and_no_comment(stream: bytes, raw: bytes) -> None:
    (event,) = EventReader().feed(stream)
    assert event.raw == raw


def test_an_event_without_end_is_given_up_at_the_limit() -> None:
    reader = EventReader(limit=100)
    assert len(reader.feed(b"data: " + b"x" * 90 + b"\n\n")) == 1
    reader.feed(b"data: " + b"x" * 90)
    with pytest.raises(EventTooLong):
        reader.feed(b"x" * 10)
