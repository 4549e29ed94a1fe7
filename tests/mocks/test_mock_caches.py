"""Emulated prompt caches: the first call writes a prefix, a repeat reads it, and a marker's usage overrules both."""

from __future__ import annotations

from typing import Any

import pytest
from mock_asgi import PATHS, ask, request, run, start

from mock_upstreams.server import create_app

LONG = "You are a patient assistant. " * 400
MARKED = {"type": "ephemeral"}


def usages(*calls: tuple[str, str, str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the usage of each call (run, role, surface, body), made one after the other on one server."""

    async def work() -> list[dict[str, Any]]:
        app = create_app()
        await start(app, "r")
        await start(app, "other")
        found = []
        for run_name, role, surface, body in calls:
            link = await ask(app, f"/{run_name}/{role}/{PATHS[surface]}", body)
            assert link.status == 200, link.body
            found.append(link.json["usage"])
        return found

    result: list[dict[str, Any]] = run(work())
    return result


def claude(call: str, system: Any, **more: Any) -> dict[str, Any]:
    return request("messages", call=call, system=system, **more)


def test_a_marked_prefix_is_written_once_and_read_after() -> None:
    system = [{"type": "text", "text": LONG, "cache_control": MARKED}]
    first, second = usages(
        ("r", "primary", "messages", claude("c1", system)), ("r", "primary", "messages", claude("c2", system))
    )
    assert first["cache_read_input_tokens"] == 0
    assert first["cache_creation_input_tokens"] > len(LONG) // 4
    assert second["cache_read_input_tokens"] == first["cache_creation_input_tokens"]
    assert second["cache_creation_input_tokens"] == 0
    assert first["input_tokens"] == second["input_tokens"] > 0


def test_a_breakpoint_that_moved_on_reads_the_old_prefix_and_writes_the_rest() -> None:
    first_turn = {"role": "user", "content": [{"type": "text", "text": LONG, "cache_control": MARKED}]}
    old_turn = {"role": "user", "content": [{"type": "text", "text": LONG, "cache_control": MARKED}]}
    more = {"role": "user", "content": [{"type": "text", "text": LONG * 2, "cache_control": MARKED}]}
    first, second = usages(
        ("r", "primary", "messages", claude("c1", None, messages=[first_turn])),
        (
            "r",
            "primary",
            "messages",
            claude("c1", None, messages=[old_turn, {"role": "assistant", "content": "x"}, more]),
        ),
    )
    assert second["cache_read_input_tokens"] == first["cache_creation_input_tokens"] > 0
    assert second["cache_creation_input_tokens"] > first["cache_creation_input_tokens"]


def test_without_a_breakpoint_nothing_is_cached() -> None:
    for usage in usages(*[("r", "primary", "messages", claude(f"c{n}", LONG)) for n in range(2)]):
        assert usage["cache_read_input_tokens"] == usage["cache_creation_input_tokens"] == 0


@pytest.mark.parametrize("elsewhere", [("other", "primary"), ("r", "second")])
def test_another_run_and_another_upstream_have_caches_of_their_own(elsewhere: tuple[str, str]) -> None:
    system = [{"type": "text", "text": LONG, "cache_control": MARKED}]
    _, there = usages(
        ("r", "primary", "messages", claude("c1", system)), (*elsewhere, "messages", claude("c1", system))
    )
    assert there["cache_read_input_tokens"] == 0


@pytest.mark.parametrize("surface", ["chat", "responses"])
def test_openai_caches_a_long_prefix_by_itself(surface: str) -> None:
    def body(call: str, **more: Any) -> dict[str, Any]:
        turns = [{"role": "developer", "content": LONG}, {"role": "user", "content": f"[call:{call}] go on"}]
        return request(surface, **{"messages" if surface == "chat" else "input": turns}, **more)

    details = "prompt_tokens_details" if surface == "chat" else "input_tokens_details"
    whole = "prompt_tokens" if surface == "chat" else "input_tokens"
    first, second, apart = usages(
        ("r", "primary", surface, body("c1")),
        ("r", "primary", surface, body("c2")),
        ("r", "primary", surface, body("c3", prompt_cache_key="mine")),
    )
    assert first[details]["cached_tokens"] == 0
    assert first[details]["cache_write_tokens"] > 1024
    assert second[details]["cached_tokens"] > len(LONG) // 4
    assert apart[details]["cached_tokens"] == 0
    assert second[details]["cached_tokens"] + second[details]["cache_write_tokens"] <= second[whole]


def test_a_short_prompt_is_not_cached_by_openai() -> None:
    for usage in usages(*[("r", "primary", "chat", request("chat"))] * 2):
        assert usage["prompt_tokens_details"]["cached_tokens"] == 0
        assert usage["prompt_tokens_details"]["cache_write_tokens"] == 0


def test_the_markers_usage_overrules_the_cache() -> None:
    system = [{"type": "text", "text": LONG, "cache_control": MARKED}]
    body = request("messages", "in=1 cached=2 written=3 out=4", system=system)
    for usage in usages(("r", "primary", "messages", body), ("r", "primary", "messages", body)):
        told = (usage["input_tokens"], usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"])
        assert told == (1, 2, 3)
