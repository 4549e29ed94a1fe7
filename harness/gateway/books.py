"""Shows the books: an account its own ledger, the harness everything; it can change nothing in them."""

from __future__ import annotations

import hmac
from collections.abc import AsyncGenerator
from contextlib import aclosing
from hashlib import sha256
from typing import TYPE_CHECKING

import orjson

from harness.gateway.deployment import Deployment
from harness.gateway.store import Pages

if TYPE_CHECKING:
    from harness.gateway.components import Components

_PIECE_BYTES = 1 << 17

Pieces = AsyncGenerator[bytes, None]


class Books:
    """Read-only views of ledger and usage log, in pieces: nobody ever has all of them in memory."""

    def __init__(self, deployment: Deployment) -> None:
        self._token_sha256 = deployment.books_token_sha256

    def may_read_all(self, authorization: str) -> bool:
        """Say whether an Authorization header carries the books' own token."""
        scheme, _, token = authorization.partition(" ")
        digest = sha256(token.strip().encode("latin-1", "replace")).hexdigest()
        return scheme.lower() == "bearer" and hmac.compare_digest(digest, self._token_sha256)

    def of_account(self, parts: Components, account: str) -> Pages:
        """Yield the ledger entries of one account."""
        return parts.ledger.entries(account)

    def as_json(self, parts: Components, account: str) -> Pieces:
        """Yield the ledger of one account as a JSON object, ``{"entries": [...]}``."""
        return _in_large(self._as_json(parts, account))

    async def _as_json(self, parts: Components, account: str) -> Pieces:
        before = b'{"entries":['
        async with aclosing(self.of_account(parts, account)) as pages:
            async for page in pages:
                if page:
                    yield before + orjson.dumps(page)[1:-1]
                    before = b","
        yield b"]}" if before == b"," else before + b"]}"

    def everything(self, parts: Components, after: int, upto: int) -> Pieces:
        """Yield all ledger entries, then all rows of the usage log, as lines.

        Of the store's records those behind number ``after``, up to number ``upto``.
        """
        return _in_large(self._everything(parts, after, upto))

    async def _everything(self, parts: Components, after: int, upto: int) -> Pieces:
        for span, read in (
            (b'{"span":"ledger",', parts.ledger.entries(after=after, upto=upto)),
            (b'{"span":"usage",', parts.usage_log.rows(after, upto)),
        ):
            async with aclosing(read) as pages:
                async for page in pages:
                    # The span goes in as text: a dict for each line would cost as much again.
                    lines = [span + orjson.dumps(one, option=orjson.OPT_APPEND_NEWLINE)[1:] for one in page]
                    yield b"".join(lines)


async def _in_large(pieces: Pieces) -> Pieces:
    """Yield the same bytes in large pieces."""
    waiting, size = [], 0
    async with aclosing(pieces):
        async for piece in pieces:
            waiting.append(piece)
            size += len(piece)
            if size >= _PIECE_BYTES:
                yield b"".join(waiting)
                waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)
