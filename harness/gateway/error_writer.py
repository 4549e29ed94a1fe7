"""Writes refusals as the contract's error bodies; every message passes the redactor on its way out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from harness.contract import Contract
from harness.gateway.asgi import Client
from harness.gateway.errors import Refusal
from harness.gateway.failures import UpstreamRefusal
from harness.gateway.redact import Redactor


class ErrorWriter:
    """One body for all surfaces: ``{type, error: {type, message, code, param}, request_id}`` satisfies every client."""

    def __init__(self, contract: Contract, redactor: Redactor) -> None:
        self._rows = {row.name: row for row in contract.errors}
        self._redactor = redactor
        self._request_id = contract.headers.request_id.encode()

    def status(self, refusal: Refusal) -> int:
        """Return the HTTP status of ``refusal``."""
        return refusal.status if isinstance(refusal, UpstreamRefusal) else self._rows[refusal.name].status

    def type(self, refusal: Refusal) -> str:
        """Return the error type of ``refusal``."""
        return refusal.type if isinstance(refusal, UpstreamRefusal) else self._rows[refusal.name].type

    def body(self, refusal: Refusal, request_id: str) -> dict[str, Any]:
        """Return the error body of ``refusal``."""
        return {
            "type": "error",
            "error": {
                "type": self.type(refusal),
                "message": self._redactor.clean(refusal.message),
                "code": refusal.name,
                "param": None,
                **refusal.fields,
            },
            "request_id": request_id,
        }

    async def answer(
        self, client: Client, refusal: Refusal, request_id: str, headers: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        """Answer ``client`` with ``refusal``; ``headers`` go with it."""
        body = orjson.dumps(self.body(refusal, request_id))
        own = [(name.encode(), str(value).encode()) for name, value in refusal.headers.items()]
        fixed = [(b"content-type", b"application/json"), (self._request_id, request_id.encode())]
        await client.respond(self.status(refusal), [*fixed, *headers, *own], body)
