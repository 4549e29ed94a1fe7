"""CopilotKit's AIMock, called directly with the same answers and the same pace: a peer of the mock."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson

from harness.bench.plan import CHUNKS, GAP_S
from harness.bench.subjects.base import LOOPBACK, Site, Subject, free_port, program, running
from harness.bench.subjects.mock import CHAT

_PIECE = "primary:b0000000:00 "
"""As long as a piece of the mock's text."""
_WHOLE_PIECES = 4


@asynccontextmanager
async def aimock(site: Site) -> AsyncIterator[Subject]:
    """Start it with one answer for streams and one for whole calls, as long as the mock's."""
    path = program("llmock", "HARNESS_AIMOCK", help="npm install @copilotkit/aimock, HARNESS_AIMOCK=.../.bin/llmock")
    port = free_port()
    fixtures = site.folder / "aimock.json"
    answers = (("gap=", CHUNKS), ("[call:", _WHOLE_PIECES))  # the first that fits is taken
    fixtures.write_bytes(
        orjson.dumps(
            {
                "fixtures": [
                    {"match": {"userMessage": text}, "response": {"content": _PIECE * pieces}}
                    for text, pieces in answers
                ]
            }
        )
    )
    pace = ["--latency", f"{GAP_S * 1e3:g}", "--chunk-size", str(len(_PIECE))]
    arguments = [path, "-f", str(fixtures), "-h", LOOPBACK, "-p", str(port), "--log-level", "silent", *pace]
    async with running("aimock", arguments, port, site.folder) as pid:
        yield Subject(
            name="aimock",
            host=LOOPBACK,
            port=port,
            path=CHAT,
            headers={"authorization": "Bearer up-bench"},
            model="gpt-5.5",
            roots=(pid,),
            about="CopilotKit's AIMock, called directly",
            answers=True,
        )
