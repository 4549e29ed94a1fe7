"""Writes the response headers that tell of governor and insurance; it decides none of what they say."""

from __future__ import annotations

from functools import lru_cache

from harness.contract import Contract
from harness.gateway.asgi import Headers
from harness.gateway.call import Call
from harness.gateway.insurer import Insurer, Settlement

JSON = (b"content-type", b"application/json")
_STREAM: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # proxies would hold events back
]


class HeaderWriter:
    """The contract's header names, and when each is sent."""

    def __init__(self, contract: Contract) -> None:
        names = contract.headers
        self._request_id = names.request_id.encode()
        self._active = (names.governor.encode(), b"active")
        self._circuit = names.circuit.encode()
        self._limits = (names.concurrency_limit.encode(), names.concurrency_remaining.encode())
        self._requests = (names.rpm_limit.encode(), names.rpm_remaining.encode())
        self._images = (names.image_limit.encode(), names.image_remaining.encode())
        self._tokens = (names.tpm_limit.encode(), names.tpm_remaining.encode())
        self._capacity = names.capacity_remaining.encode()
        self._insurance = (
            names.insurance_status.encode(),
            names.insurance_trigger.encode(),
            names.insurance_latency_ms.encode(),
            names.insurance_threshold_ms.encode(),
            names.insurance_credits.encode(),
        )

    def whole(self, call: Call, settlement: Settlement | None) -> Headers:
        """Return the headers of a whole JSON answer; ``settlement`` is the insurance's word on it."""
        headers = [JSON, (self._request_id, call.request_id.encode()), *self.governor(call)]
        if settlement is not None:
            headers += self.insurance(settlement)
        return headers

    def stream(self, call: Call, insurer: Insurer) -> Headers:
        """Return the headers that a stream starts with: its insurance is pending."""
        headers = [*_STREAM, (self._request_id, call.request_id.encode()), *self.governor(call)]
        if call.enterprise:
            headers += [(name.encode(), value.encode()) for name, value in insurer.pending().items()]
        return headers

    def governor(self, call: Call) -> Headers:
        """Return the governor's headers: none for general traffic, the first alone for a call not admitted."""
        if not call.enterprise:
            return []
        seen = call.admitted
        if seen is None:
            return [self._active]
        if seen.image_limit is not None:
            own, limit, remaining = self._images, seen.image_limit, seen.image_remaining
        else:
            own, limit, remaining = self._requests, seen.rpm_limit, seen.rpm_remaining
        return [
            self._active,
            (self._limits[0], _decimal(seen.concurrency_limit)),
            (self._limits[1], b"%d" % seen.concurrency_remaining),
            (own[0], _decimal(limit)),
            (own[1], b"%d" % (remaining or 0)),
            (self._tokens[0], _decimal(seen.tpm_limit)),
            (self._tokens[1], b"%d" % seen.tpm_remaining),
            (self._capacity, b"%d" % seen.capacity_remaining),
            (self._circuit, call.circuit.encode()),
        ]

    def insurance(self, settlement: Settlement) -> Headers:
        """Return the insurance headers of a settled call."""
        status, trigger, latency, threshold, credits = self._insurance
        return [
            (status, settlement.status.encode()),
            (trigger, settlement.trigger.encode()),
            (latency, b"%d" % settlement.latency_ms),
            (threshold, _decimal(settlement.threshold_ms)),
            (credits, b"%d" % settlement.credits_compensated),
        ]


@lru_cache(maxsize=64)
def _decimal(limit: int) -> bytes:
    """Return one of the contract's numbers as a header has it: there are few, and each answer tells of several."""
    return b"%d" % limit
