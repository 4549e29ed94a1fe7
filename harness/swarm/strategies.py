"""Scenarios as Hypothesis strategies, the simplest first; nothing is run here, and no promised number is written here.

Each scenario first draws the features that it may use at all (swarm testing): what is rare together when everything is
always possible, such as a tiny queue under a storm of resets, is common when most of the rest is switched off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

from harness.contract import Contract
from harness.contract.loader import overlay_named
from harness.scenario import ROLES, Account, Call, Crash, Injection, Key, Reply, Scenario, StoreFailure, Workload, World
from harness.swarm.faults import FAMILIES, faults

NAME = "swarm"
MOST_CALLS, MOST_INJECTIONS = 9, 4
SHAPES = ("text", "tools", "thinking", "structured", "mixed")
FEATURES = (
    "stream",
    "messages",
    "responses",
    "general",
    "other_models",
    "second_account",
    "second_key",
    "dead_keys",
    "poor",
    "bursts",
    "pauses",
    "turns",
    "aborts",
    "slow_clients",
    "large_bills",
    "shapes",
    "slow_answers",
    "other_paths",
    "small_limits",
    "small_rates",
    "small_breaker",
    "blind_breaker",
    "tries",
    "chains",
    "short_times",
    "link",
    "listeners",
    "crashes",
    "store_failures",
    "targeted",
    "windows",
    *FAMILIES,
)
"""What a scenario may use, if it draws it."""
SPOILERS = frozenset(
    {
        "poor",
        "dead_keys",
        "small_rates",
        "other_paths",
        "listeners",
        "crashes",
        "store_failures",
        "aborts",
        "windows",
        "slow_clients",
    }
)
"""Features that keep calls from upstreams, or faults from striking: with all of them on, little would happen."""


def scenarios(contract: Contract) -> st.SearchStrategy[Scenario]:
    """Return scenarios for a gateway of ``contract``, without checks; each has a lawful overlay and ends recovered."""
    return _scenario(_Menu(contract))


class _Menu:
    """What there is to choose from in a contract: models by tier and surface, times, limits."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self.models = {
            (tier, surface): [
                model.id
                for model in contract.models
                if model.tier == tier and surface in model.surfaces and model.media == "text" and not model.cli_only
            ]
            for tier in ("enterprise", "general")
            for surface in ("chat", "messages", "responses")
        }
        self.short = dict(overlay_named("short"))


Features = frozenset[str]


@st.composite
def _features(draw: st.DrawFn) -> Features:
    """A subset of FEATURES: what ends most calls early is switched on one time in four, the rest every other time."""
    return frozenset(name for name in FEATURES if draw(st.integers(0, 3)) >= (3 if name in SPOILERS else 2))


@st.composite
def _scenario(draw: st.DrawFn, menu: _Menu) -> Scenario:
    features = draw(_features())
    overlay = draw(_overlay(menu, features))
    accounts = draw(_accounts(menu, features))
    calls = tuple(draw(_calls(menu, features, accounts, _times_ms(menu, overlay))))
    injections = tuple(draw(_injections(menu, features, calls, _times_ms(menu, overlay))))
    linked, crashing = "link" in features, "crashes" in features
    return Scenario(
        world=World(accounts, overlay, draw(_listeners(menu)) if "listeners" in features else {}),
        workload=Workload(calls),
        checks=(),
        injections=injections,
        crashes=draw(_crashes()) if crashing else (),
        store_failures=draw(_store_failures()) if "store_failures" in features and not crashing else (),
        exact=True,
        bodies=draw(st.booleans()),
        connect_ms=draw(st.sampled_from((0.0, 1.0, 30.0))) if linked else 0.0,
        latency_ms=draw(st.sampled_from((0.0, 0.5, 20.0))) if linked else 0.0,
        chop=draw(st.booleans()) if linked else False,
        name=NAME,
        promise="Whatever fails and whoever calls, every promise is kept.",
    )


def _times_ms(menu: _Menu, overlay: Mapping[str, Any]) -> tuple[float, ...]:
    """Return the promised times that matter to an answer in flight, shortest first: just before, at and after them."""
    contract = menu.contract
    named = {
        "timeouts.ping_ms": contract.timeouts.ping_ms,
        "insurance.threshold_ms": contract.insurance.threshold_ms,
        "timeouts.silence_ms": contract.timeouts.silence_ms,
        "timeouts.text_call_ms": contract.timeouts.text_call_ms,
        "timeouts.drain_ms": contract.timeouts.drain_ms,
        "text.queue_wait_ms": contract.text.queue_wait_ms,
    }
    effective = sorted({float(overlay.get(name, value)) for name, value in named.items()})
    return tuple(time + offset for time in effective for offset in (-1.0, 0.0, 1.0) if time + offset > 0)


