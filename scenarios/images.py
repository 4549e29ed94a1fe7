"""Image generations: what they answer, cost and pass on, and the images and tokens per minute of image models."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from harness.checkers.billing import (
    answers_tell_the_charge,
    charge_matches_usage,
    flawed_usage_is_free,
    one_charge_per_success,
)
from harness.checkers.errors import a_model_on_the_wrong_endpoint_is_told_the_right_one
from harness.checkers.fairness import quotas_are_apart
from harness.checkers.image_answers import (
    images_are_answered_in_openais_shape,
    sizes_qualities_and_references_reach_the_upstream,
)
from harness.checkers.image_windows import image_windows_hold
from harness.checkers.insurance import answers_carry_the_settlement, headers_say_what_the_body_says
from harness.checkers.passage import everything_reaches_the_upstream
from harness.checkers.rates import request_windows_hold
from harness.checkers.remaining import (
    admitted_answers_tell_the_limits,
    governor_is_announced,
    remaining_headers_are_true,
)
from harness.checkers.time_limits import time_limits_hold
from harness.checkers.tokens import reservations_are_told, token_windows_hold
from harness.checkers.waiting import refused_calls_cost_nothing
from harness.contract import Contract
from harness.scenario import (
    Account,
    Call,
    Injection,
    Scenario,
    Workload,
    World,
    at_once,
    chat,
    evenly,
    images,
    messages,
    repeat,
    responses,
    scenario,
)
from mock_upstreams.faults import fewer_images, respond, usage_missing, usage_negative, usage_zero
from scenarios.governor import PROBE, lasting
from scenarios.requests import WIDE, WIDEST, drawn_reply, model_ids, spaced

IMAGE = "gpt-image-2"
IN_CHAT = "nano-banana-2"
"""An image model that is served on chat alone."""
TOLD = (remaining_headers_are_true, admitted_answers_tell_the_limits)
WINDOWS = (image_windows_hold, refused_calls_cost_nothing, *TOLD)
ANSWERS = (
    images_are_answered_in_openais_shape,
    sizes_qualities_and_references_reach_the_upstream,
    everything_reaches_the_upstream,
)
MONEY = (charge_matches_usage, answers_tell_the_charge, one_charge_per_success)
INSURED = (answers_carry_the_settlement, headers_say_what_the_body_says)


def several(count: int, **options: Any) -> Call:
    """Return a call that asks for so many images."""
    return images(IMAGE, fields={"n": count}, **options)


@scenario(reaches=("failover_taken",))
def everything_an_image_can_be_asked_for(contract: Contract, rng: random.Random) -> Scenario:
    """Sizes, qualities, references, several at once, unknown fields: all is passed on, answered and billed."""
    references = [f"https://example.com/{n}.png" for n in range(3)]
    asked: tuple[dict[str, Any], ...] = (
        {},
        {"n": rng.randrange(2, 6)},
        {"size": rng.choice(("1536x1024", "2048x2048")), "quality": rng.choice(("low", "high"))},
        {"size": "auto", "quality": "auto", "n": 1},
        {"reference_images": references, "image": references[0]},
        {"x_seed": WIDE, "x_style": {"weights": [WIDEST, -WIDEST], "none": None}},
        {"hypereal": {"trace": "mine"}, "background": "transparent", "output_format": "png", "moderation": "low"},
    )
    calls = [
        images(IMAGE, fields=fields, reply=drawn_reply(rng, input=rng.randrange(1, 3_000), output=rng.randrange(9_000)))
        for fields in asked
    ]
    long = images(IMAGE, prompt="a long and detailed description of a picture, " * 120, reply=drawn_reply(rng))
    cached = images(IMAGE, reply=drawn_reply(rng, input=rng.randrange(500), cached=rng.randrange(1, 9_000), output=700))
    moved = images(IMAGE, id="moved", fields={"n": 2}, reply=drawn_reply(rng, input=77, output=1_234))
    return Scenario(
        world=World(),
        workload=Workload(spaced([*calls, long, cached, moved], 400)),
        injections=(Injection("primary", respond(status=503), calls=("moved",)),),
        checks=(*ANSWERS, *MONEY, *INSURED, flawed_usage_is_free, governor_is_announced, *TOLD),
        bodies=True,
        recovers=False,
    )


@scenario(reaches=("input_refused",))
def images_on_the_wrong_path(contract: Contract) -> Scenario:
    """An image model on a path that does not serve it is told the right one; there it is served."""
    wrong = [make(IMAGE, reply=PROBE) for make in (chat, responses, messages)]
    wrong += [make(IN_CHAT, reply=PROBE) for make in (images, messages)]
    right = [images(IMAGE, reply=PROBE), chat(IN_CHAT, reply=PROBE)]
    return Scenario(
        world=World(),
        workload=Workload(spaced([*wrong, *right])),
        checks=(a_model_on_the_wrong_endpoint_is_told_the_right_one, images_are_answered_in_openais_shape),
        bodies=True,
        recovers=False,
    )


@scenario(reaches=("failover_taken",))
def as_long_as_an_image_may_take(contract: Contract) -> Scenario:
    """An image that is made within its time is answered, whatever was tried before; one that is not ends at it."""
    limit_ms = contract.timeouts.image_call_ms
    half = limit_ms * 0.5
    quick, slow = limit_ms * 0.45, limit_ms * 0.6
    calls = [
        images(IMAGE, id="in-time", at_ms=0, reply=lasting(quick)),
        images(IMAGE, id="too-late", at_ms=10, reply=lasting(slow)),
        chat(IN_CHAT, id="chat-too-late", at_ms=20, reply=lasting(slow)),
        images(IMAGE, at_ms=30, reply=lasting(limit_ms * 0.95)),
    ]
    late = tuple(call.id for call in calls if call.id)
    return Scenario(
        world=World(overlay={"failover.retries_per_target": 0}),
        workload=Workload(tuple(calls)),
        injections=(Injection("primary", respond(status=503, after_s=half / 1e3), calls=late),),
        checks=(time_limits_hold,),
        exact=True,
        recovers=False,
    )


@scenario(reaches=("flawed_usage_met",))
def images_with_flawed_usage(contract: Contract, rng: random.Random) -> Scenario:
    """Images are billed by their tokens: without usage, or with one that cannot be, they are free, and counted."""
    flaws = (usage_missing(), usage_negative(), usage_zero())
    calls = [
        several(rng.randrange(1, 4), id=f"flawed{n}", reply=drawn_reply(rng, input=100, output=3_000))
        for n in range(len(flaws))
    ]
    sound = several(2, reply=drawn_reply(rng, input=rng.randrange(1, 500), output=rng.randrange(1, 20_000)))
    in_chat = chat(IN_CHAT, reply=drawn_reply(rng, input=rng.randrange(1, 500), output=rng.randrange(1, 2_000)))
    return Scenario(
        world=World(),
        workload=Workload(spaced([*calls, sound, in_chat], 200)),
        injections=tuple(Injection("*", flaw, calls=(f"flawed{n}",)) for n, flaw in enumerate(flaws)),
        checks=(flawed_usage_is_free, *MONEY, *INSURED, *TOLD),
        recovers=False,
    )


@scenario(reaches=("images_refused", "chain_exhausted", "client_left"))
def images_to_the_image(contract: Contract, rng: random.Random) -> Scenario:
    """Each image asked for is taken at admission, and those returned are kept, for a window and not a moment longer."""
    limit, window_ms = 12, contract.image.window_ms
    calls = [
        several(5, id="returns-two", at_ms=0, reply=lasting(300)),
        several(5, at_ms=10, reply=lasting(300)),
        several(3, at_ms=20, reply=PROBE),  # counted as a call it would fit
        several(2, at_ms=30, reply=PROBE),
        images(IMAGE, at_ms=40, reply=PROBE),
        # Two of the first five came: three are left, which it had taken.
        several(4, at_ms=1_000, reply=PROBE),
        several(3, at_ms=1_010, reply=PROBE),
        images(IMAGE, at_ms=1_020, reply=PROBE),
        # Each image is free again a window after it was taken.
        images(IMAGE, at_ms=window_ms - 1, reply=PROBE),
        several(3, at_ms=window_ms, reply=PROBE),
        several(2, at_ms=window_ms + 1, reply=PROBE),
        images(IMAGE, at_ms=window_ms + 2, reply=PROBE),
    ]
    # What failed, or nobody waited for, counts the images that came of it.
    calls += [several(limit, id="fails", account="b", at_ms=0, reply=PROBE)]
    calls += [several(4, account="b", at_ms=30_000, reply=lasting(400), abort_ms=100)]
    calls += [several(limit - 4, account="b", at_ms=31_000, reply=PROBE)]
    calls += [images(IMAGE, account="b", at_ms=31_100, reply=PROBE)]
    # An answer of chat counts one; its model has a window of its own.
    calls += repeat(chat(IN_CHAT, reply=lasting(100)), at_once(limit + 2, 100))
    # And at random, long after: what fits and what does not is whatever it comes to.
    calls += [
        several(rng.randrange(1, 6), at_ms=window_ms * 3 + rng.randrange(40_000_000) / 1e3, reply=drawn_reply(rng))
        for _ in range(12)
    ]
    return Scenario(
        world=World(
            accounts=(Account("a"), Account("b")),
            overlay={
                "image.images": limit,
                "image.requests": 1_000,
                "breaker.min_calls": 1_000_000,
                "failover.retries_per_target": 0,
            },
        ),
        workload=Workload(tuple(calls)),
        injections=(
            Injection("*", fewer_images(count=2), calls=("returns-two",)),
            Injection("*", respond(status=503), calls=("fails",)),
        ),
        checks=(*WINDOWS, quotas_are_apart, governor_is_announced),
        exact=True,
        recovers=False,
    )


@scenario(reaches=("images_refused",))
def images_at_one_instant(contract: Contract) -> Scenario:
    """Many alike at one instant: as many are let in as their images fit, and no more."""
    count = 3
    limit = 4 * count + 1
    calls = [*repeat(several(count, reply=lasting(200)), at_once(8)), images(IMAGE, at_ms=50, reply=PROBE)]
    calls += [images(IMAGE, at_ms=60, reply=PROBE)]
    return Scenario(
        world=World(overlay={"image.images": limit, "image.requests": 1_000}),
        workload=Workload(tuple(calls)),
        checks=WINDOWS,
        recovers=False,
    )


@scenario(reaches=("tokens_refused", "rate_refused"))
def image_tokens_are_apart(contract: Contract) -> Scenario:
    """An image model's tokens and requests have limits of their own: used up to the last, and the next refused."""
    limit, requests = 40_000, 5
    size = _reserved(contract)
    used = replace(PROBE, input=5_000, output=limit - size - 5_000 - 1_000)
    calls = [
        images(IMAGE, at_ms=0, prompt_bytes=BYTES, reply=used),
        images(IMAGE, at_ms=1_000, prompt_bytes=BYTES + 4_004, reply=PROBE),  # a token too large
        images(IMAGE, at_ms=1_100, prompt_bytes=BYTES + 4_000, reply=lasting(100)),
        images(IMAGE, at_ms=1_150, prompt_bytes=BYTES, reply=PROBE),  # while that one is at work nothing fits
        images(IMAGE, at_ms=2_000, prompt_bytes=BYTES, reply=PROBE),
        *repeat(images(IMAGE, account="b", reply=replace(PROBE, input=1, output=1)), at_once(requests + 1, 500)),
        chat(model_ids(contract, "enterprise", "chat")[0], at_ms=600, reply=PROBE, max_tokens=limit * 2),
    ]
    return Scenario(
        world=World(
            accounts=(Account("a"), Account("b")),
            overlay={"image.tokens": limit, "image.requests": requests, "image.images": 1_000},
        ),
        workload=Workload(tuple(calls)),
        checks=(token_windows_hold, reservations_are_told, request_windows_hold, refused_calls_cost_nothing, *TOLD),
        recovers=False,
    )


