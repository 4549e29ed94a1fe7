"""What OpenAI's surfaces share: headers, rate limits told, errors; each surface is a file of its own."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from mock_upstreams.parts import Chunk, Exchange, Headers
from mock_upstreams.providers.base import (
    QUOTA_REQUESTS,
    QUOTA_TOKENS,
    Dialect,
    Problem,
    Prompt,
    answer_of,
)

LEAST_CACHED_TOKENS = 1_024
_LIMIT_REQUESTS, _LIMIT_TOKENS = b"%d" % QUOTA_REQUESTS, b"%d" % QUOTA_TOKENS

_KINDS: Mapping[int, tuple[str, str | None, str]] = {
    400: ("invalid_request_error", None, "The request could not be understood."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    402: ("insufficient_quota", "insufficient_quota", "You exceeded your current quota."),
    403: ("invalid_request_error", "unsupported_country_region_territory", "You are not allowed to use this model."),
    404: ("invalid_request_error", "model_not_found", "The model does not exist or you do not have access to it."),
    408: ("server_error", "timeout", "The request timed out."),
    409: ("invalid_request_error", "conflict", "The resource was changed by another request."),
    413: ("invalid_request_error", "request_too_large", "The request is too large."),
    422: ("invalid_request_error", "unprocessable", "The request was well formed but could not be processed."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached for requests per min (RPM). Please try again later."),
    500: ("server_error", None, "The server had an error while processing your request. Sorry about that!"),
    503: ("server_error", "server_is_overloaded", "Our servers are currently overloaded. Please try again later."),
    504: ("server_error", "timeout", "The server timed out."),
    529: ("server_error", "server_is_overloaded", "Our servers are currently overloaded. Please try again later."),
}


class OpenAI(Dialect):
    """Headers and errors of all OpenAI surfaces."""

    provider = "openai"

    @abstractmethod
    def turns(self, body: Mapping[str, Any]) -> Sequence[Any]:
        """Return the turns of the prompt."""

    def prompt(self, body: Mapping[str, Any], raw: bytes) -> Prompt | None:
        """Cache automatically: every prefix of turns of enough tokens, tools and ``prompt_cache_key`` in front."""
        if len(raw) < LEAST_CACHED_TOKENS * 4:
            return None
        front = [body.get("model"), body.get("prompt_cache_key"), body.get("instructions"), body.get("tools")]
        pieces = [front, *self.turns(body)]
        return Prompt(pieces, range(1, len(pieces) + 1), LEAST_CACHED_TOKENS)

    def headers(self, exchange: Exchange) -> Headers:
        answer = answer_of(exchange)
        requests, tokens, window_s = answer.quota
        reset = go_duration(window_s)
        return (
            (b"x-request-id", f"req_{answer.slug}".encode()),
            (b"openai-organization", b"mock-upstreams"),
            (b"openai-processing-ms", b"%d" % (round(answer.ttft_s * 1000) + 1)),
            (b"openai-version", b"2020-10-01"),
            (b"x-ratelimit-limit-requests", _LIMIT_REQUESTS),
            (b"x-ratelimit-limit-tokens", _LIMIT_TOKENS),
            (b"x-ratelimit-remaining-requests", b"%d" % max(QUOTA_REQUESTS - requests, 0)),
            (b"x-ratelimit-remaining-tokens", b"%d" % max(QUOTA_TOKENS - tokens, 0)),
            (b"x-ratelimit-reset-requests", reset),
            (b"x-ratelimit-reset-tokens", reset),
        )

    def error_headers(self, exchange: Exchange, problem: Problem, retry_after_s: float | None) -> Headers:
        told = dict(self.headers(exchange))
        if problem.status == 429:
            told[b"x-ratelimit-remaining-requests"] = b"0"
            if retry_after_s is not None:
                told[b"x-ratelimit-reset-requests"] = go_duration(retry_after_s)
        if retry_after_s is not None:
            told[b"retry-after"] = b"%d" % math.ceil(retry_after_s)
            told[b"retry-after-ms"] = b"%d" % math.ceil(retry_after_s * 1000)
        return tuple(told.items())

    def error_body(self, exchange: Exchange, problem: Problem) -> dict[str, Any]:
        kind, code, message = _words(problem.status)
        return {
            "error": {
                "message": problem.message or message,
                "type": kind,
                "param": problem.param,
                "code": problem.code or code,
            }
        }


def sse(value: Any, event: str) -> Chunk:
    """Return a chat event: data alone."""
    return Chunk(b"data: " + orjson.dumps(value) + b"\n\n", event)


def padding(body: Mapping[str, Any]) -> bytes:
    """Return the member that pads the deltas of a stream (against guessing from lengths), unless it is turned off."""
    options = body.get("stream_options")
    off = isinstance(options, dict) and options.get("include_obfuscation") is False
    return b"" if off else b',"obfuscation":"mockmock"'


def go_duration(seconds: float) -> bytes:
    """Return ``seconds`` as Go writes a duration: ``12ms``, ``1.5s``, ``6m0s``."""
    milliseconds = math.ceil(seconds * 1000)
    if milliseconds < 1000:
        return b"%dms" % milliseconds
    minutes, rest = divmod(milliseconds, 60_000)
    text = b"%gs" % (rest / 1000)
    if not minutes:
        return text
    hours, minutes = divmod(minutes, 60)
    return b"%dh%dm%b" % (hours, minutes, text) if hours else b"%dm%b" % (minutes, text)


def tool_names(tools: Any) -> tuple[str, ...]:
    """Return the names of the functions among ``tools``, nested (chat) or flat (responses)."""
    if not isinstance(tools, list):
        return ()
    found = []
    for tool in tools:
        if isinstance(tool, dict) and tool.get("type") == "function":
            name = (tool.get("function") or tool).get("name")
            if isinstance(name, str):
                found.append(name)
    return tuple(found)


def chosen_tools(body: Mapping[str, Any]) -> tuple[tuple[str, ...], bool]:
    """Return the names of the tools to call and whether one must be called."""
    names = tool_names(body.get("tools"))
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        named = (choice.get("function") or choice).get("name")
        return ((named,) if isinstance(named, str) else names), True
    return names, choice == "required"


def _words(status: int) -> tuple[str, str | None, str]:
    if status in _KINDS:
        return _KINDS[status]
    return _KINDS[500] if status >= 500 else _KINDS[400]
