"""The mock upstreams as one raw ASGI application: every provider, role and run by path, and the control API.

``/{run}/{role}/{provider}/v1/...`` serves providers, ``/control/...`` the control API (``mock_upstreams.control``).
The application is host-agnostic: in simulation it answers for every upstream host, on sockets for every port.
"""

from __future__ import annotations

import asyncio
import difflib
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from random import Random
from typing import Any

import orjson

from mock_upstreams.control import ROUTES, Control, send_error, send_json
from mock_upstreams.faults import apply
from mock_upstreams.injections import Injection
from mock_upstreams.journal import Attempt, kept_headers
from mock_upstreams.marker import Directives, find_marker
from mock_upstreams.normal import fold
from mock_upstreams.parts import Chunk, Exchange, Part, Reply
from mock_upstreams.player import CannotBreak, Receive, Send, play
from mock_upstreams.providers import SERVED, Dialect
from mock_upstreams.providers.base import Problem
from mock_upstreams.requests import (
    CallerLeft,
    RequestProblem,
    json_object,
    read_body,
)
from mock_upstreams.runs import Run, Runs

Scope = Mapping[str, Any]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_UNASKED = Directives()
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127}")


def create_app() -> ASGIApp:
    """Return a fresh application with no runs."""
    return Upstreams()


class Upstreams:
    """The application. Each instance has runs of its own."""

    def __init__(self) -> None:
        self._runs = Runs()
        self._control = Control(self._runs)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's request."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            raise ValueError(f"the mock upstreams speak HTTP, not {scope['type']}")
        run, role, dialect = _place(scope["path"])
        try:
            if run == "control":
                await self._control(scope["method"], scope["path"].split("/")[2:], scope["query_string"], receive, send)
            elif dialect is not None and scope["method"] == "POST" and role:
                await self._attempt(scope, receive, send, dialect, run, role)
            else:
                await self._elsewhere(scope, send, dialect)
        except CallerLeft:
            return

    async def _attempt(
        self, scope: Scope, receive: Receive, send: Send, dialect: Dialect, run_name: str, role: str
    ) -> None:
        """Answer one request to a provider, and keep the journal of it."""
        clock = asyncio.get_running_loop().time
        start_s = clock()
        run = self._runs.of(run_name, start_s)
        headers, credential = kept_headers(scope["headers"])
        raw, problem = b"", None
        try:
            raw = await read_body(receive)
        except RequestProblem as error:
            problem = Problem(error.status, str(error))
        except CallerLeft:
            _left_early(run, dialect, role, start_s, clock())
            raise
        exchange, directives, problem = _understood(dialect, role, raw, headers, problem)
        run.arrive(exchange)
        attempt = run.journal.arrive(start_s, exchange, credential, run.keep_body(raw))
        problem = problem or _refusal(dialect, exchange, credential, run)
        reply = _reply(run, dialect, attempt, directives, raw, problem)
        extensions = scope.get("extensions")
        connection = extensions.get("harness.connection") if extensions else None
        try:
            ending = await play(reply, receive, send, connection, attempt.tape)
        except CannotBreak as error:
            attempt.detail = str(error)
            run.journal.end(attempt, "broken", clock())
            raise
        finally:
            run.leave(exchange)
        run.journal.end(attempt, ending, clock())

    async def _elsewhere(self, scope: Scope, send: Send, dialect: Dialect | None) -> None:
        """Answer the health check, and say of everything else what is served instead."""
        method, path = scope["method"], scope["path"]
        if path == "/healthz":
            await send_json(send, 200, {"status": "ok", "runs": len(self._runs.names())})
        elif dialect is not None and method != "POST":
            await send_error(send, 405, f"{path} takes POST, not {method}")
        else:
            await send_error(send, 404, _not_served(method, path))


def _understood(
    dialect: Dialect, role: str, raw: bytes, headers: Mapping[str, str], problem: Problem | None
) -> tuple[Exchange, Directives, Problem | None]:
    """Return the request as an exchange, what its marker asks for, and what is wrong with it if anything is."""
    call, directives = "", _UNASKED
    body = json_object(raw)
    try:
        call, directives = find_marker(raw)
    except ValueError as error:
        problem = problem or Problem(400, str(error))
    if body is None:
        problem = problem or Problem(400, "We could not parse the JSON body of your request.")
        body = {}
    model = body.get("model")
    name = model if isinstance(model, str) else ""
    stream = body.get("stream") is True and dialect.surface != "count_tokens"
    exchange = Exchange(dialect.provider, dialect.surface, role, call, 0, name, stream, body, headers)
    return exchange, directives, problem


