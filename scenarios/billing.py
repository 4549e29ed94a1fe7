"""Charges: every class at its price, rounding, failures, failover, flawed usage, and what answers tell."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

from harness.checkers.billing import (
    answers_tell_the_charge,
    charge_matches_usage,
    failed_calls_are_free,
    flawed_usage_is_free,
    one_charge_per_success,
    responses_are_billed_on_their_usage,
    streams_are_billed_at_their_end,
)
from harness.checkers.disconnects import disconnects_are_billed_on_what_is_known
from harness.checkers.ledger import money_is_neither_made_nor_lost
from harness.contract import Contract, Model
from harness.scenario import (
    Account,
    Call,
    Injection,
    Key,
    Reply,
    Scenario,
    Workload,
    World,
    at_once,
    chat,
    messages,
    raw,
    repeat,
    responses,
    scenario,
)
from mock_upstreams.faults import (
    cut_after,
    error_in_200,
    respond,
    stall,
    truncate,
    usage_absurd,
    usage_conflict,
    usage_missing,
    usage_negative,
    usage_zero,
)

QUICK = Reply(chunks=3, ttft_ms=20, gap_ms=5)
LAST = 1_000
"""More chunks than any reply here has: a fault after so many strikes just before the last, the terminal event."""
SURFACES = {"chat": chat, "messages": messages, "responses": responses}


def text_models(contract: Contract, tier: str) -> Iterator[Model]:
    """Yield the text models of a tier that every client may call."""
    for model in contract.models:
        if model.tier == tier and model.media == "text" and not model.cli_only and model.price is not None:
            yield model


def on_every_surface(model: Model, **options: object) -> Iterator[Call]:
    """Yield a call of ``model`` on each surface that serves it, streamed and not."""
    for surface, make in SURFACES.items():
        if surface in model.surfaces:
            for stream in (False, True):
                yield make(model.id, stream=stream, **options)


def drawn_usage(rng: random.Random, context_tokens: int) -> Reply:
    """Return a quick reply with usage in all four classes, odd and large, within a context window."""
    part = context_tokens // 8
    output = rng.randrange(1, part)
    return replace(
        QUICK,
        input=rng.randrange(1, part),
        cached=rng.randrange(1, part),
        written=rng.randrange(1, part),
        output=output,
        reasoning=rng.randrange(1, output + 1),
    )


@scenario
def every_class_at_its_price(contract: Contract, rng: random.Random) -> Scenario:
    """Every open Enterprise text model, on every surface, streamed or not, costs its tokens class by class."""
    calls: list[Call] = []
    for model in text_models(contract, "enterprise"):
        for call in on_every_surface(model):
            calls.append(replace(call, at_ms=len(calls) * 10, reply=drawn_usage(rng, model.context_tokens)))
    return Scenario(
        world=World(accounts=(Account("a", credits=100_000_000),)),
        workload=Workload(tuple(calls)),
        checks=(
            charge_matches_usage,
            answers_tell_the_charge,
            streams_are_billed_at_their_end,
            one_charge_per_success,
            responses_are_billed_on_their_usage,
            money_is_neither_made_nor_lost,
        ),
    )


@scenario
def general_models_at_their_price(contract: Contract, rng: random.Random) -> Scenario:
    """General models, older ids included, are billed by tokens like the Enterprise ones."""
    wanted = ("gpt-5.5", "deepseek-v3.2", "claude-sonnet-4-6", "claude-haiku-4-5", "gpt-5.1-codex", *contract.aliases)
    calls: list[Call] = []
    for name in wanted:
        model = contract.model("general", name)
        assert model is not None
        for call in on_every_surface(model, tier="general"):
            reply = drawn_usage(rng, model.context_tokens)
            calls.append(replace(call, model=name, at_ms=len(calls) * 10, reply=reply))
    return Scenario(
        world=World(accounts=(Account("a", credits=100_000_000),)),
        workload=Workload(tuple(calls)),
        checks=(charge_matches_usage, responses_are_billed_on_their_usage, streams_are_billed_at_their_end),
    )


def _telling_usages(contract: Contract, model: Model) -> Iterator[Reply]:
    """Yield replies that only the exact price, rounded up once, costs what it costs."""
    assert model.price is not None
    most, price, free = model.context_tokens, model.price, replace(QUICK, chunks=1, input=0, output=0)

    def credits(dollars: str) -> Fraction:
        return Fraction(dollars) * contract.money.credits_per_usd / 1_000_000

    per_token = credits(price.input)
    exact = whole = per_token.denominator
    while whole > most // 2 and whole % 2 == 0:
        whole //= 2  # half of a whole cost still splits rounding up from rounding to the nearest
    whole = min(whole, most // 2)
    for tokens in (1, whole - 1, whole, whole + 1):
        yield replace(free, input=tokens)
    yield replace(free, input=1, output=1)  # two roundings would cost one credit more
    # A whole cost that binary fractions miss, so that rounding them up costs one credit more.
    for tokens in range(exact, most + 1, exact):
        if math.ceil(tokens / 1_000_000 * float(price.input) * contract.money.credits_per_usd) > tokens * per_token:
            yield replace(free, input=tokens)
            break
    # Costs that any lower price would bring down, were it by its last digit.
    if price.cache_read is not None:
        yield replace(free, cached=_just_over_a_whole_cost(credits(price.cache_read), most))
    yield replace(free, output=_just_over_a_whole_cost(credits(price.output), most))


def _just_over_a_whole_cost(per_token: Fraction, most_tokens: int) -> int:
    """Return the first number of tokens that costs more than as many whole credits as fit."""
    whole = math.floor(most_tokens * per_token)
    tokens = math.floor(whole / per_token) + 1
    return tokens if tokens <= most_tokens else math.floor((whole - 1) / per_token) + 1


@scenario
def cost_is_rounded_up_once(contract: Contract) -> Scenario:
    """At, just under and just over a whole number of credits, and at the smallest cost there is; once per price."""
    calls: list[Call] = []
    priced: set[tuple[str | None, ...]] = set()
    for model in text_models(contract, "enterprise"):
        assert model.price is not None
        figures = (model.price.input, model.price.cache_read, model.price.cache_write, model.price.output)
        if figures not in priced:
            priced.add(figures)
            make = chat if "chat" in model.surfaces else messages
            calls += [make(model.id, reply=reply) for reply in _telling_usages(contract, model)]
    return Scenario(
        world=World(),
        workload=Workload(tuple(replace(call, at_ms=n * 10) for n, call in enumerate(calls))),
        checks=(charge_matches_usage, one_charge_per_success),
        recovers=False,
    )


@scenario(reaches=("chain_exhausted", "stream_broken_after_content", "silence_ended", "hold_voided"))
def failed_calls_cost_nothing(contract: Contract) -> Scenario:
    """Refused, failed everywhere, timed out, or broken in mid-stream: not one of them is charged."""
    calls: list[Call] = []

    def add(call: Call) -> None:
        calls.append(replace(call, id=call.id or f"c{len(calls) + 1}", at_ms=len(calls) * 50))

    for stream in (False, True):
        kind = "s" if stream else "u"
        for surface, model in (("chat", "gpt-5-5"), ("messages", "claude-sonnet-4-7"), ("responses", "gpt-5-5")):
            make = SURFACES[surface]
            add(make("no-such-model", stream=stream))
            add(make(model, stream=stream, secret="ck_nobody"))  # noqa: S106 - a key that nobody has
            add(make(model, stream=stream, key="a-off"))
            add(make(model, stream=stream, id=f"fails-{surface}-{kind}", reply=QUICK))
            add(make(model, stream=stream, id=f"hangs-{surface}-{kind}", reply=QUICK))
            if stream:
                add(make(model, stream=stream, id=f"breaks-{surface}", reply=replace(QUICK, chunks=6)))
                add(make(model, stream=stream, id=f"ends-{surface}", reply=replace(QUICK, chunks=6)))
    named = [call.id for call in calls]
    return Scenario(
        world=World(accounts=(Account("a", keys=(Key("a-key"), Key("a-off", "disabled"))),)),
        workload=Workload(tuple(calls)),
        injections=(
            Injection("*", respond(status=503), calls=tuple(i for i in named if i.startswith("fails"))),
            Injection("*", stall(chunks=0), calls=tuple(i for i in named if i.startswith("hangs"))),
            Injection("*", cut_after(content=2), calls=tuple(i for i in named if i.startswith("breaks"))),
            Injection("*", truncate(content=3), calls=tuple(i for i in named if i.startswith("ends"))),
        ),
        checks=(failed_calls_are_free, disconnects_are_billed_on_what_is_known, money_is_neither_made_nor_lost),
    )


@scenario(reaches=("failover_taken", "retry_taken"))
def failover_is_charged_once(contract: Contract, rng: random.Random) -> Scenario:
    """The primary fails in ways that report usage of their own; the caller pays for the answer it got, once."""
    calls: list[Call] = []
    for surface, model in (("chat", "gpt-5-5"), ("messages", "claude-sonnet-4-7"), ("responses", "gpt-5-5")):
        for stream in (False, True):
            for _ in range(3):
                reply = replace(QUICK, input=rng.randrange(10_000, 90_000), output=rng.randrange(1, 9_000))
                calls.append(SURFACES[surface](model, stream=stream, at_ms=len(calls) * 700, reply=reply))
    # A stream that fails before its first content has, in Anthropic's format, told its input already.
    opened = messages("claude-haiku-latest", id="opened", stream=True, at_ms=len(calls) * 700, reply=calls[0].reply)
    return Scenario(
        world=World(),
        workload=Workload((*calls, opened)),
        injections=(
            Injection("primary", respond(status=500), start_ms=0, stop_ms=len(calls) * 350),
            Injection("primary", error_in_200(), start_ms=len(calls) * 350, stop_ms=opened.at_ms),
            Injection("primary", cut_after(chunks=1), calls=(opened.id,)),
        ),
        checks=(one_charge_per_success, charge_matches_usage, streams_are_billed_at_their_end),
    )


@scenario(reaches=("stream_broken_after_content", "hold_voided"))
def no_charge_is_told_before_it_stands(contract: Contract) -> Scenario:
    """The upstream sends its usage and is cut before its terminal event: the caller hears of neither."""
    calls = [
        SURFACES[surface](model, stream=True, id=f"{surface}-{n}", at_ms=n * 200, reply=replace(QUICK, chunks=4))
        for surface, model in (("chat", "gpt-5-5"), ("messages", "claude-sonnet-4-7"))
        for n in range(2)
    ]
    return Scenario(
        world=World(),
        workload=Workload(tuple(calls)),
        injections=(
            Injection("*", cut_after(chunks=LAST), calls=("chat-0", "messages-0")),
            Injection("*", truncate(chunks=LAST), calls=("chat-1", "messages-1")),
        ),
        checks=(streams_are_billed_at_their_end, failed_calls_are_free),
    )


@scenario(reaches=("flawed_usage_met", "hold_voided"))
def flawed_usage_costs_nothing(contract: Contract) -> Scenario:
    """Usage missing, negative, absurd or in conflict: the answer arrives, nobody pays, the log says why."""
    faults = {
        "missing": usage_missing(),
        "negative": usage_negative(),
        "absurd": usage_absurd(),
        "conflict": usage_conflict(),
        "zero": usage_zero(),
    }
    alone = {what: usage_conflict(what=what) for what in ("total", "reasoning", "cached")}
    calls = [
        SURFACES[surface](model, stream=stream, id=f"{name}-{surface}-{int(stream)}", at_ms=0, reply=QUICK)
        for name in faults
        for surface, model in (("chat", "gpt-5-5"), ("messages", "claude-sonnet-4-7"), ("responses", "gpt-5-5"))
        for stream in (False, True)
    ]
    calls += [
        SURFACES[surface]("gpt-5-5", stream=stream, id=f"{name}-{surface}", at_ms=0, reply=QUICK)
        for name in alone
        for surface, stream in (("chat", True), ("responses", False))
    ]
    spread = tuple(replace(call, at_ms=n * 30) for n, call in enumerate(calls))
    return Scenario(
        world=World(),
        workload=Workload(spread),
        injections=tuple(
            Injection("*", fault, calls=tuple(call.id for call in spread if call.id.startswith(name)))
            for name, fault in {**faults, **alone}.items()
        ),
        checks=(flawed_usage_is_free, one_charge_per_success, disconnects_are_billed_on_what_is_known),
    )


@scenario
def balances_chain_under_concurrency(contract: Contract, rng: random.Random) -> Scenario:
    """Many simultaneous calls of two accounts: what each is told is a link of one chain, other holds excluded."""
    calls: list[Call] = []
    for account in ("a", "b"):
        for call in repeat(chat("gpt-5-5", account=account), at_once(24)):
            reply = replace(QUICK, ttft_ms=rng.randrange(1, 400), input=rng.randrange(1, 90_000), output=50)
            calls.append(replace(call, reply=reply, stream=len(calls) % 2 == 0))
    return Scenario(
        world=World(accounts=(Account("a", credits=500_000), Account("b", credits=500_000))),
        workload=Workload(tuple(calls)),
        checks=(answers_tell_the_charge, charge_matches_usage, money_is_neither_made_nor_lost),
    )


@scenario(reaches=("client_left", "drained_to_the_end", "drain_cut_off"))
def clients_that_leave(contract: Contract) -> Scenario:
    """Clients leave before the head, in mid-stream and during an unstreamed wait; slow upstreams outlast the drain."""
    drain_ms = contract.timeouts.drain_ms
    soon = Reply(chunks=4, ttft_ms=drain_ms / 10, gap_ms=drain_ms * 0.18, input=30_000, output=4_000)
    never = replace(soon, ttft_ms=drain_ms * 2)
    long = replace(soon, chunks=8, gap_ms=drain_ms / 2)
    calls: list[Call] = []
    for surface, model in (("chat", "gpt-5-5"), ("messages", "claude-sonnet-4-7"), ("responses", "gpt-5-5")):
        make = SURFACES[surface]
        calls += [
            make(model, reply=soon, abort_ms=drain_ms / 20),
            make(model, reply=never, abort_ms=drain_ms / 20),
            make(model, stream=True, reply=soon, abort_chunks=1),
            make(model, stream=True, reply=long, abort_chunks=1),
            make(model, stream=True, reply=never, abort_ms=drain_ms / 20),
        ]
    return Scenario(
        world=World(),
        workload=Workload(tuple(replace(call, at_ms=n * 20) for n, call in enumerate(calls))),
        checks=(disconnects_are_billed_on_what_is_known, money_is_neither_made_nor_lost),
        settle_ms=drain_ms * 3,
    )


@scenario(reaches=("hold_voided",))
def an_account_reads_its_own_ledger(contract: Contract) -> Scenario:
    """GET /api/ledger shows each account its own entries, all of them, and nobody else's."""
    failing = chat("gpt-5-5", id="fails", at_ms=220)
    calls = [
        chat("gpt-5-5", account=account, at_ms=n * 50, reply=replace(QUICK, input=20_000, output=100))
        for n, account in enumerate(("a", "b", "a", "b"))
    ]
    reads = [raw("/api/ledger", method="GET", account=account, at_ms=1_000) for account in ("a", "b")]
    return Scenario(
        world=World(accounts=(Account("a"), Account("b", credits=5_000))),
        workload=Workload((*calls, failing, *reads)),
        injections=(Injection("*", respond(status=400), calls=(failing.id,)),),
        checks=(money_is_neither_made_nor_lost,),
        bodies=True,
    )