@st.composite
def _overlay(draw: st.DrawFn, menu: _Menu, features: Features) -> dict[str, Any]:
    overlay: dict[str, Any] = dict(menu.short) if "short_times" in features else {}
    if "small_limits" in features:
        overlay["text.concurrency"] = draw(st.sampled_from((1, 2, 3)))
        overlay["text.queue_length"] = draw(st.sampled_from((menu.contract.text.queue_length, 0, 1, 2)))
    if "small_rates" in features:
        overlay["text.requests"] = draw(st.sampled_from((menu.contract.text.requests, 1, 2, 3, 5)))
        overlay["text.tokens"] = draw(st.sampled_from((menu.contract.text.tokens, 4_200, 9_000, 20_000)))
        overlay["user_rate.requests"] = draw(st.sampled_from((menu.contract.user_rate.requests, 1, 2, 3)))
    if "blind_breaker" in features:
        overlay["breaker.min_calls"] = 1_000_000
    elif "small_breaker" in features:
        overlay["breaker.min_calls"] = draw(st.sampled_from((1, 2, 3)))
        overlay["breaker.failure_percent"] = draw(st.sampled_from((menu.contract.breaker.failure_percent, 1, 100)))
        overlay["breaker.probes"] = overlay["breaker.successes_to_close"] = draw(st.sampled_from((1, 2, 3)))
        overlay["breaker.cooldown_ms"] = draw(st.sampled_from((100, 500, 2_000)))
    if "tries" in features:
        overlay["failover.retries_per_target"] = draw(st.sampled_from((0, 1, 2)))
        overlay["failover.backoff_ms"] = draw(st.sampled_from((menu.contract.failover.backoff_ms, 0, 10)))
    if "chains" in features:
        long = draw(st.integers(1, len(ROLES)))
        for model in dict.fromkeys(models[0] for models in menu.models.values() if models):
            overlay[f"models.{model}.chain"] = list(ROLES[:long])
    return overlay


@st.composite
def _accounts(draw: st.DrawFn, menu: _Menu, features: Features) -> tuple[Account, ...]:
    ids = ("a", "b") if "second_account" in features else ("a",)
    least = menu.contract.money.general_minimum_credits
    made = []
    for id_ in ids:
        keys = [Key(f"{id_}1")]
        if "second_key" in features:
            states = ("active", "disabled", "expired", "suspended") if "dead_keys" in features else ("active",)
            keys.append(Key(f"{id_}2", draw(st.sampled_from(states))))
        rich = 1_000_000
        low = st.sampled_from((rich, least, least - 1, least + 1, 0, 1, 20)) | st.integers(0, 3 * least)
        made.append(Account(id_, draw(low) if "poor" in features else rich, tuple(keys)))
    return tuple(made)


@st.composite
def _calls(
    draw: st.DrawFn, menu: _Menu, features: Features, accounts: Sequence[Account], times_ms: Sequence[float]
) -> list[Call]:
    calls: list[Call] = []
    gaps = [1.0, 10.0, 137.0]
    if "pauses" in features:
        gaps += [700.0, 2_500.0, 11_000.0, 61_000.0]
    now_ms = 0.0
    for n in range(1, draw(st.integers(1, MOST_CALLS)) + 1):
        if calls:
            now_ms += draw(st.sampled_from((0.0, *gaps) if "bursts" in features else gaps))
        calls.append(draw(_call(menu, features, accounts, times_ms, f"c{n}", now_ms, [call.id for call in calls])))
    return calls


@st.composite
def _call(
    draw: st.DrawFn,
    menu: _Menu,
    features: Features,
    accounts: Sequence[Account],
    times_ms: Sequence[float],
    id_: str,
    at_ms: float,
    before: Sequence[str],
) -> Call:
    tier = draw(st.sampled_from(("enterprise", "general"))) if "general" in features else "enterprise"
    surfaces = ["chat", *(name for name in ("messages", "responses") if name in features)]
    surface = draw(st.sampled_from([name for name in surfaces if menu.models[tier, name]]))
    known = menu.models[tier, surface]
    model = draw(st.sampled_from(known)) if "other_models" in features else known[0]
    account = draw(st.sampled_from(accounts))
    options: dict[str, Any] = {}
    if "other_paths" in features and draw(st.integers(0, 3)) == 3:
        return draw(_other_call(surface, tier, model, account, id_, at_ms))
    if "turns" in features and before and draw(st.booleans()):
        options["after"] = (draw(st.sampled_from(before)),)
        options["delay_ms"] = draw(st.sampled_from((0.0, 1.0, 50.0)))
        options["wait_retry_after"] = draw(st.booleans())
    if "aborts" in features and draw(st.booleans()):
        if draw(st.booleans()):
            options["abort_chunks"] = draw(st.sampled_from((1, 2, 3)))
        else:
            options["abort_ms"] = draw(st.sampled_from((1.0, 20.0, 60.0, 300.0, 1_100.0, 5_000.0)))
    if "slow_clients" in features and draw(st.booleans()):
        name = draw(st.sampled_from(("read_pause_ms", "upload_ms")))
        options[name] = draw(st.sampled_from((1.0, 40.0, 600.0)))
    max_tokens = draw(st.sampled_from((None, 16, 300))) if "large_bills" in features else None
    return Call(
        surface,
        model,
        id=id_,
        at_ms=None if options.get("after") else at_ms,
        account=account.id,
        key=draw(st.sampled_from(account.keys)).id,
        tier="general" if tier == "general" else "managed",
        stream=draw(st.booleans()) if "stream" in features else False,
        reply=draw(_reply(features, times_ms)),
        max_tokens=max_tokens,
        **options,
    )


