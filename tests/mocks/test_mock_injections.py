"""When an injection strikes: window, call, model, surface, role, counts of its own matches, probability."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from mock_asgi import PATHS, ask, injection, journal, request, run, start

from mock_upstreams.injections import Injection, Schedule, names, read_injections
from mock_upstreams.parts import Exchange
from mock_upstreams.server import create_app


def attempt(call: str = "c1", role: str = "primary", ordinal: int = 1, **more: Any) -> Exchange:
    fields = {"provider": "openai", "surface": "chat", "model": "gpt-x", "stream": False, "body": {}, "headers": {}}
    return Exchange(**{**fields, "upstream": role, "call": call, "ordinal": ordinal, **more})


def struck(schedule: Schedule, *attempts: Exchange, at_us: int = 0) -> list[bool]:
    return [bool(schedule.strikes(exchange, at_us)) for exchange in attempts]


def one(seed: int = 1, **fields: Any) -> Schedule:
    return Schedule(read_injections([injection("respond", params={"status": 503}, **fields)]), seed)


def test_the_nth_match_is_struck() -> None:
    assert struck(one(nth=3), *[attempt(f"c{n}") for n in range(1, 6)]) == [False, False, True, False, False]


def test_the_first_few_matches_are_struck() -> None:
    assert struck(one(first=2), *[attempt(f"c{n}") for n in range(1, 5)]) == [True, True, False, False]


def test_only_its_own_matches_count() -> None:
    schedule = one(nth=2, models=["gpt-x"])
    models = ["gpt-y", "gpt-x", "gpt-y", "gpt-x", "gpt-x"]
    assert struck(schedule, *[attempt(model=model) for model in models]) == [False, False, False, True, False]


def test_an_attempt_that_the_fault_cannot_act_on_does_not_count() -> None:
    schedule = Schedule(read_injections([injection("truncate", first=1)]), 1)
    assert struck(schedule, attempt(stream=False), attempt(stream=True), attempt(stream=True)) == [False, True, False]


@pytest.mark.parametrize(
    ("at_us", "expected"), [(0, False), (9_999, False), (10_000, True), (39_999, True), (40_000, False)]
)
def test_the_window_is_half_open(at_us: int, expected: bool) -> None:
    assert struck(one(start_ms=10, stop_ms=40), attempt(), at_us=at_us) == [expected]


@pytest.mark.parametrize(
    ("fields", "exchange", "expected"),
    [
        ({"calls": ["c1", "c2"]}, attempt("c2"), True),
        ({"calls": ["c1", "c2"]}, attempt("c3"), False),
        ({"surfaces": ["messages"]}, attempt(surface="messages"), True),
        ({"surfaces": ["messages"]}, attempt(surface="chat"), False),
        ({"role": "second"}, attempt(role="second"), True),
        ({"role": "second"}, attempt(role="primary"), False),
        ({"role": "*"}, attempt(role="third"), True),
        ({"models": ["gpt-x"]}, attempt(model="gpt-x:fast"), True),
        ({"models": ["gpt-x"]}, attempt(model="gpt-xl"), False),
    ],
)
def test_an_injection_is_narrowed(fields: dict[str, Any], exchange: Exchange, expected: bool) -> None:
    assert struck(one(**fields), exchange) == [expected]


def test_a_model_is_named_with_its_variants() -> None:
    assert names("claude", "claude:eu")
    assert not names("claude", "claude-x")


def test_probability_is_reproducible_and_about_right() -> None:
    attempts = [attempt(f"c{n}") for n in range(2_000)]
    first = struck(one(probability=0.3), *attempts)
    assert first == struck(one(probability=0.3), *attempts)
    assert first != struck(one(probability=0.3, seed=2), *attempts)
    assert 500 < sum(first) < 700
    assert not any(struck(one(probability=0), *attempts))
    assert all(struck(one(probability=1), *attempts))


def test_one_more_call_does_not_reshuffle_the_rest() -> None:
    calls = [f"c{n}" for n in range(200)]
    without = dict(zip(calls, struck(one(probability=0.5), *map(attempt, calls)), strict=True))
    more = ["extra", *calls]
    withal = dict(zip(more, struck(one(probability=0.5), *map(attempt, more)), strict=True))
    assert {call: withal[call] for call in calls} == without


def test_another_attempt_of_the_call_draws_anew() -> None:
    schedule = one(probability=0.5)
    assert len(set(struck(schedule, *[attempt("c1", ordinal=n) for n in range(50)]))) == 2


def test_several_injections_strike_in_their_order() -> None:
    schedule = Schedule(
        read_injections([injection("crlf", role="*"), injection("bom"), injection("pings", role="second")]), 1
    )
    found = schedule.strikes(attempt(stream=True), 0)
    assert [i.fault.name for i, _ in found] == ["crlf", "bom"]
    assert [i.id for i, _ in found] == ["i1", "i2"]


def test_heal_ends_every_injection() -> None:
    schedule = one()
    assert struck(schedule, attempt()) == [True]
    schedule.heal()
    assert struck(schedule, attempt()) == [False]


def test_the_scenarios_own_fields_are_understood() -> None:
    (made,) = read_injections(
        [
            {"role": "primary", "fault": {"name": "cut_after", "params": {"chunks": 3}}, "start_ms": 0, "stop_ms": None}
            | {"nth": None, "first": None, "probability": None, "calls": [], "accounts": ["a"], "models": []}
            | {"surfaces": [], "must_fire": True, "id": "i7"}
        ]
    )
    assert isinstance(made, Injection)
    assert (made.id, made.calls, made.stop_ms) == ("i7", frozenset(), None)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, "must be a list"),
        ([7], "must be an object"),
        ([injection("crlf", rolle="x")], "no field 'rolle'; near: role"),
        ([injection("crlff")], "no fault 'crlff'; near: crlf"),
        ([injection("cut_after", params={"chunk": 1})], "no parameter 'chunk'"),
        ([{"role": "primary", "fault": "crlf"}], "fault must be"),
        ([injection("crlf", role="")], "role must be given"),
        ([injection("crlf", nth=0)], "nth counts from 1"),
        ([injection("crlf", first=1.5)], "first must be a whole number"),
        ([injection("crlf", probability=1.5)], "between 0 and 1"),
        ([injection("crlf", start_ms="now")], "start_ms must be a number"),
        ([injection("crlf", calls="c1")], "calls must be a list"),
        ([injection("crlf", surfaces=["chatt"])], "no surface 'chatt'; near: chat"),
        ([injection("crlf", id="x"), injection("bom", id="x")], "used twice: x"),
    ],
)
def test_what_cannot_be_declared_is_told(data: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_injections(data)


def test_every_problem_of_every_injection_is_told_at_once() -> None:
    with pytest.raises(ValueError, match="injection") as caught:
        read_injections([injection("crlff", id="a"), injection("bom", nth=0, first=0, id="b")])
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == ["injection a", *["injection b"] * 2]


def test_the_window_is_that_of_the_arrival() -> None:
    async def work() -> Any:
        app = create_app()
        await start(app, injections=[injection("respond", params={"status": 503}, start_ms=1_000, stop_ms=3_000)])
        path = f"/r/primary/{PATHS['chat']}"
        found = []
        for _ in range(3):
            found.append((await ask(app, path, request("chat", "ttft=1.5"))).status)
            await asyncio.sleep(1.0)
        return found, (await journal(app))[1]

    statuses, faults = run(work())
    assert statuses == [200, 503, 200]
    assert [fault["at"] for fault in faults] == [2_500_000]


def test_an_injection_strikes_the_attempts_it_was_declared_for() -> None:
    async def work() -> Any:
        app = create_app()
        await start(app, injections=[injection("respond", params={"status": 503}, calls=["c2"], id="outage")])
        links = [
            await ask(app, f"/r/{role}/{PATHS['chat']}", request("chat", call=call))
            for role, call in (("primary", "c1"), ("primary", "c2"), ("second", "c2"))
        ]
        await ask(app, "/control/r/heal", b"{}", headers=())
        links.append(await ask(app, f"/r/primary/{PATHS['chat']}", request("chat", call="c2")))
        return links, *(await journal(app))

    links, attempts, faults = run(work())
    assert [link.status for link in links] == [200, 503, 200, 200]
    assert [a["fault"] for a in attempts] == ["", "respond", "", ""]
    assert [(a["id"], a["ordinal"]) for a in attempts] == [
        ("primary:c1:1", 1),
        ("primary:c2:1", 2),
        ("second:c2:1", 3),
        ("primary:c2:2", 4),
    ]
    assert faults == [
        {"span": "fault", "injection": "outage", "fault": "respond", "upstream": "primary"}
        | {"attempt": "primary:c2:1", "call": "c2", "at": 0}
    ]


def test_a_fault_that_replaces_the_reply_hides_those_before_it_and_is_shown_alone() -> None:
    async def work() -> Any:
        app = create_app()
        first = injection("json_cut_short", id="first")
        over = injection("sse_although_unstreamed", id="over")
        behind = injection("delay", params={"seconds": 1.0}, id="behind")
        idle = injection("truncate", id="idle")
        await start(app, injections=[first, over, behind, idle])
        await ask(app, f"/r/primary/{PATHS['chat']}", request("chat", call="c1"))
        return await journal(app)

    (attempt_,), faults = run(work())
    assert attempt_["fault"] == "sse_although_unstreamed+delay"
    assert attempt_["ended"] == "served"
    assert [fault["injection"] for fault in faults] == ["first", "over", "behind"]


def test_usage_that_no_event_is_left_to_carry_is_lost_and_the_answer_goes_on() -> None:
    async def work() -> Any:
        app = create_app()
        await start(app, injections=[injection("malformed_event", id="i1"), injection("usage_with_finish", id="i2")])
        link = await ask(app, f"/r/primary/{PATHS['chat']}", request("chat", "chunks=1", stream=True))
        return link, (await journal(app))[0]

    link, (attempt_,) = run(work())
    assert (link.status, link.ended, attempt_["ended"]) == (200, True, "fault")
    assert attempt_["reading"]["usage"] is None
