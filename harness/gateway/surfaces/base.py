"""What a surface is: the codec of one wire format; it decides nothing about money, limits or failover.

The request's surface is the upstream's dialect: nothing is translated. What a surface changes is the contract's list of
lawful differences, the model's name on the way back, and the ``hypereal`` block.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import orjson

from harness.contract.model import Dialect
from harness.gateway.errors import Refusal
from harness.gateway.sse import Event

Kind = Literal["noise", "preamble", "content", "usage", "terminal", "error"]
"""What an event of a stream is to the relay.

noise: a ping or nothing at all, not passed on. preamble: opens the answer and says nothing of it yet. content: a part
of the answer, or its finish. usage: tells what the call used. terminal: the protocol's end. error: it gave up.
"""

Body = Mapping[str, Any]


class Malformed(Exception):  # noqa: N818 - a finding about an answer
    """An answer or event that is not what its surface's protocol says; the message says what is wrong."""


class Declined(Exception):  # noqa: N818 - a finding about an answer
    """A success of HTTP whose body says that the upstream failed."""


class StreamState:
    """What one upstream stream has said so far; ``asked`` is the model id that the client shall read.

    ``opening`` is the usage that a stream opens with, where its protocol has one, ``usage`` the one it is billed from,
    ``sequence`` the last sequence number.
    """

    __slots__ = ("_needles", "asked", "opening", "sequence", "usage")

    def __init__(self, asked: str) -> None:
        self.asked = asked
        self.opening: Any = None
        self.usage: Any = None
        self.sequence = -1
        self._needles: dict[str, tuple[bytes, bytes]] = {}

    def rename(self, event: Event, holder: dict[str, Any]) -> None:
        """Let ``event``, whose JSON has ``holder`` in it, name the model that the client asked for.

        The bytes are changed in their one place; where that place is not certain, the event is written anew.
        """
        model = holder["model"]
        if model == self.asked or type(model) is not str:
            return
        known = self._needles.get(model)
        if known is None:
            known = (b'"model":' + orjson.dumps(model), b'"model":' + orjson.dumps(self.asked))
            self._needles[model] = known
        old, new = known
        holder["model"] = self.asked
        at = event.raw.find(old)
        if at > 0 and event.raw[at - 1] != 0x5C and event.raw.find(old, at + 1) < 0:
            event.raw = event.raw[:at] + new + event.raw[at + len(old) :]
        else:
            rewrite(event)


def rewrite(event: Event) -> None:
    """Let ``event`` carry its value as it is now, on one data line."""
    name = b"event: " + event.name + b"\n" if event.name else b""
    event.raw = name + b"data: " + encode(event.value) + b"\n\n"


def encode(value: Any) -> bytes:
    """Return ``value`` as JSON. orjson writes fewer levels than it reads: what is deeper is left to the slow writer."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


class Surface(ABC):
    """One wire format. Stateless: what a stream needs to remember is in its StreamState."""

    name: ClassVar[str]
    dialect: ClassVar[Dialect]
    upstream_path: ClassVar[str]
    output_fields: ClassVar[tuple[str, ...]]
    """The request's fields that bound the output, the first that is there counts."""
    ping: ClassVar[bytes] = b": ping\n\n"
    charged: ClassVar[bool] = True

    # The request.

    def check(self, body: Body) -> None:
        """Check the fields that the gateway itself relies on. Raises Refusal bad_request, naming the field."""
        stream = body.get("stream")
        if stream is not None and type(stream) is not bool:
            raise refuse("stream must be a boolean")
        for field in self.output_fields:
            value = body.get(field)
            if value is not None and (type(value) is not int or value <= 0):
                raise refuse(f"{field} must be a whole number above 0")

    def streams(self, body: Body) -> bool:
        """Say whether the client asks for a stream."""
        return body.get("stream") is True

    def output_tokens(self, body: Body) -> int | None:
        """Return the bound on the output that the client sets, or None."""
        for field in self.output_fields:
            value: int | None = body.get(field)
            if value is not None:
                return value
        return None

    def images_asked(self, body: Body) -> int:
        """Return how many images a call of an image model asks for: one at least."""
        return 1

    def upstream_body(self, body: Body, upstream_model: str) -> bytes:
        """Return the body that goes to the upstream: the client's, but for the lawful differences."""
        sent = {**body, "model": upstream_model}
        sent.pop("hypereal", None)
        return encode(sent)

    # An unstreamed answer.

    @abstractmethod
    def verify(self, answer: Any) -> dict[str, Any]:
        """Return ``answer`` if it is a whole answer of this surface. Raises Malformed, or Declined for an error."""

    def usage_of(self, answer: Body) -> Any:
        """Return the usage object of an answer, whatever it holds, or None."""
        return answer.get("usage")

    def images_in(self, answer: Body) -> int:
        """Return how many images an image model's answer counts as: one, where the surface does not count them."""
        return 1

    def finished(self, answer: dict[str, Any], asked: str, hypereal: Body | None) -> bytes:
        """Return the client's body: the answer under the id that was asked for, with the hypereal block if any."""
        if "model" in answer:
            answer["model"] = asked
        if hypereal is not None:
            answer["hypereal"] = hypereal
        return encode(answer)

    # A stream.

    @abstractmethod
    def read(self, event: Event, state: StreamState) -> Kind:
        """Say what ``event`` is, note what it tells in ``state``, and rename its model. Raises Malformed."""

    def place(self, events: Sequence[Event], hypereal: Body) -> None:
        """Put the hypereal block into what tells usage among ``events``; a duplicate stays a duplicate."""
        for event in events:
            holder = self.usage_holder(event)
            if holder is not None:
                holder["hypereal"] = hypereal
                rewrite(event)

    @abstractmethod
    def usage_holder(self, event: Event) -> dict[str, Any] | None:
        """Return the object of an event that the hypereal block goes into, or None if the event tells no usage."""

    @abstractmethod
    def gather(self, events: Sequence[Event]) -> dict[str, Any]:
        """Return the unstreamed answer that a whole stream amounts to."""

    def error_event(self, error: Body, state: StreamState | None) -> bytes:
        """Return the event that tells a client whose stream has begun that it failed; ``error`` is the error body."""
        return b"data: " + orjson.dumps(error) + b"\n\n"


def parsed(event: Event) -> dict[str, Any]:
    """Return the JSON object that is an event's data, kept as its value. Raises Malformed."""
    try:
        value = orjson.loads(event.data)
    except orjson.JSONDecodeError as error:
        raise Malformed(f"an event is no JSON: {error}") from None
    if type(value) is not dict:
        raise Malformed("an event is no JSON object")
    event.value = value
    return value


def required(value: Body, field: str, kind: type) -> Any:
    """Return ``value[field]``. Raises Malformed if it is missing or of another type."""
    found = value.get(field)
    if type(found) is not kind:
        raise Malformed(f"{field} is no {kind.__name__}")
    return found


def refuse(message: str) -> Refusal:
    """Return the refusal of a request body."""
    return Refusal("bad_request", message)


def expect_list(body: Body, field: str) -> None:
    """Check that ``field`` is there and a list. Raises Refusal bad_request."""
    if type(body.get(field)) is not list:
        raise refuse(f"{field} must be a list")
