"""What every dialect is asked for, and what they share; a dialect renders answers and errors, and decides no more."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import orjson

from mock_upstreams.answer import Answer, Tokens, Wish
from mock_upstreams.parts import Chunk, Exchange, Headers, Part, Pause, Start

EVENT_STREAM = (b"content-type", b"text/event-stream; charset=utf-8")
JSON = (b"content-type", b"application/json")
QUOTA_REQUESTS = 1_000_000
QUOTA_TOKENS = 4_000_000_000
"""What the rate-limit headers say of a minute. They are told, not enforced: a refusal is an injection's business."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a provider refuses: the status, its own words (empty: the usual ones), the parameter that they are about."""

    status: int
    message: str = ""
    param: str | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as a provider's cache sees it: its pieces in order, after how many of them a prefix may be cached."""

    pieces: Sequence[Any]
    breaks: Iterable[int]
    least_tokens: int


class Dialect(ABC):
    """One wire surface of one provider. Stateless: everything it renders comes from the exchange and its answer."""

    provider: ClassVar[str]
    surface: ClassVar[str]
    content: ClassVar[frozenset[str]]
    """Kinds of events that carry content: text, reasoning or arguments."""
    ping: ClassVar[Chunk] = Chunk(b": ping\n\n", "ping")
    """A keep-alive as this surface writes it."""

    @abstractmethod
    def problem(self, body: Mapping[str, Any]) -> Problem | None:
        """Return why this provider refuses ``body``, or None."""

    @abstractmethod
    def wish(self, body: Mapping[str, Any]) -> Wish:
        """Return what ``body`` asks to be answered."""

    @abstractmethod
    def prompt(self, body: Mapping[str, Any], raw: bytes) -> Prompt | None:
        """Return the prompt as the cache sees it; None if nothing of it can be cached."""

    @abstractmethod
    def usage(self, tokens: Tokens) -> dict[str, Any]:
        """Return ``tokens`` in this surface's own shape."""

    @abstractmethod
    def headers(self, exchange: Exchange) -> Headers:
        """Return the headers of every answer, content type and length aside."""

    @abstractmethod
    def body(self, exchange: Exchange, answer: Answer) -> dict[str, Any]:
        """Return the unstreamed answer."""

    @abstractmethod
    def events(self, exchange: Exchange, answer: Answer) -> list[Chunk]:
        """Return the streamed answer, one event a chunk."""

    @abstractmethod
    def said(self, exchange: Exchange, answer: Answer, *, streamed: bool) -> dict[str, Any]:
        """Return the reading of a lawful answer (docs/normal-form.md) without its sequence."""

    @abstractmethod
    def error_body(self, exchange: Exchange, problem: Problem) -> dict[str, Any]:
        """Return an error in this provider's shape."""

    @abstractmethod
    def error_headers(self, exchange: Exchange, problem: Problem, retry_after_s: float | None) -> Headers:
        """Return the headers of an error, content type and length aside."""

    @abstractmethod
    def error_event(self, exchange: Exchange, problem: Problem, *, failed: bool = False) -> Chunk:
        """Return an error inside a stream; ``failed`` asks for the surface's failed ending where it has one."""

    def whole(self, exchange: Exchange, answer: Answer) -> list[Part]:
        """Return the reply to an unstreamed request: everything at once, ``ttft_s`` after the request."""
        parts = json_parts(200, self.headers(exchange), self.body(exchange, answer))
        return [Pause(answer.ttft_s), *parts] if answer.ttft_s > 0 else parts

    def stream(self, exchange: Exchange, answer: Answer) -> list[Part]:
        """Return the reply to a streamed request: the first content ``ttft_s`` after it, the next ``gap_s`` apart."""
        start = Start(200, (EVENT_STREAM, (b"cache-control", b"no-cache"), *self.headers(exchange)))
        parts: list[Part] = [Pause(answer.ttft_s), start] if answer.ttft_s > 0 else [start]
        chunks = self.events(exchange, answer)
        if answer.gap_s <= 0:
            return parts + chunks
        gap = Pause(answer.gap_s)
        content, begun = self.content, False
        for chunk in chunks:
            if chunk.event in content:
                if begun:
                    parts.append(gap)
                begun = True
            parts.append(chunk)
        return parts

    def error(self, exchange: Exchange, problem: Problem, retry_after_s: float | None = None) -> list[Part]:
        """Return an error reply in this provider's shape."""
        headers = self.error_headers(exchange, problem, retry_after_s)
        return json_parts(problem.status, headers, self.error_body(exchange, problem))


def json_parts(status: int, headers: Headers, value: Any) -> list[Part]:
    """Return a JSON reply with its length."""
    body = orjson.dumps(value)
    return [Start(status, (JSON, (b"content-length", b"%d" % len(body)), *headers)), Chunk(body, "json")]


def named_event(value: Mapping[str, Any]) -> Chunk:
    """Return an event with its name in front, which is its data's ``type``."""
    name = str(value["type"])
    return Chunk(b"event: " + name.encode() + b"\ndata: " + orjson.dumps(value) + b"\n\n", name)


def answer_of(exchange: Exchange) -> Answer:
    """Return the exchange's answer, which the server composed before any dialect or fault saw the exchange."""
    assert exchange.answer is not None
    return exchange.answer


def field_problem(body: Mapping[str, Any], name: str, kind: type, article: str) -> Problem | None:
    """Return a 400 if ``body`` has no ``name`` of type ``kind`` (``article`` names it, with its article), or None."""
    value = body.get(name)
    if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return None if value or kind is int else Problem(400, f"{name}: must not be empty.", name, "empty")
    if name not in body:
        return Problem(400, f"Missing required parameter: '{name}'.", name, "missing_required_parameter")
    return Problem(400, f"Invalid type for '{name}': expected {article}.", name, "invalid_type")
