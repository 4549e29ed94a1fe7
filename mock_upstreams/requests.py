"""Reads requests: whole bodies within bounds, and what they are as an exchange; it answers nothing."""

from __future__ import annotations

from typing import Any

import orjson

from mock_upstreams.player import Receive

MOST_BODY_BYTES = 128 << 20
MOST_HEAD_BYTES = 512 << 10


class RequestProblem(Exception):  # noqa: N818 - an answer to the caller, not a failure of the server
    """A request that cannot be read, and the status that says so."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class CallerLeft(Exception):  # noqa: N818 - an event, not a failure
    """The caller went away before its request was whole."""


async def read_body(receive: Receive, most: int = MOST_BODY_BYTES) -> bytes:
    """Return the request's whole body. Raises RequestProblem past ``most`` bytes, CallerLeft if it never comes."""
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        body = message.get("body", b"")
        if len(body) > most:
            raise RequestProblem(413, f"the body has more than {most} bytes")
        return bytes(body)
    pieces = []
    size = 0
    while message["type"] == "http.request":
        piece = message.get("body", b"")
        pieces.append(piece)
        size += len(piece)
        if size > most:
            raise RequestProblem(413, f"the body has more than {most} bytes")
        if not message.get("more_body"):
            return b"".join(pieces)
        message = await receive()
    raise CallerLeft


def json_object(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object that ``body`` is, or None."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None
