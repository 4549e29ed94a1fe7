"""What is to be measured, on whom, how often: plain values; nothing is started or measured here."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

MEASURES: Mapping[str, str] = {
    "latency": "one unstreamed call after the other: what is added to each",
    "streams": "one stream after the other: what is added to the first chunk and between chunks",
    "calls": "unstreamed calls in a closed loop: CPU of each, and how many a second",
    "chunks": "paced streams in a closed loop: CPU of each chunk",
}
DEFAULT_TARGETS = ("reference", "stub", "nginx")
CHUNKS, GAP_S = 20, 0.010
"""Of a stream: pieces of text, and the seconds between them."""
CONNECTIONS = (1, 64)
DIRECT, CONTROL = "mock", "mock again"
"""The upstream called directly, and once more: what two calls of the same thing differ by is the machine's noise."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a person asked for.

    ``pairs`` is rounds of calls, ``stream_pairs`` rounds of streams, ``blocks`` how many independent parts the
    measurement is cut into (each gives one value of every figure), ``seconds`` how long one closed loop goes on.
    ``upstreams`` is the address of mocks that are served already; empty: they are started.
    """

    targets: tuple[str, ...] = DEFAULT_TARGETS
    measures: tuple[str, ...] = tuple(MEASURES)
    pairs: int = 400
    blocks: int = 8
    seconds: float = 1.0
    seed: int = 0
    upstreams: str = ""
    model: str = ""
    key: str = field(default="", repr=False)
    connections: tuple[int, ...] = CONNECTIONS

    @property
    def stream_pairs(self) -> int:
        """Rounds of streams: a tenth of the rounds of calls, since each takes as long as its pauses."""
        return max(self.blocks, self.pairs // 10)

    def command(self, target: str, measure: str) -> str:
        """Return the command that measures one figure of one target again."""
        parts = ["harness", "bench", *(["--target", target] if target != DIRECT else []), "--measure", measure]
        rounds = {"--pairs": self.pairs} if measure in ("latency", "streams") else {"--seconds": f"{self.seconds:g}"}
        options: dict[str, object] = {**rounds, "--blocks": self.blocks, "--seed": self.seed}
        if self.upstreams:
            options["--upstreams"] = self.upstreams
        if self.model and "://" in target:
            options["--model"] = self.model
        return shlex.join([*parts, *(str(word) for option in options.items() for word in option)])


def request_body(model: str, call: str, *, stream: bool) -> bytes:
    """Return the body that every target is sent: one prompt whose marker says what the mock shall answer."""
    pace = f" chunks={CHUNKS} gap={GAP_S:g}" if stream else ""
    prompt = f"[call:{call}{pace} in=1000 out={CHUNKS}] Say what you would say."
    streamed = b',"stream":true,"stream_options":{"include_usage":true}' if stream else b""
    return b'{"model":%b,"messages":[{"role":"user","content":"%b"}],"max_tokens":%d%b}' % (
        orjson.dumps(model),
        prompt.encode(),
        CHUNKS,
        streamed,
    )