BYTES = 320
"""How long a sized body is."""


def _reserved(contract: Contract) -> int:
    """Return the tokens that an images call with a sized body reserves."""
    model = contract.model("enterprise", IMAGE)
    assert model is not None
    return BYTES // 4 + model.default_output_tokens


@scenario(part="ceilings", reaches=("images_refused", "tokens_refused"))
def the_image_ceiling(contract: Contract) -> Scenario:
    """The contract's own images and tokens for two minutes: so many in each, to the last one, and the next refused."""
    limits, window_ms = contract.image, contract.image.window_ms
    most = limits.images or limits.requests
    each, size = limits.tokens // most, _reserved(contract)
    sized = images(IMAGE, prompt_bytes=BYTES, reply=PROBE)
    calls: list[Call] = []
    for minute in range(2):
        start_ms = minute * window_ms
        last_ms = evenly(10, window_ms * 0.09, start_ms + window_ms * 0.905)

        def at(count: int, start_ms: float = start_ms) -> tuple[float, ...]:
            return evenly(count, window_ms * 0.9, start_ms)

        # All three at once: as many calls as images, and all the tokens.
        full = replace(lasting(200), input=each // 4, output=each - each // 4)
        calls += [*repeat(replace(sized, reply=full), at(most)), *repeat(sized, last_ms)]
        # Images alone: a tenth of the calls.
        ten = replace(sized, account="b", fields={"n": 10})
        calls += [*repeat(ten, at(most // 10)), *repeat(replace(sized, account="b"), last_ms)]
        # Tokens alone, to the last: what is left fits one call exactly, and no longer one.
        large = limits.tokens // 100
        rest = limits.tokens - 99 * large - size
        uses = [large] * 99 + [rest]
        calls += [
            replace(sized, account="c", at_ms=at_ms, reply=replace(PROBE, input=used // 2, output=used - used // 2))
            for at_ms, used in zip(at(100), uses, strict=True)
        ]
        longer = replace(sized, account="c", prompt_bytes=BYTES + 4)
        exactly = replace(sized, account="c", reply=replace(PROBE, input=size, output=0))
        calls += [
            replace(longer, at_ms=last_ms[0]),
            replace(exactly, at_ms=last_ms[1]),
            *repeat(replace(sized, account="c"), last_ms[2:]),
        ]
    return Scenario(
        world=World(accounts=tuple(Account(name, credits=1_000_000_000) for name in "abc")),
        workload=Workload(tuple(calls)),
        checks=(token_windows_hold, reservations_are_told, request_windows_hold, *WINDOWS, quotas_are_apart),
        exact=True,
        recovers=False,
    )
