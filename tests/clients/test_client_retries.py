"""How clients repeat a failed call: the tries and pauses that were measured, and none that was not."""

from __future__ import annotations

from typing import Any

import pytest

from harness.clients import next_try_s, with_tries
from harness.clients.retries import CLIENTS
from harness.scenario import Call, chat, messages, responses

MAKES = {"sdk": chat, "claude_code": messages, "codex": responses}


def planned(client: str, *, stream: bool = True) -> tuple[Call, ...]:
    return with_tries([MAKES[client]("m", id="t", client=client, stream=stream)])


def span(call: Call, status: int | None = 503, outcome: str = "refused", retry_after: str = "") -> dict[str, Any]:
    headers = {"retry-after": retry_after} if retry_after else {}
    return {"status": status, "outcome": outcome, "headers": headers, "stream": call.stream}


def made(client: str, *, stream: bool = True, **fault: Any) -> tuple[list[Call], float]:
    """Return the tries that a client makes of a turn whose every try fails alike, and the sum of its pauses."""
    first, *further = planned(client, stream=stream)
    tries, spans, waited_s = [first], [span(first, **fault)], 0.0
    for call in further:
        pause_s = next_try_s(call, spans)
        if pause_s is not None:
            tries.append(call)
            spans.append(span(call, **fault))
            waited_s += pause_s
    return tries, round(waited_s, 2)


@pytest.mark.parametrize(
    ("client", "fault", "tries", "seconds"),
    [
        ("sdk", {}, 3, 1.35),
        ("sdk", {"status": None, "outcome": "cut"}, 3, 1.35),
        ("sdk", {"status": 409}, 3, 1.35),
        ("sdk", {"status": 402}, 1, 0),
        ("sdk", {"retry_after": "2"}, 3, 4),
        ("sdk", {"retry_after": "121"}, 1, 0),
        ("sdk", {"status": 429, "retry_after": "7"}, 3, 14),
        ("sdk", {"status": 200, "outcome": "cut"}, 1, 0),
        ("claude_code", {}, 11, 181.4),
        ("claude_code", {"status": 401}, 11, 181.4),
        ("claude_code", {"status": 402}, 1, 0),
        ("claude_code", {"status": 429, "retry_after": "1"}, 11, 181.8),
        ("claude_code", {"status": 429, "retry_after": "61"}, 1, 0),
        ("codex", {}, 30, 24.2),
        ("codex", {"status": None, "outcome": "cut"}, 30, 24.2),
        ("codex", {"status": 402}, 6, 6.2),
        ("codex", {"status": 400}, 1, 0),
        ("codex", {"status": 429}, 1, 0),
        ("codex", {"status": 429, "retry_after": "1"}, 6, 5),
        ("codex", {"status": 200, "outcome": "cut"}, 6, 6.2),
    ],
)
def test_a_client_makes_the_tries_that_were_measured(
    client: str, fault: dict[str, Any], tries: int, seconds: float
) -> None:
    found, waited_s = made(client, **fault)
    assert len(found) == tries
    assert waited_s == seconds


@pytest.mark.parametrize("outcome", ["ok", "aborted", "open"])
@pytest.mark.parametrize("client", CLIENTS)
def test_nothing_follows_a_try_that_did_not_fail(client: str, outcome: str) -> None:
    first, *further = planned(client)
    assert {next_try_s(call, [span(first, 200, outcome)]) for call in further} == {None}


@pytest.mark.parametrize(
    "fault", [{"status": 200, "outcome": "cut"}, {"status": 200, "outcome": "error"}, {"status": 404}]
)
def test_claude_code_asks_once_more_without_streaming(fault: dict[str, Any]) -> None:
    tries, waited_s = made("claude_code", **fault)
    assert [(call.id, call.stream) for call in tries] == [("t", True), ("t.plain", False)]
    assert waited_s == 0.05


def test_an_unstreamed_turn_has_no_fallback() -> None:
    assert "t.plain" not in {call.id for call in planned("claude_code", stream=False)}


def test_the_tries_of_a_turn_are_planned_one_after_the_other() -> None:
    first, *further = planned("codex")
    assert (first.id, first.turn, first.at_ms) == ("t", "t", 0)
    assert [call.id for call in further] == [f"t.{n}" for n in range(2, 31)]
    assert [call.after for call in further] == [(call.id,) for call in (first, *further[:-1])]
    assert {call.turn for call in further} == {"t"}
    assert {call.at_ms for call in further} == {None}


def test_calls_without_a_client_and_tries_that_are_planned_stay_as_they_are() -> None:
    calls = (chat("m", id="plain"), *planned("sdk"))
    assert with_tries(calls) == calls


def test_an_unknown_client_is_named() -> None:
    with pytest.raises(ValueError, match=r"call t: no client 'curl'; there are sdk, claude_code, codex"):
        with_tries([chat("m", id="t", client="curl")])
