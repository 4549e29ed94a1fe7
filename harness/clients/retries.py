"""How real clients repeat a call that failed, as measured: after which failures, how often, how soon; it sends nothing.

A client is data, so that a turn is the same in every run: where a client draws its pauses, they are the middle of what
was measured. What was not measured is not retried. The further tries of a turn are calls of the plan like all others;
those that its client does not make leave no span.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from harness.scenario import Call

RETRY_AFTER = "retry-after"
_DOUBLING = (0.2, 0.4, 0.8, 1.6, 3.2)
_PLAIN_S = 0.05


@dataclass(frozen=True, slots=True)
class Client:
    """One client program: its pauses before each further try, so one try more than there are pauses.

    ``failed`` holds for 5xx and for connections that gave no answer, ``by_status`` for other statuses, ``told`` for a
    429 with Retry-After, ``broken`` for streams that broke. A Retry-After replaces the pause, or only lengthens it
    (``longer_of_both``); one above ``patience_s`` ends the turn. ``plain_after``: what makes it ask once more, without
    streaming.
    """

    failed: tuple[float, ...]
    by_status: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    told: tuple[float, ...] = ()
    broken: tuple[float, ...] = ()
    longer_of_both: bool = False
    patience_s: float = float("inf")
    plain_after: tuple[str, ...] = ()

    @property
    def tries(self) -> int:
        """How many streamed or plain tries of one turn it makes at most, the fallback not counted."""
        return 1 + max(map(len, (self.failed, self.told, self.broken, *self.by_status.values())))


def _nested(inner: Sequence[float], outer: Sequence[float]) -> Iterator[float]:
    """Yield the pauses of requests that are repeated inside of streams that are repeated."""
    for pause_s in outer:
        yield from inner
        yield pause_s
    yield from inner


_SDK = (0.45, 0.9)
_CLAUDE_CODE = (0.6, 1.1, 2.3, 4.6, 8.8, 16.0, 37.0, 37.0, 37.0, 37.0)

CLIENTS: Mapping[str, Client] = {
    "sdk": Client(  # openai 3.52 and anthropic 2.11 for Python, openai 6.49 and anthropic 1.11 for Node
        failed=_SDK, by_status=dict.fromkeys((408, 409, 429), _SDK), told=_SDK, patience_s=120
    ),
    "claude_code": Client(  # 2.1.197
        failed=_CLAUDE_CODE,
        by_status=dict.fromkeys((401, 408, 429), _CLAUDE_CODE),
        told=_CLAUDE_CODE,
        longer_of_both=True,
        patience_s=60,
        plain_after=("broken", "404"),
    ),
    "codex": Client(  # 0.169.0: five requests in each of six streams
        failed=tuple(_nested(_DOUBLING[:4], _DOUBLING)),
        by_status=dict.fromkeys((401, 402, 403, 404), _DOUBLING),
        told=_DOUBLING,
        broken=_DOUBLING,
    ),
}
"""The clients by name; ``Call.client`` names one."""


def with_tries(calls: Sequence[Call]) -> tuple[Call, ...]:
    """Return ``calls``, each one of a retrying client followed by all the further tries that this client may make.

    Raises ValueError for a client that is not known.
    """
    made: list[Call] = []
    for call in calls:
        if not call.client or call.turn:
            made.append(call)
            continue
        if call.client not in CLIENTS:
            raise ValueError(f"call {call.id}: no client {call.client!r}; there are {', '.join(CLIENTS)}")
        made += _turn(call, CLIENTS[call.client])
    return tuple(made)


def _turn(call: Call, client: Client) -> list[Call]:
    tries = [replace(call, turn=call.id)]
    again = replace(call, turn=call.id, at_ms=None, delay_ms=0, wait_retry_after=False)
    for number in range(2, client.tries + 1):
        tries.append(replace(again, id=f"{call.id}.{number}", after=(tries[-1].id,)))
    if client.plain_after and call.stream:
        tries.append(replace(again, id=f"{call.id}.plain", after=(tries[-1].id,), stream=False))
    return tries


def next_try_s(call: Call, tries: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the pause before ``call``, the next try of a turn whose ``tries`` so far are these spans; None: not made.

    It is not made if the last try was the last in its client's eyes, whatever has become of it.
    """
    client, last = CLIENTS[call.client], tries[-1]
    kind = _kind(last)
    if not kind:
        return None
    falls_back = last["stream"] and kind in client.plain_after
    if falls_back or call.stream != last["stream"]:
        return _PLAIN_S if falls_back and not call.stream else None
    told_s = _told_s(last)
    pauses = client.told if kind == "429" and told_s is not None else _pauses(client, kind)
    if len(tries) > len(pauses) or (told_s or 0) > client.patience_s:
        return None
    pause_s = pauses[len(tries) - 1]
    if told_s is None:
        return pause_s
    return max(told_s, pause_s) if client.longer_of_both else told_s


def _kind(span: Mapping[str, Any]) -> str:
    """Return how a try failed: failed, broken, or its status; nothing for one that did not, or whose client left."""
    status, outcome = span["status"], span["outcome"]
    if outcome in ("ok", "aborted", "open"):
        return ""
    if status is None or status >= 500:
        return "failed"
    return "broken" if status < 300 else str(status)


def _pauses(client: Client, kind: str) -> tuple[float, ...]:
    if kind == "failed":
        return client.failed
    return client.broken if kind == "broken" else client.by_status.get(int(kind), ())


def _told_s(span: Mapping[str, Any]) -> float | None:
    """Return the Retry-After of an answer in whole seconds, the one form that all of these clients read."""
    told = str(span["headers"].get(RETRY_AFTER, ""))
    return float(told) if told.isascii() and told.isdigit() else None
