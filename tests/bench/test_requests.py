"""The bytes of a call: its host as a header has it, its model as JSON has it."""

from __future__ import annotations

import orjson
import pytest

from harness.bench.subjects import Subject
from harness.bench.subjects.mock import forget


@pytest.mark.parametrize(
    ("host", "header"), [("::1", b"host: [::1]:8080\r\n"), ("127.0.0.1", b"host: 127.0.0.1:8080\r\n")]
)
def test_a_host_is_told_as_the_header_has_it(host: str, header: bytes) -> None:
    made = Subject("it", host, 8080, "/", {}, "m", (), "")
    assert header in made.request("b1", stream=False)
    assert header in forget(made)


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_of_any_name_is_asked_by_it(stream: bool) -> None:
    head, _, body = Subject("it", "h", 80, "/", {}, 'a "b"', (), "").request("b1", stream=stream).partition(b"\r\n\r\n")
    assert orjson.loads(body)["model"] == 'a "b"'
    assert f"content-length: {len(body)}".encode() in head
