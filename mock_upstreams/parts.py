"""What a reply is made of: plain values that a player sends and a fault rewrites; nothing here touches a socket.

A provider is a generator of parts, a fault a function from a stream of parts to a stream of parts. The end of the
stream is the clean end of the answer. Nobody changes a part; those that come with every answer are not frozen, since
frozen ones take thrice as long to make.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mock_upstreams.answer import Answer


Headers = tuple[tuple[bytes, bytes], ...]
"""Names in lower case and values, as they are sent."""


@dataclass(slots=True)
class Start:
    """Status and headers; sent with the first chunk (or at the clean end), as real servers do, unless ``flush``."""

    status: int
    headers: Headers = ((b"content-type", b"application/json"),)
    flush: bool = False


@dataclass(slots=True)
class Chunk:
    """Bytes of the body, sent at once. ``event`` names the protocol event that they carry (a whole JSON body: json)."""

    data: bytes
    event: str = ""


@dataclass(slots=True)
class Pause:
    """Silence, in seconds; ``math.inf`` hangs until the caller leaves."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Reset:
    """RST: the connection is reset."""


@dataclass(frozen=True, slots=True)
class Cut:
    """FIN without the framing's end: the connection is closed in the middle."""


Part = Start | Chunk | Pause | Reset | Cut


@dataclass(slots=True)
class Exchange:
    """One request as an upstream understood it, and what it means to serve; faults may look, the journal keeps it.

    ``served`` is the lawful answer in the normal form of ``harness.history.Reading`` (text, thinking, signature,
    tools, finish, usage, terminal, sequence, model, items): what a client reads if nothing goes wrong. ``ordinal``
    counts the attempts of this call at this upstream (from 1), ``inflight`` the attempts under way at this upstream,
    this one included; ``answer`` is what the lawful answer says, in no dialect yet.
    """

    provider: str
    surface: str
    upstream: str
    call: str
    ordinal: int
    model: str
    stream: bool
    body: Mapping[str, Any]
    headers: Mapping[str, str]
    served: dict[str, Any] = field(default_factory=dict)
    inflight: int = 1
    answer: Answer | None = None


@dataclass(slots=True)
class Reply:
    """An iterable of parts that knows the exchange it answers."""

    parts: Iterable[Part]
    exchange: Exchange

    def __iter__(self) -> Iterator[Part]:
        return iter(self.parts)
