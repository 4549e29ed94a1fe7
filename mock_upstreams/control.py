"""The control API of the upstreams: start, heal, journal, bodies, the registry of faults; it serves no provider."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import parse_qs

import orjson

from mock_upstreams.faults import describe
from mock_upstreams.faults.registry import near
from mock_upstreams.player import Receive, Send
from mock_upstreams.requests import RequestProblem, read_body
from mock_upstreams.runs import Runs, Settings

MOST_CONTROL_BYTES = 64 << 20
PIECE_BYTES = 1 << 18
ROUTES = (
    "GET /healthz",
    "GET /control/faults",
    "GET /control/clock",
    "POST /control/{run}/start",
    "POST /control/{run}/heal",
    "GET /control/{run}/journal",
    "GET /control/{run}/bodies/{sha256}",
)


class ControlProblem(Exception):  # noqa: N818 - an answer to the caller, not a failure of the server
    """What is wrong with a control request, and the status that says so."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Control:
    """Answers what stands below ``/control``."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    async def __call__(self, method: str, path: Sequence[str], query: bytes, receive: Receive, send: Send) -> None:
        """Answer ``method`` on the segments of ``path`` after ``/control``."""
        try:
            await self._answer(method, path, query, receive, send)
        except ControlProblem as problem:
            await send_error(send, problem.status, str(problem))
        except RequestProblem as problem:
            await send_error(send, problem.status, str(problem))

    async def _answer(self, method: str, path: Sequence[str], query: bytes, receive: Receive, send: Send) -> None:
        match method, list(path):
            case "GET" | "HEAD", ["faults"]:
                await send_json(send, 200, {"faults": describe()})
            case "GET" | "HEAD", ["clock"]:
                await send_json(send, 200, {"now_s": asyncio.get_running_loop().time()})
            case "POST", [run, "start"]:
                settings = _settings(await read_body(receive, MOST_CONTROL_BYTES))
                self._runs.start(run, settings)
                await send_json(send, 200, {"run": run, "injections": [i.id for i in settings.injections]})
            case "POST", [run, "heal"]:
                await read_body(receive, MOST_CONTROL_BYTES)
                self._known(run).schedule.heal()
                await send_json(send, 200, {"run": run})
            case "GET", [run, "journal"]:
                now_s = asyncio.get_running_loop().time()
                await _send_lines(send, self._known(run).journal.lines(now_s, _after(query)))
            case "GET", [run, "bodies", digest]:
                await send_bytes(send, 200, self._body(run, digest), "application/octet-stream")
            case _:
                raise ControlProblem(404, f"no control route {method} /control/{'/'.join(path)}; {', '.join(ROUTES)}")

    def _known(self, name: str) -> Any:
        run = self._runs.known(name)
        if run is None:
            raise ControlProblem(404, f"no run {name!r} was started{near(name, self._runs.names())}")
        return run

    def _body(self, name: str, digest: str) -> bytes:
        run = self._known(name)
        body = run.bodies.get(digest)
        if body is None:
            kept = (
                f"it keeps {len(run.bodies)}" if run.settings.bodies else "it keeps none (start it with bodies: true)"
            )
            raise ControlProblem(404, f"run {name} has no body {digest}: {kept}")
        return bytes(body)


def _after(query: bytes) -> int:
    """Return behind how many spans a reading of the journal begins."""
    given = parse_qs(query.decode("latin-1")).get("after", ["0"])[-1]
    if not given.isascii() or not given.isdigit():
        raise ControlProblem(400, "after must be a number of spans")
    return int(given)


def _settings(body: bytes) -> Settings:
    try:
        return Settings.from_json(orjson.loads(body))
    except orjson.JSONDecodeError as error:
        raise ControlProblem(400, f"the body is not JSON: {error}") from error
    except ValueError as error:
        raise ControlProblem(400, str(error)) from error


async def send_json(send: Send, status: int, value: Any) -> None:
    """Answer ``value`` as JSON."""
    await send_bytes(send, status, orjson.dumps(value), "application/json")


async def send_error(send: Send, status: int, message: str) -> None:
    """Answer an error of the server's own, in no provider's shape but readable as any's."""
    kind = "not_found_error" if status == 404 else "invalid_request_error"
    await send_json(send, status, {"type": "error", "error": {"type": kind, "message": message}})


async def send_bytes(send: Send, status: int, body: bytes, content_type: str) -> None:
    """Answer ``body`` as it is."""
    headers = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _send_lines(send: Send, lines: Iterable[bytes]) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/x-ndjson")]})
    piece: list[bytes] = []
    size = 0
    for line in lines:
        piece.append(line)
        size += len(line)
        if size >= PIECE_BYTES:
            await send({"type": "http.response.body", "body": b"".join(piece), "more_body": True})
            piece, size = [], 0
    await send({"type": "http.response.body", "body": b"".join(piece)})
