"""The event stream reader against the standard's rules, whatever the chunks."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.clients.sse import Comment, Event, SSEParser


def parse(*chunks: bytes) -> tuple[list[tuple[str, str]], SSEParser]:
    """Return (type, data) of every event, comments as (":", text), and the parser."""
    parser = SSEParser()
    found = []
    for chunk in chunks:
        for item in parser.feed(chunk):
            if isinstance(item, Comment):
                found.append((":", item.text.decode("utf-8", "replace")))
            else:
                found.append((item.type, item.data.decode("utf-8", "replace")))
    return found, parser


VECTORS = {
    # The web platform tests' eventsource/format-*: what they send, and what they expect of an EventSource.
    "bom": (b"\xef\xbb\xbfdata:1\n\n\xef\xbb\xbfdata:2\n\ndata:3\n\n", [("", "1"), ("", "3")]),
    "two boms": (b"\xef\xbb\xbf\xef\xbb\xbfdata:1\n\ndata:2\n\ndata:3\n\n", [("", "2"), ("", "3")]),
    "comments": (
        b"data:1\r:\x00\n:\r\ndata:2\n:" + b"x" * 2048 + b"\rdata:3\n:data:fail\r:" + b"x" * 2048 + b"\ndata:4\n\n",
        [(":", "\x00"), (":", ""), (":", "x" * 2048), (":", "data:fail"), (":", "x" * 2048), ("", "1\n2\n3\n4")],
    ),
    "data before final empty line": (b"retry:1000\ndata:test1\n\nid:test\ndata:test2", [("", "test1")]),
    "field data": (b"data:\n\ndata\ndata\n\ndata:test\n\n", [("", ""), ("", "\n"), ("", "test")]),
    "field event empty": (b"event: \ndata:data\n\n", [("", "data")]),
    "field event": (b"event:test\ndata:x\n\ndata:x\n\n", [("test", "x"), ("", "x")]),
    "event type does not outlive its block": (b"event:test\n\ndata:x\n\n", [("", "x")]),
    "field parsing": (
        (
            b"data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\ndata:3\r"
            b"data:\r\n data:32\ndata:4\n\n"
        ),
        [("", "\0\n 2\n1\n3\n\n4")],
    ),
    "field retry": (b"retry:03000\ndata:x\n\n", [("", "x")]),
    "field retry bogus": (b"retry:3000\nretry:1000x\ndata:x\n\n", [("", "x")]),
    "field retry empty": (b"retry\ndata:test\n\n", [("", "test")]),
    "field unknown": (
        b"data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacommentyay\n\n",
        [(":", "thisisacommentyay"), ("", "test\n")],
    ),
    "leading space": (b"data:\ttest\rdata: \ndata:test\n\n", [("", "\ttest\n\ntest")]),
    "newlines": (b"data:test\r\ndata\ndata:test\r\n\r", [("", "test\n\ntest")]),
    "null character": (b"data:\0\n\n\n\n", [("", "\0")]),
    "utf-8": (b"data:ok\xe2\x80\xa6\n\n", [("", "ok\u2026")]),
    "invalid utf-8": (b"data:\xff\xfeok\n\n", [("", "\ufffd\ufffdok")]),
    "event only block": (b"event: ping\n\ndata: {}\n\n", [("", "{}")]),
    "id only block": (b"id: 3\n\n", []),
    "only line ends": (b"\n\n\r\r\r\n\r\n", []),
    "nothing": (b"", []),
    "one carriage return in a line feed's event": (b"data: a\rdata: b\n\n", [("", "a\nb")]),
    "a field name is exact": (b"\xefdata: 1\n\ndata: 2\n\n", [("", "2")]),
    "carriage returns alone": (b"event: a\rdata: 1\r\rdata: 2\r\r", [("a", "1"), ("", "2")]),
    "line separator characters are data": ("data: a\u2028b\u0085c\n\n".encode(), [("", "a\u2028b\u0085c")]),
}


@pytest.mark.parametrize("name", VECTORS)
def test_a_vector_of_the_standard_gives_its_events(name: str) -> None:
    sent, expected = VECTORS[name]
    assert parse(sent)[0] == expected


@pytest.mark.parametrize("name", VECTORS)
def test_a_vector_cut_into_single_bytes_gives_the_same_events(name: str) -> None:
    sent, expected = VECTORS[name]
    assert parse(*(sent[n : n + 1] for n in range(len(sent))))[0] == expected


PIECES = st.lists(
    st.sampled_from(
        [
            b"data: {}\n\n",
            b'event: x\ndata: {"a":1}\n\n',
            b"data:1\r",
            b"\n",
            b"\r",
            b"\r\n",
            b"\xef\xbb\xbf",
            b"\xc3",
            b"\xa9",
            b":ping",
            b": c\n",
            b"event: y",
            b"id: 4\n",
            b"id: a\0b\n",
            b"retry: 12\n",
            b"data",
            b":",
            b" ",
            b"data: \n\n",
            b"\0",
        ]
    ),
    max_size=30,
)


@given(PIECES, st.lists(st.integers(0, 120), max_size=12))
@example([b"data: {}\n\n", b"data: 1\n\n"], [1, 2, 11, 12])
@example([b"\xef\xbb\xbf", b"data: {}\n\n"], [1, 2])
@example([b"event: y", b"\n", b"data: {}\n\n"], [9])
@example([b"\xef", b"data: {}\n\n"], [1])
@example([b"data:1\r", b"\n", b"data: {}\n\n"], [7])
def test_where_a_stream_is_cut_does_not_matter(pieces: list[bytes], cuts: list[int]) -> None:
    sent = b"".join(pieces)
    edges = sorted({0, len(sent), *(cut for cut in cuts if cut < len(sent))})
    chunks = [sent[a:b] for a, b in pairwise(edges)]
    whole, of_whole = parse(sent)
    cut, of_cut = parse(*chunks)
    assert cut == whole
    assert of_cut.discarded == of_whole.discarded
    assert (of_cut.last_event_id, of_cut.retry_ms) == (of_whole.last_event_id, of_whole.retry_ms)
    assert parse(*(piece for piece in pieces if piece))[0] == whole


TEXT = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=12)


@given(
    st.lists(st.tuples(TEXT.filter(lambda t: "\0" not in t), st.lists(TEXT, min_size=1, max_size=3)), max_size=8),
    st.sampled_from(["\n", "\r", "\r\n"]),
    st.booleans(),
)
def test_what_was_written_is_read(events: list[tuple[str, list[str]]], end: str, bom: bool) -> None:
    blocks = (f"event: {name}{end}" + "".join(f"data: {line}{end}" for line in lines) + end for name, lines in events)
    sent = (b"\xef\xbb\xbf" if bom else b"") + "".join(blocks).encode()
    assert parse(sent)[0] == [(name, "\n".join(lines)) for name, lines in events]


def test_the_chunk_that_ended_an_event_is_told() -> None:
    parser = SSEParser()
    chunks = (b"data: 1\n\n", b"event: a\nda", b"ta: 2\n", b"\n: c\n", b"data: 3\n\ndata: 4\n\n")
    found = [item for chunk in chunks for item in parser.feed(chunk)]
    assert found == [
        Event("", b"1", 0),
        Event("a", b"2", 3),
        Comment(b"c", 3),
        Event("", b"3", 4),
        Event("", b"4", 4),
    ]


@pytest.mark.parametrize(
    ("end", "discarded"),
    [
        (b"", False),
        (b"data: 2", True),
        (b"data: 2\n", True),
        (b"event: x\n", True),
        (b": pi", True),
        (b": ping\n", False),
        (b"id: 4\n", False),
    ],
)
def test_an_unterminated_end_is_discarded_but_known(end: bytes, discarded: bool) -> None:
    found, parser = parse(b"data: 1\n\n" + end)
    assert [item for item in found if item[0] != ":"] == [("", "1")]
    assert parser.discarded is discarded


def test_a_half_byte_order_mark_is_known_as_discarded() -> None:
    found, parser = parse(b"\xef", b"\xbb")
    assert found == []
    assert parser.discarded


@pytest.mark.parametrize(
    ("sent", "last_id", "retry_ms"),
    [
        (b"id: 7\nretry: 250\ndata: x\n\n", "7", 250),
        (b"id: 7\n\nid\n\n", "", None),
        (b"id: 7\n\nid: a\0b\n\n", "7", None),
        (b"retry: 5\n\nretry: 6x\n\nretry: -7\n\n", "", 5),
        (b"retry: " + b"9" * 5000 + b"\n\n", "", None),
        ("retry: \u0663\n\n".encode(), "", None),
    ],
)
def test_id_and_retry_are_kept(sent: bytes, last_id: str, retry_ms: int | None) -> None:
    parser = parse(sent)[1]
    assert (parser.last_event_id, parser.retry_ms) == (last_id, retry_ms)