def _refusal(dialect: Dialect, exchange: Exchange, credential: str, run: Run) -> Problem | None:
    """Return why the provider itself refuses a request that could be read, or None."""
    if not credential:
        return Problem(401, "You didn't provide an API key.")
    return dialect.problem(exchange.body) or run.unknown_model(dialect, exchange.model)


def _reply(
    run: Run, dialect: Dialect, attempt: Attempt, directives: Directives, raw: bytes, problem: Problem | None
) -> Reply:
    """Return the reply as it will be played: the lawful one or the provider's refusal, as injections leave it."""
    exchange, now_s = attempt.exchange, attempt.start_s
    parts: list[Part] = []
    if problem is None:
        try:
            parts = _lawful(run, dialect, exchange, directives, raw, now_s)
        except orjson.JSONEncodeError:
            problem = Problem(400, "The JSON body of your request is nested too deeply.")
    if problem is not None:
        exchange.answer = run.no_answer(exchange, now_s)
        attempt.lawful, attempt.detail = False, f"refused: {problem.message}"
        parts = dialect.error(exchange, problem)
    reply = Reply(parts, exchange)
    strikes = run.schedule.strikes(exchange, run.journal.us(now_s))
    return _spoilt(run, attempt, reply, strikes) if strikes else reply


def _spoilt(run: Run, attempt: Attempt, reply: Reply, strikes: Sequence[tuple[Injection, Random]]) -> Reply:
    """Return the reply as the injections leave it, and note in the journal what they did."""
    reply, struck, shown = _struck(reply, strikes)
    for injection in struck:
        run.journal.struck(attempt, injection.id, injection.fault.name, attempt.start_s)
    attempt.touched = bool(struck)
    attempt.lawful = attempt.lawful and all(injection.fault.fault.lawful for injection in shown)
    attempt.faults = "+".join(injection.fault.name for injection in shown)
    return reply


def _struck(
    reply: Reply, strikes: Sequence[tuple[Injection, Random]]
) -> tuple[Reply, list[Injection], list[Injection]]:
    """Return the reply as the injections leave it, each on top of those before; which struck, and which of them show.

    Those that break chunks up come last: what acts on events would find none any more.
    """
    struck: list[Injection] = []
    shown: list[Injection] = []
    for injection, rng in sorted(strikes, key=lambda strike: strike[0].fault.fault.fragments):
        after = apply(injection.fault, reply, rng)
        if after is reply:
            continue  # a fault of streams, and what struck before left none
        reply = after
        struck.append(injection)
        shown = [injection] if injection.fault.fault.replaces else [*shown, injection]
    return reply, struck, shown


def _lawful(
    run: Run, dialect: Dialect, exchange: Exchange, directives: Directives, raw: bytes, now_s: float
) -> list[Part]:
    answer = exchange.answer = run.answer(dialect, exchange, directives, raw, now_s)
    served = exchange.served = dialect.said(exchange, answer, streamed=exchange.stream)
    if not exchange.stream:
        served["sequence"] = "json"
        return dialect.whole(exchange, answer)
    parts = dialect.stream(exchange, answer)
    served["sequence"] = fold([part.event for part in parts if isinstance(part, Chunk) and part.event != "ping"])
    return parts


def _left_early(run: Run, dialect: Dialect, role: str, start_s: float, left_s: float) -> None:
    exchange = Exchange(dialect.provider, dialect.surface, role, "", 0, "", False, {}, {})
    run.arrive(exchange)
    attempt = run.journal.arrive(start_s, exchange)
    attempt.tape.left_s = left_s
    attempt.detail = "the caller left before its request was whole"
    run.leave(exchange)
    run.journal.end(attempt, "left", left_s)


@lru_cache(maxsize=1024)
def _place(path: str) -> tuple[str, str, Dialect | None]:
    """Return the run, the role and the dialect of a path; no role if one of them has no name that could be one."""
    _, run, role, rest = (*path.split("/", 3), "", "", "")[:4]
    named = _NAME.fullmatch(run) and _NAME.fullmatch(role)
    return run, role if named else "", SERVED.get(rest)


def _not_served(method: str, path: str) -> str:
    segments = path.split("/", 3)
    provider = segments[3].partition("/")[0] if len(segments) > 3 else ""
    placed = any(known.startswith(f"{provider}/") for known in SERVED)
    front, rest = (f"/{segments[1]}/{segments[2]}", segments[3]) if placed else ("/{run}/{role}", path.strip("/"))
    near = difflib.get_close_matches(rest, SERVED, n=2)
    hint = f"; did you mean {' or '.join(f'{front}/{known}' for known in near)}?" if near else ""
    served = ", ".join(f"POST {front}/{known}" for known in SERVED)
    return f"{method} {path} is not served{hint}; served are {served}, {', '.join(ROUTES)}"


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
