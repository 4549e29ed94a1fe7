"""The marker in a prompt: which call it is and what to answer."""

from __future__ import annotations

import orjson
import pytest

from mock_upstreams.marker import Directives, find_marker


def test_a_marker_names_the_call_and_its_directives() -> None:
    body = b'{"content":"[call:c17 chunks=50 ttft=0.05 gap=0.02 in=1000 cached=5 written=6 out=7 shape=tools] x"}'
    assert find_marker(body) == (
        "c17",
        Directives(
            chunks=50, ttft=0.05, gap=0.02, input=1000, cached=5, written=6, output=7, reasoning=0, shape="tools"
        ),
    )


def test_the_last_marker_counts() -> None:
    assert find_marker(b"[call:c1 chunks=2] earlier [call:c2] later")[0] == "c2"


def test_text_that_only_looks_like_a_marker_is_passed_by() -> None:
    assert find_marker(b"[call:c1] and then [call:me maybe] and [call:")[0] == "c1"


@pytest.mark.parametrize(
    "text",
    [
        b"[call:]",
        b"[call:" + b"x" * 129 + b"]",
        b"[call:a/b]",
        b"[call:c1 ]",
        b"[call:c1 chunks]",
        b"[call:c1 chunks=]",
        b"[call:c1  chunks=2]",
        b"[call:c1 Chunks=2]",
        b'[call:c1 chunks="2"]',
        b"[call:c1 chunks=2",
    ],
)
def test_what_is_not_quite_a_marker_is_none(text: bytes) -> None:
    assert find_marker(text + b" then") == ("", Directives())


def test_no_marker_is_no_call_with_defaults() -> None:
    assert find_marker(b'{"model": "x"}') == ("", Directives())


def test_a_marker_survives_json_escaping() -> None:
    body = orjson.dumps({"messages": [{"content": 'say "x" \n [call:a.b-c_9 chunks=3]'}]})
    assert find_marker(body) == ("a.b-c_9", Directives(chunks=3))


@pytest.mark.parametrize(
    ("directive", "words"),
    [
        ("chunk=3", "near: chunks"),
        ("chunks=0", "not between 1"),
        ("chunks=many", "not a whole number"),
        ("chunks=100001", "not between"),
        ("ttft=-1", "not between 0"),
        ("ttft=nan", "not between"),
        ("ttft=soon", "not seconds"),
        ("in=-5", "not between"),
        ("shape=poem", "none of text, tools"),
    ],
)
def test_a_directive_that_cannot_be_is_told(directive: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        find_marker(f"[call:c1 {directive}]".encode())
