"""Reads a request as the client sent it: credentials, body, and the fields that the gateway needs; it trusts none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from harness.contract import Contract
from harness.gateway.asgi import BodyTooLarge, Client
from harness.gateway.errors import Refusal
from harness.gateway.redact import Redactor

_CHARSET = re.compile(r"charset\s*=\s*\"?([^\s;\"]+)", re.IGNORECASE)

_WRITABLE_LEVELS = 250
"""How many levels the JSON writer can write again, whatever limit the contract sets."""


class RequestReader:
    """What every surface's request has in common. Raises Refusals, and nothing else, for what a client can send."""

    def __init__(self, contract: Contract, redactor: Redactor) -> None:
        self._sizes = contract.sizes
        self._redactor = redactor

    def credentials(self, client: Client, accepted: frozenset[bytes]) -> list[str]:
        """Return every credential in the headers that may carry one; an empty one is among them as it came."""
        found = []
        for name, value in client.raw_headers:
            if name in accepted:
                # Undecodable bytes survive, so that they can only fail to be a key.
                text = value.decode("utf-8", "surrogateescape").strip()
                if name == b"authorization":
                    scheme, _, token = text.partition(" ")
                    text = token.strip() if scheme.lower() == "bearer" else text
                found.append(text)
        return found

    async def receive(self, client: Client) -> bytes:
        """Return the whole body, if it says that it is JSON and is not too long. Raises Refusal, ClientGone."""
        self.check_media(client)
        try:
            return await client.body(self._sizes.body_bytes)
        except BodyTooLarge:
            raise Refusal("too_large", f"the body is larger than {self._sizes.body_bytes} bytes") from None

    def check_media(self, client: Client) -> None:
        """Raise Refusal unless the body says that it is plain JSON in UTF-8."""
        headers = client.headers
        if headers.get(b"content-type") == b"application/json" and b"content-encoding" not in headers:
            return  # nearly everybody
        content_type = client.header("content-type")
        media_type = content_type.partition(";")[0].strip().lower()
        if media_type != "application/json" and not media_type.endswith("+json"):
            raise Refusal("unsupported_media", "the content type must be application/json")
        charset = _CHARSET.search(content_type)
        if charset is not None and charset[1].lower() not in ("utf-8", "utf8", "us-ascii"):
            raise Refusal("unsupported_media", "the body must be in UTF-8")
        if client.header("content-encoding").strip().lower() not in ("", "identity"):
            raise Refusal("unsupported_media", "an encoded body is not accepted")

    def parse(self, raw: bytes) -> dict[str, Any]:
        """Return the JSON object in ``raw``. Raises Refusal for anything else, and for nesting past the limit."""
        try:
            value = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            # The parser's words tell the place; it quotes nothing of the body.
            raise Refusal("bad_request", f"the body is not JSON: {error}") from None
        if type(value) is not dict:
            raise Refusal("bad_request", "the body must be a JSON object")
        if self.nests_too_deep(raw, value):
            raise Refusal("bad_request", f"the body nests deeper than {self._sizes.nesting} levels")
        return value

    def nests_too_deep(self, raw: bytes, value: Any) -> bool:
        """Say whether ``value`` has more levels than the limit. Bodies with few brackets are not even walked."""
        limit = min(self._sizes.nesting, _WRITABLE_LEVELS)
        if not _opens_more_than(limit, raw):
            return False
        level = [value]
        for _ in range(limit):
            level = [
                child
                for parent in level
                for child in (parent.values() if type(parent) is dict else parent)
                if type(child) is dict or type(child) is list
            ]
            if not level:
                return False
        return True

    def model_id(self, body: Mapping[str, Any]) -> str:
        """Return the model id that the body asks for. Raises Refusal if there is none."""
        model_id = body.get("model")
        if model_id is None or model_id == "":
            raise Refusal("missing_model", "the body has no model")
        if type(model_id) is not str:
            raise Refusal("bad_request", "model must be a string")
        return model_id

    def printable(self, model_id: str) -> str:
        """Return a stranger's model id as books and logs may show it."""
        return self._redactor.clean(model_id, 128)


def _opens_more_than(limit: int, raw: bytes) -> bool:
    """Say whether there are more than ``limit`` opening brackets in ``raw``, be it in strings.

    From one to the next: ``bytes.count`` looks at every byte by itself, at twenty times the cost of a search.
    """
    for bracket in (b"[", b"{"):
        at = raw.find(bracket)
        while at >= 0:
            if not limit:
                return True
            limit -= 1
            at = raw.find(bracket, at + 1)
    return False
