"""The mock upstreams in a process of their own: what every gateway stands before, and each pair's direct leg."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import orjson

from harness.bench.machine import listener
from harness.bench.plan import DIRECT
from harness.bench.subjects.base import Subject
from harness.target import TargetError
from harness.targets.child import start_child

RUN = "bench"
_PATH = f"/{RUN}/primary/openai"
CHAT = "/v1/chat/completions"


@asynccontextmanager
async def mock(address: str = "") -> AsyncIterator[tuple[Subject, str]]:
    """Serve the mocks, or take those at ``address``; yield them as a subject, and the base URL for gateways."""
    if address:
        port = urlsplit(address).port or 80
        pid = listener(port) if urlsplit(address).hostname in ("127.0.0.1", "localhost", "::1") else None
        yield _subject(address, pid), address.rstrip("/") + _PATH
        return
    config = orjson.dumps({"listeners": {"primary": "open"}})
    async with start_child(["serve", "upstreams", "--config", "-"], config) as child:
        yield _subject(child.named["primary"], child.process.pid), child.named["primary"] + _PATH


def _subject(address: str, pid: int | None) -> Subject:
    parts = urlsplit(address)
    if parts.scheme != "http" or not parts.hostname:
        raise TargetError(f"{address} is no address of mock upstreams", help="give the one of harness serve upstreams")
    return Subject(
        name=DIRECT,
        host=parts.hostname,
        port=parts.port or 80,
        path=_PATH + CHAT,
        headers={"authorization": "Bearer up-bench"},
        model="gpt-5.5",
        roots=() if pid is None else (pid,),
        about="the mock upstreams, called directly",
        answers=True,
    )


def forget(subject: Subject) -> bytes:
    """Return the request that lets the mocks begin the run anew, so that their journal of it does not grow."""
    body = b'{"zero_s":0}'
    head = f"POST /control/{RUN}/start HTTP/1.1\r\nhost: {subject.authority}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body
