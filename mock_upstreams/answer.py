"""What a lawful answer says, in no dialect: text, reasoning, tool calls, usage and timing; it renders nothing.

Every word carries the upstream and the call (``primary:c17:0``), so that a splice of two answers and a swap between two
callers are provable; an EN SPACE ends each, so that every piece has a character of several bytes to be split inside.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import orjson

from mock_upstreams.marker import Directives
from mock_upstreams.schema import instance

SPACE = "\u2002"
BYTES_PER_TOKEN = 4
LARGE_NUMBER = 2**63 - 1
"""In answers of unknown kinds: a gateway that reads numbers as doubles changes it."""


class Tokens(NamedTuple):
    """Usage in disjoint classes: fresh input, cache reads, cache writes, output (``reasoning`` is a part of it)."""

    input: int = 0
    cached: int = 0
    written: int = 0
    output: int = 0
    reasoning: int = 0


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool call: ``id`` without the dialect's prefix, its arguments as the fragments that a stream sends."""

    id: str
    name: str
    fragments: tuple[str, ...]

    @property
    def arguments(self) -> str:
        """The whole arguments, JSON text."""
        return "".join(self.fragments)


class Wish(NamedTuple):
    """What a request itself asks for, as its dialect reads it: a JSON format, tools by name, reasoning.

    ``schema`` is None without a JSON format, ``forced`` says that some tool must be called, ``told`` that the last turn
    is a tool's result, ``parallel`` that several tools may be called at once.
    """

    schema: Mapping[str, Any] | None = None
    tools: tuple[str, ...] = ()
    forced: bool = False
    told: bool = False
    thinks: bool = False
    parallel: bool = True


@dataclass(slots=True)
class Answer:
    """A lawful answer. ``slug`` goes into ids: distinct per upstream, call and attempt; ``created`` is epoch seconds.

    ``thoughts`` and ``pieces`` are reasoning and text, one a chunk; ``redacted`` is opaque reasoning; ``unknown`` adds
    an item of a kind that no gateway knows. ``quota`` is (used requests, used tokens, seconds to the window's end).
    """

    slug: str
    created: int
    pieces: tuple[str, ...]
    thoughts: tuple[str, ...]
    signature: str
    redacted: str
    tools: tuple[Tool, ...]
    unknown: Mapping[str, Any] | None
    tokens: Tokens
    ttft_s: float
    gap_s: float
    quota: tuple[int, int, float]

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.pieces)

    @property
    def thinking(self) -> str:
        """The whole reasoning text."""
        return "".join(self.thoughts)


def compose(
    *,
    upstream: str,
    call: str,
    ordinal: int,
    directives: Directives,
    wish: Wish,
    prompt: Tokens,
    created: int,
    quota: tuple[int, int, float],
) -> Answer:
    """Return the answer of ``upstream`` to the ``ordinal``-th attempt of ``call``.

    ``prompt`` is the input side of the usage, told or emulated. Shapes: text; tools (two calls at once, one if the
    request forbids parallel ones); thinking (reasoning, then text); structured (JSON text); mixed (reasoning, redacted
    reasoning, text, tools); unknown (text and an item of an unknown kind). Without a shape the request decides. A
    request whose last turn is a tool's result is not answered by another tool call, so that agents come to an end.
    """
    shape = _shape(directives.shape, wish)
    mark = f"{upstream}:{call or '-'}"
    slug = f"{upstream}-{call or '-'}-{ordinal}"
    chunks = directives.chunks
    pieces: tuple[str, ...] = ()
    if shape != "tools":
        if wish.schema is not None or shape == "structured":
            pieces = _sliced(_json_text(mark, chunks, wish.schema), chunks)
        else:
            pieces = tuple([f"{mark}:{n}{SPACE}" for n in range(chunks)])
    thinks = shape in ("thinking", "mixed")
    thoughts = tuple([f"{mark}:thought:{n}{SPACE}" for n in range(chunks)]) if thinks else ()
    tools = tuple(_tools(mark, slug, chunks, wish)) if shape in ("tools", "mixed") else ()
    output = directives.output
    if output is None:
        output = len(pieces) + len(thoughts) + sum(len(tool.fragments) for tool in tools)
    reasoning = min(directives.reasoning or len(thoughts), output)
    signature = f"signature:{mark}:{ordinal}" if thinks else ""
    redacted = f"redacted:{mark}:{ordinal}" if shape == "mixed" else ""
    unknown = {"mark": mark, "number": LARGE_NUMBER} if shape == "unknown" else None
    tokens = Tokens(prompt.input, prompt.cached, prompt.written, output, reasoning)
    ttft_s, gap_s = directives.ttft, directives.gap
    # By place: by name it would take twice the time.
    return Answer(slug, created, pieces, thoughts, signature, redacted, tools, unknown, tokens, ttft_s, gap_s, quota)


def prompt_tokens(body_bytes: int) -> int:
    """Return how many tokens a request of that many bytes counts, where nobody says."""
    return math.ceil(body_bytes / BYTES_PER_TOKEN)


def _shape(asked: str, wish: Wish) -> str:
    if not asked:
        if wish.forced and not wish.told:
            return "tools"
        return "thinking" if wish.thinks else "text"
    if wish.told:
        return {"tools": "text", "mixed": "thinking"}.get(asked, asked)
    return asked


def _tools(mark: str, slug: str, chunks: int, wish: Wish) -> Iterator[Tool]:
    names: Sequence[str] = wish.tools or ("lookup",)
    for n in range(2 if wish.parallel else 1):
        arguments = orjson.dumps({"mark": f"{mark}:{n}", "steps": list(range(chunks))}).decode()
        yield Tool(f"{slug}-{n}", names[n % len(names)], _sliced(arguments, chunks))


def _json_text(mark: str, chunks: int, schema: Mapping[str, Any] | None) -> str:
    words = {"answer": SPACE.join(f"{mark}:{n}" for n in range(chunks))}
    return orjson.dumps(instance(schema, mark) if schema else words).decode()


def _sliced(text: str, count: int) -> tuple[str, ...]:
    """Return ``text`` in at most ``count`` slices of nearly equal length, none of them empty."""
    bounds = [round(n * len(text) / count) for n in range(count + 1)]
    return tuple([text[a:b] for a, b in pairwise(bounds) if b > a])
