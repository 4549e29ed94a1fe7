"""Makes calls on a stage, and records what their callers saw of them; it decides on none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.clients import Requests, drive
from harness.clients.exchange import Exchange
from harness.clients.request import Request
from harness.contract import Contract
from harness.environment.plan import default_key
from harness.environment.scanner import Scanner
from harness.environment.stage import Stage
from harness.history import Recording
from harness.scenario import Call, World


class Caller:
    """Every caller of a run. ``now_us`` is the time since the run's zero; ``bodies``: bodies are kept."""

    def __init__(
        self,
        stage: Stage,
        world: World,
        recording: Recording,
        scanner: Scanner,
        now_us: Callable[[], int],
        *,
        bodies: bool,
    ) -> None:
        self._stage = stage
        self._recording = recording
        self._scanner = scanner
        self._now_us = now_us
        self._bodies = bodies
        self._keys = {account.id: default_key(world, account.id) for account in world.accounts}
        self._limit_s = limit_s(stage.contract)
        self._requests = Requests(stage.contract)

    async def call(self, call: Call) -> dict[str, Any]:
        """Make ``call`` now, record it, and return the fields of its span."""
        exchange, key, request = await self.make(call)
        return self.record(exchange, key, request)

    async def make(self, call: Call) -> tuple[Exchange, str, Request]:
        """Make ``call`` now, and return what came of it, the key's id, and the request."""
        stage = self._stage
        key = call.key or self._keys[call.account]
        other = stage.secrets[call.other_key] if call.other_key else ""
        request = self._requests.build(call, stage.secrets[key], other)
        exchange = await drive(call, request, stage.transport, stage.base_url, self._now_us, limit_s=self._limit_s)
        return exchange, key, request

    def record(self, exchange: Exchange, key: str, request: Request) -> dict[str, Any]:
        """Record a call that has just ended, and return the fields of its span."""
        at_us, bytes_sent = self._now_us(), len(request.body)
        span, _, answer = read_answer(
            exchange, self._recording, self._scanner, key, bytes_sent, request.credentials, at_us
        )
        if self._bodies:
            span["request_sha"] = self._recording.body(request.body)
            span["answer_sha"] = self._recording.body(self._scanner.without_secrets(answer))
        self._recording.span("call", span["end"], span)
        return span


def read_answer(
    exchange: Exchange,
    recording: Recording,
    scanner: Scanner,
    key: str,
    request_bytes: int,
    credentials: tuple[str, ...],
    at_us: int,
) -> tuple[dict[str, Any], bytes, bytes]:
    """Return a call's span, its line and its answer's body, and note at ``at_us`` what secrets those held."""
    span, line, answer = exchange.finished(key, request_bytes, credentials)
    scanner.scan(at_us, "answer", span["id"], answer, "\n".join(span["headers"].values()).encode())
    if span["claims"].get("leaked"):
        # The caller's own key is blotted out already: only this word tells of it.
        recording.note("secret_seen", at_us, where="answer", key=key, call=span["id"])
    return span, line, answer


def limit_s(contract: Contract) -> float:
    """Return how long a call may take before its client leaves it: longer than any gateway of ``contract`` needs."""
    longest = contract.timeouts.text_call_ms + contract.text.queue_wait_ms + contract.timeouts.drain_ms
    return longest / 1e3 + 30.0
