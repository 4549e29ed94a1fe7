"""Writes one structured line per call, for operators; what a client sends in headers and prompts never gets into it."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

import orjson

from harness.gateway.call import Call
from harness.gateway.redact import Redactor

Sink = Callable[[str], None]


def to_stderr(line: str) -> None:
    """Write a line to standard error."""
    sys.stderr.write(line + "\n")


class LogWriter:
    """Lines of JSON to a sink. All text that is not the gateway's own passes the redactor."""

    def __init__(self, redactor: Redactor, sink: Sink = to_stderr) -> None:
        self._redactor = redactor
        self._sink = sink

    def call(self, call: Call, at_us: int) -> None:
        """Write the line of a call that is over."""
        self.write(self.fields(call, at_us))

    def fields(self, call: Call, at_us: int) -> dict[str, Any]:
        """Return what is told of a call."""
        told: dict[str, Any] = {
            "at": at_us,
            "request": call.request_id,
            "call": call.label,
            "account": call.account,
            "key": call.identity.key if call.identity is not None else "",
            "endpoint": call.endpoint.path,
            "model": call.asked,
            "stream": call.stream,
            "status": call.status,
            "outcome": call.outcome,
            "attempts": call.attempts,
            "credits": call.credits,
            "compensated": call.compensated,
            "ms": (at_us - call.received_us) // 1000,
        }
        if call.refused_as:
            told["error"] = call.refused_as
        if call.flags:
            told["flags"] = call.flags
        return told

    def crash(self, request_id: str, error: BaseException) -> None:
        """Write where the gateway itself failed: places in its code and the error's type, never the error's text."""
        places = [
            f"{PurePath(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)
        ]
        self.write({"crash": type(error).__name__, "request": request_id, "at": places[-5:]})

    def write(self, fields: dict[str, Any]) -> None:
        """Write one line."""
        self._sink(orjson.dumps(fields).decode())