@st.composite
def _other_call(draw: st.DrawFn, surface: str, tier: str, model: str, account: Account, id_: str, at_ms: float) -> Call:
    """A call that is no plain one: no key, a model that nobody has, a list of models, a count of tokens."""
    common: dict[str, Any] = {
        "id": id_,
        "at_ms": at_ms,
        "account": account.id,
        "key": account.keys[0].id,
        "tier": "general" if tier == "general" else "managed",
    }
    kind = draw(st.sampled_from(("no_key", "no_model", "models", "count_tokens")))
    if kind == "models":
        return Call("models", "", method="GET", **common)
    if kind == "count_tokens":
        return Call("count_tokens" if surface == "messages" else surface, model, **common)
    if kind == "no_model":
        return Call(surface, "no-such-model", **common)
    return Call(surface, model, auth="none", **common)


@st.composite
def _reply(draw: st.DrawFn, features: Features, times_ms: Sequence[float]) -> Reply:
    slow = (*times_ms,) if "slow_answers" in features else ()
    sizes: dict[str, Any] = {}
    if "large_bills" in features and draw(st.booleans()):
        count = st.sampled_from((0, 1, 7, 1_000, 123_457))
        sizes = {"input": draw(count), "cached": draw(count), "written": draw(count), "output": draw(count)}
        sizes["reasoning"] = draw(st.sampled_from((0, sizes["output"] // 2)))
    return Reply(
        chunks=draw(st.sampled_from((2, 1, 3, 6))),
        ttft_ms=draw(st.sampled_from((10.0, 1.0, 50.0, 400.0, *slow))),
        gap_ms=draw(st.sampled_from((2.0, 0.0, 30.0, *(slow[:9] if slow else ())))),
        shape=draw(st.sampled_from(("text", "tools", "thinking", "structured", "mixed")))
        if "shapes" in features
        else "text",
        **sizes,
    )


@st.composite
def _injections(
    draw: st.DrawFn, menu: _Menu, features: Features, calls: Sequence[Call], times_ms: Sequence[float]
) -> list[Injection]:
    families = [family for family in FAMILIES if family in features]
    asked = [call for call in calls if call.surface != "models"]
    made: list[Injection] = []
    for n in range(1, draw(st.integers(0, MOST_INJECTIONS)) + 1 if families else 1):
        options: dict[str, Any] = {}
        if "targeted" in features and asked:
            options |= draw(_aim(asked))
        if "windows" in features:
            options["start_ms"] = draw(st.sampled_from((0.0, 5.0, 150.0, 3_000.0)))
            options["stop_ms"] = draw(st.sampled_from((None, 100.0, 2_000.0, 20_000.0)))
        made.append(
            Injection(
                draw(st.sampled_from(("primary", "*", "second", "third"))),
                draw(faults(draw(st.sampled_from(families)), times_ms)),
                id=f"i{n}",
                must_fire=False,
                **options,
            )
        )
    return made


def _aim(calls: Sequence[Call]) -> st.SearchStrategy[dict[str, Any]]:
    """One way to narrow an injection: to calls, surfaces or models, to some of its matches, or to a share of them."""
    return st.one_of(
        st.builds(lambda call: {"calls": (call.id,)}, st.sampled_from(calls)),
        st.builds(lambda n: {"nth": n}, st.integers(1, 3)),
        st.builds(lambda n: {"first": n}, st.integers(1, 3)),
        st.builds(lambda call: {"surfaces": (call.surface,)}, st.sampled_from(calls)),
        st.builds(lambda call: {"models": (call.model,)}, st.sampled_from(calls)),
        st.builds(lambda share: {"probability": share}, st.sampled_from((0.5, 0.9))),
    )


def _listeners(menu: _Menu) -> st.SearchStrategy[dict[str, Any]]:
    states = st.sampled_from(("refusing", "tls_failing", "hanging"))
    return st.dictionaries(st.sampled_from(ROLES[:3]), states, max_size=2)


def _crashes() -> st.SearchStrategy[tuple[Crash, ...]]:
    at_ms = st.sampled_from((30.0, 5.0, 400.0))
    return st.lists(st.builds(Crash, at_ms), max_size=1).map(tuple)


def _store_failures() -> st.SearchStrategy[tuple[StoreFailure, ...]]:
    at_ms = st.sampled_from((30.0, 5.0, 400.0))
    return st.lists(st.builds(StoreFailure, at_ms, st.sampled_from((1, 2))), max_size=1).map(tuple)
