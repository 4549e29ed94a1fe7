"""What Anthropic's surfaces share: headers, rate limits told, errors; and count_tokens, the smaller of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from mock_upstreams.answer import Answer, Tokens, Wish
from mock_upstreams.normal import blank, digest
from mock_upstreams.parts import Chunk, Exchange, Headers
from mock_upstreams.providers.base import (
    QUOTA_REQUESTS,
    QUOTA_TOKENS,
    Dialect,
    Problem,
    Prompt,
    answer_of,
    named_event,
)

_KINDS: Mapping[int, tuple[str, str]] = {
    400: ("invalid_request_error", "The request is not valid."),
    401: ("authentication_error", "invalid x-api-key"),
    402: ("billing_error", "Your credit balance is too low to access the Anthropic API."),
    403: ("permission_error", "Your API key does not have permission to use the specified resource."),
    404: ("not_found_error", "The requested resource could not be found."),
    408: ("timeout_error", "The request timed out."),
    409: ("conflict_error", "The request conflicts with the resource's current state."),
    413: ("request_too_large", "Request exceeds the maximum allowed number of bytes."),
    422: ("invalid_request_error", "The request could not be processed."),
    429: ("rate_limit_error", "This request would exceed your organization's rate limit."),
    500: ("api_error", "Internal server error"),
    504: ("timeout_error", "The request timed out."),
    529: ("overloaded_error", "Overloaded"),
}

_TOKEN_LIMITS = tuple(
    tuple(b"anthropic-ratelimit-%b-%b" % (kind, what) for what in (b"reset", b"limit", b"remaining"))
    for kind in (b"tokens", b"input-tokens", b"output-tokens")
)


class Anthropic(Dialect):
    """Headers and errors of both Anthropic surfaces."""

    provider = "anthropic"
    ping = Chunk(b'event: ping\ndata: {"type": "ping"}\n\n', "ping")

    def headers(self, exchange: Exchange) -> Headers:
        answer = answer_of(exchange)
        requests, tokens, window_s = answer.quota
        reset = _rfc3339(answer.created + math.ceil(window_s))
        left = b"%d" % max(0, QUOTA_TOKENS - tokens)
        limits: list[tuple[bytes, bytes]] = [
            (b"anthropic-ratelimit-requests-limit", b"%d" % QUOTA_REQUESTS),
            (b"anthropic-ratelimit-requests-remaining", b"%d" % max(0, QUOTA_REQUESTS - requests)),
            (b"anthropic-ratelimit-requests-reset", reset),
        ]
        for name, limit, remaining in _TOKEN_LIMITS:
            limits += ((limit, b"%d" % QUOTA_TOKENS), (remaining, left), (name, reset))
        return (
            (b"request-id", f"req_{answer.slug}".encode()),
            (b"anthropic-organization-id", b"mock-upstreams"),
            *limits,
        )

    def error_body(self, exchange: Exchange, problem: Problem) -> dict[str, Any]:
        kind, message = _KINDS.get(problem.status, _KINDS[500 if problem.status >= 500 else 400])
        error = {"type": kind, "message": problem.message or message}
        return {"type": "error", "error": error, "request_id": f"req_{answer_of(exchange).slug}"}

    def error_headers(self, exchange: Exchange, problem: Problem, retry_after_s: float | None) -> Headers:
        told = dict(self.headers(exchange))
        if problem.status == 429:
            told[b"anthropic-ratelimit-requests-remaining"] = b"0"
            if retry_after_s is not None:
                again = answer_of(exchange).created + math.ceil(retry_after_s)
                told[b"anthropic-ratelimit-requests-reset"] = _rfc3339(again)
        if retry_after_s is not None:
            told[b"retry-after"] = b"%d" % math.ceil(retry_after_s)
        return tuple(told.items())

    def error_event(self, exchange: Exchange, problem: Problem, *, failed: bool = False) -> Chunk:
        value = self.error_body(exchange, problem)
        del value["request_id"]
        return named_event(value)


class CountTokens(Anthropic):
    """POST /v1/messages/count_tokens."""

    surface = "count_tokens"
    content = frozenset()

    def problem(self, body: Mapping[str, Any]) -> Problem | None:
        return prompt_problem(body)

    def wish(self, body: Mapping[str, Any]) -> Wish:
        return Wish()

    def prompt(self, body: Mapping[str, Any], raw: bytes) -> Prompt | None:
        return None

    def usage(self, tokens: Tokens) -> dict[str, Any]:
        return {"input_tokens": tokens.input + tokens.cached + tokens.written}

    def body(self, exchange: Exchange, answer: Answer) -> dict[str, Any]:
        return self.usage(answer.tokens)

    def events(self, exchange: Exchange, answer: Answer) -> list[Chunk]:
        return []

    def said(self, exchange: Exchange, answer: Answer, *, streamed: bool) -> dict[str, Any]:
        return {**blank(), "terminal": True, "items": digest(self.body(exchange, answer))}


def prompt_problem(body: Mapping[str, Any]) -> Problem | None:
    """Return what is wrong with the model or the turns of ``body``, or None."""
    if not body.get("model"):
        return Problem(400, "model: Field required")
    if not isinstance(body["model"], str):
        return Problem(400, "model: Input should be a valid string")
    turns = body.get("messages")
    if not isinstance(turns, list):
        word = "Field required" if turns is None else "Input should be a valid list"
        return Problem(400, f"messages: {word}")
    if not turns:
        return Problem(400, "messages: at least one message is required")
    for n, turn in enumerate(turns):
        if not isinstance(turn, Mapping) or not isinstance(turn.get("role"), str):
            return Problem(400, f"messages.{n}.role: Field required")
    return None


@lru_cache(maxsize=64)
def _rfc3339(epoch_s: int) -> bytes:
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()


COUNT_TOKENS = CountTokens()
