"""What a gateway under test is to the harness: its contract, its claims, and how to start it and read its books."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import httpx

from harness.contract import Contract
from harness.errors import HelpfulError
from harness.scenario import World

Mode = Literal["sim", "local", "remote"]
Mutate = Callable[[Any], Any]
"""A mutant's function: the reference gateway's components in, one of them made wrong."""
Overlay = str | Mapping[str, Any]
"""A named overlay, or dotted contract keys to values."""


class TargetError(HelpfulError):
    """A target that is not there, is no gateway, or died."""


class NotATarget(TargetError):  # noqa: N818 - what it is, not that it went wrong
    """What was named is nothing that can be put under test, or not as it was asked for: a usage error."""


class Unsupported(Exception):  # noqa: N818 - an answer, not a failure
    """A scenario that this target or mode cannot be put through; the message says why."""


@dataclass(frozen=True, slots=True)
class UpstreamAddress:
    """Where the gateway finds one role of its chains, and the credential that it shall use there."""

    openai: str
    anthropic: str
    credential: str


@dataclass(frozen=True, slots=True)
class Wiring:
    """All that one start of a gateway is given.

    ``secrets`` maps key ids to the customers' secrets. ``transport`` is given in sim only: the link to the upstreams.
    ``zero_s`` is an instant of the loop's clock; ``log`` takes the gateway's log lines where the target can give them.
    """

    mode: Mode
    contract: Contract
    world: World
    secrets: Mapping[str, str]
    upstreams: Mapping[str, UpstreamAddress]
    seed: int
    zero_s: float
    epoch_s: int
    transport: httpx.AsyncBaseTransport | None = None
    log: Callable[[str], None] | None = None
    mutate: Mutate | None = None
    mutant: str = ""


async def pages_of(stream: AsyncIterable[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield a body as it comes in pages, each of whole lines: no more than one of them is in memory."""
    rest = b""
    async for piece in stream:
        lines, end, begun = piece.rpartition(b"\n")
        if end:
            yield b"".join((rest, lines, end))
            rest = begun
        else:
            rest += piece
    if rest:
        yield rest


@dataclass(slots=True)
class Bookmark:
    """How far a gateway's books were read: who reads on from it gets what was committed since.

    ``at`` is the target's own number, 0 at the beginning; a reader moves it as it ends.
    """

    at: int = 0


ASGIApp = Callable[[Any, Any, Any], Any]


@dataclass(frozen=True, slots=True)
class Start:
    """What became of a start that should have failed: whether it did, what was said, whether the file is as it was.

    ``untouched`` is None where that cannot be told, because somebody else was writing to it.
    """

    refused: bool
    said: str
    untouched: bool | None


class Process(Protocol):
    """A gateway in a process of its own, whose books are in a file that outlives it; local mode only."""

    @property
    def pid(self) -> int | None:
        """Its process id; None while it is down."""
        ...

    def kill(self) -> None:
        """Kill it as kill -9 does."""
        ...

    async def gone(self) -> None:
        """Return when what was killed is gone. From then on its address takes no connection."""
        ...

    async def restart(self) -> None:
        """Start it again on the same file, at the same address. Raises TargetError if it does not come up."""
        ...

    async def start_second(self, *, read_only: bool = False) -> Start | None:
        """Start another one on the file as it is, or made read-only; None if it cannot be made so."""
        ...

    def fill_disk(self, room_bytes: int) -> bool:
        """Let none of its files grow by more than ``room_bytes`` until it is started again; False if it is down."""
        ...


@dataclass(slots=True)
class Running:
    """A started gateway: reached by ``app`` (sim) or ``base_url`` (sockets).

    ``books`` yields the ledger and usage spans behind a bookmark, a line each, some at once, ``at`` in microseconds
    since the wiring's zero; None if the target shows none. ``alive`` raises TargetError once the gateway is gone.
    ``crash(after_appends, crashed)`` makes the store crash (at once, or inside a later append) and calls ``crashed``;
    what it returns calls a crash off that has not come. ``restart`` builds the gateway again on what was committed;
    ``fail_store(n)`` makes the store refuse the next ``n`` appends: all sim only.
    ``process`` is the gateway's own one where it can be killed and started again: local only.
    ``crashed(line)`` says what a line of its log tells of an exception that nobody in it handled, or nothing.
    """

    base_url: str = ""
    app: ASGIApp | None = None
    books: Callable[[httpx.AsyncBaseTransport, str, Bookmark], AsyncGenerator[bytes, None]] | None = None
    alive: Callable[[], None] = field(default=lambda: None)
    crash: Callable[[int | None, Callable[[], None]], Callable[[], None]] | None = None
    restart: Callable[[], Awaitable[ASGIApp]] | None = None
    fail_store: Callable[[int], None] | None = None
    process: Process | None = None
    crashed: Callable[[str], str] = field(default=lambda line: "")
    taps: tuple[str, ...] = ()
    upstreams_url: str = ""
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Remote only: where the mock upstreams behind the gateway are, and the keys that it knows."""


class Target(Protocol):
    """A gateway under test. ``ours``: whether a fault inside it is the harness's own."""

    name: str
    modes: tuple[Mode, ...]
    claims: tuple[str, ...]
    ours: bool

    def check(self) -> None:
        """Find out before any run whether it can be put under test. Raises TargetError, NotATarget."""
        ...

    def contract(self, overlays: Sequence[Overlay] = ()) -> Contract:
        """Return what the gateway promises, with overlays (names or dotted keys to values) applied in order."""
        ...

    def start(self, wiring: Wiring) -> AbstractAsyncContextManager[Running]:
        """Start the gateway for one scenario and stop it on the way out.

        Raises Unsupported for what it cannot do (an overlay, an opening balance), TargetError if it does not come up.
        """
        ...
