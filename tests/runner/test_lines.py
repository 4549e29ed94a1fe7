"""Bodies of lines, read as they come in pages: whole lines however they are cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from harness.target import pages_of


@pytest.mark.parametrize(
    ("pieces", "pages"),
    [
        ([], []),
        ([b"a\nb\n"], [b"a\nb\n"]),
        ([b"a\nb\nc", b"d\n"], [b"a\nb\n", b"cd\n"]),
        ([b"a", b"", b"b\nc", b"\n"], [b"ab\n", b"c\n"]),
        ([b"a\n", b"b"], [b"a\n", b"b"]),
        ([b"\n", b"\n"], [b"\n", b"\n"]),
    ],
)
def test_lines_are_whole_however_the_body_is_cut(pieces: Sequence[bytes], pages: list[bytes]) -> None:
    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    async def read() -> list[bytes]:
        return [page async for page in pages_of(body())]

    assert asyncio.run(read()) == pages
