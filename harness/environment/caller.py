"""Makes calls on a stage, and records what their callers saw of them; it decides on none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.clients import build, drive
from harness.contract import Contract
from harness.environment.plan import default_key
from harness.environment.stage import Stage
from harness.environment.taps import Taps
from harness.history import Recorder
from harness.scenario import Call, World


class Caller:
    """Every caller of a run. ``now_us`` is the time since the run's zero; ``bodies``: bodies are kept."""

    def __init__(
        self, stage: Stage, world: World, recorder: Recorder, taps: Taps, now_us: Callable[[], int], *, bodies: bool
    ) -> None:
        self._stage = stage
        self._recorder = recorder
        self._taps = taps
        self._now_us = now_us
        self._bodies = bodies
        self._keys = {account.id: default_key(world, account.id) for account in world.accounts}
        self._limit_s = limit_s(stage.contract)

    async def call(self, call: Call) -> dict[str, Any]:
        """Make ``call`` now, record it, and return the fields of its span."""
        stage = self._stage
        key = call.key or self._keys[call.account]
        other = stage.secrets[call.other_key] if call.other_key else ""
        request = build(call, secret=stage.secrets[key], contract=stage.contract, other_secret=other)
        span, sent, answer = await drive(
            call,
            request,
            stage.transport,
            stage.base_url,
            self._now_us,
            key=key,
            limit_s=self._limit_s,
            bodies=self._bodies,
        )
        self._taps.scan("answer", call.id, answer, "\n".join(span["headers"].values()).encode())
        if span["claims"].get("leaked"):
            # The driver has blotted out the caller's own key already: only its word tells of it.
            self._recorder.note("secret_seen", self._now_us(), where="answer", key=key, call=call.id)
        if self._bodies:
            span["request_sha"] = self._recorder.body(sent)
            span["answer_sha"] = self._recorder.body(self._taps.without_secrets(answer))
        self._recorder.span("call", span["end"], span)
        return span


def limit_s(contract: Contract) -> float:
    """Return how long a call may take before its client leaves it: longer than any gateway of ``contract`` needs."""
    longest = contract.timeouts.text_call_ms + contract.text.queue_wait_ms + contract.timeouts.drain_ms
    return longest / 1e3 + 30.0
