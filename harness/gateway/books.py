"""Shows the books: an account its own ledger, the harness everything; it can change nothing in them."""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import orjson

from harness.gateway.deployment import Deployment

if TYPE_CHECKING:
    from harness.gateway.components import Components

_LINES_PER_PIECE = 500


class Books:
    """Read-only views of ledger and usage log."""

    def __init__(self, deployment: Deployment) -> None:
        self._token_sha256 = deployment.books_token_sha256

    def may_read_all(self, authorization: str) -> bool:
        """Say whether an Authorization header carries the books' own token."""
        scheme, _, token = authorization.partition(" ")
        digest = sha256(token.strip().encode("latin-1", "replace")).hexdigest()
        return scheme.lower() == "bearer" and hmac.compare_digest(digest, self._token_sha256)

    def of_account(self, parts: Components, account: str) -> dict[str, Any]:
        """Return the ledger entries of one account."""
        return {"entries": list(parts.ledger.entries(account))}

    def everything(self, parts: Components, after: int) -> Iterator[bytes]:
        """Yield all ledger entries behind entry ``after``, then all rows of the usage log, as lines in large pieces."""
        spans = [("ledger", entry) for entry in parts.ledger.entries(after=after)]
        spans += [("usage", row) for row in parts.usage_log.rows()]
        for start in range(0, len(spans), _LINES_PER_PIECE):
            yield b"".join(_line(span, values) for span, values in spans[start : start + _LINES_PER_PIECE])


def _line(span: str, values: Mapping[str, Any]) -> bytes:
    return orjson.dumps({"span": span, **values}, option=orjson.OPT_APPEND_NEWLINE)
