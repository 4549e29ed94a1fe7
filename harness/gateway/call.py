"""One call on its way through the pipeline: what is known of it so far; it does nothing but remember."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from harness.contract import Model
from harness.gateway.asgi import Client, ClientStream
from harness.gateway.keys import Identity
from harness.gateway.ledger import Hold
from harness.gateway.surfaces import Surface
from harness.gateway.surfaces.base import StreamState
from harness.gateway.time_limit import TimeLimit
from harness.gateway.usage import Usage

if TYPE_CHECKING:
    from harness.gateway.governor import Snapshot, Ticket

EndpointTier = Literal["enterprise", "general", "root"]
"""``root``: the model id decides whether the Enterprise or the general rules hold."""

_LABEL = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A path that takes calls: its surface, its tier, and the headers that may carry a credential there."""

    path: str
    surface: str
    tier: EndpointTier
    credential_headers: frozenset[bytes]


@dataclass(slots=True, eq=False)
class Call:
    """What the stages of the pipeline learn and decide about one request.

    Times in µs are the run's.
    """

    endpoint: Endpoint
    client: Client
    surface: Surface
    request_id: str
    received_us: int
    """When the request was fully received; until then, when it began."""
    enterprise: bool
    """Whether the Enterprise rules hold: the endpoint's word, from when the model is known on that of its tier."""

    label: str = ""
    """What ledger and usage log call it: the caller's own word for it, or its request id; an authority for nothing."""
    identity: Identity | None = None
    account: str = ""
    """The caller's account, empty while nobody knows it."""
    secrets: tuple[bytes, ...] = ()
    """The credentials that it came with, none of which may go anywhere."""
    raw: bytes = b""
    body: dict[str, Any] = field(default_factory=dict)
    stream: bool = False
    asked: str = ""
    """The model id that the client asked for, made safe to be read while it is not known to be one."""
    model: Model | None = None

    limit: TimeLimit | None = None
    """The call's time limit while it runs; moved forward when the client leaves."""
    prompt_tokens: int = 0
    output_tokens: int = 0
    replay_key: tuple[str, str] | None = None
    """What its answer will be kept by, while it is the one that runs for its idempotency key."""
    hold: Hold | None = None
    ticket: Ticket | None = None
    admitted: Snapshot | None = None
    """The governor's limits as the call's admission left them."""
    circuit: str = ""

    sent: tuple[str, bytes] = ("", b"")
    """The upstream's body for one upstream model, kept for the next try."""
    attached: bool = False
    """Whether an upstream is at work for this call."""
    attempts: list[str] = field(default_factory=list)
    out: ClientStream | None = None
    state: StreamState | None = None
    """What the last upstream stream said of itself."""
    content_passed: bool = False
    ended_us: int = 0
    """When the last upstream byte was received."""
    blocked_us: int = 0
    """How long the upstream had to wait for the client to read."""

    usage: Usage | None = None
    images: int = 0
    """How many images its answer has, for a model that makes them."""
    status: int = 0
    outcome: str = ""
    refused_as: str = ""
    flags: list[str] = field(default_factory=list)
    credits: int = 0
    compensated: int = 0
    insurance: str = ""

    @property
    def begun(self) -> bool:
        """Whether the client has had the head of a stream."""
        return self.out is not None and self.out.started

    def flag(self, word: str) -> None:
        """Flag the call in the books, once."""
        if word not in self.flags:
            self.flags.append(word)

    def label_as(self, word: str) -> None:
        """Take the caller's word for this call if it is short, safe and no key; else its request id."""
        self.label = word if _LABEL.fullmatch(word) and "ck_" not in word else self.request_id
