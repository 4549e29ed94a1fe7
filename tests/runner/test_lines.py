"""Bodies of lines, read as they come: the same lines however they are cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from harness.target import lines_of


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        ([], []),
        ([b"a\nb\n"], [b"a\n", b"b\n"]),
        ([b"a", b"", b"b\nc", b"\n"], [b"ab\n", b"c\n"]),
        ([b"a\n", b"b"], [b"a\n", b"b"]),
        ([b"\n", b"\n"], [b"\n", b"\n"]),
    ],
)
def test_lines_are_the_same_however_the_body_is_cut(pieces: Sequence[bytes], lines: list[bytes]) -> None:
    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    async def read() -> list[bytes]:
        return [line async for line in lines_of(body())]

    assert asyncio.run(read()) == lines
