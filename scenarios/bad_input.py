"""Bad input: bodies that are wrong in every kind of way on every surface, and bodies just within the limits."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from harness.checkers.errors import bad_input_is_refused_at_once, every_error_has_the_documents_shape
from harness.checkers.flaws import (
    BAD_UTF8,
    NOT_JSON,
    TOO_DEEP,
    TOO_LARGE,
    WRONG_CONTENT_TYPE,
    WRONG_FIELD_TYPE,
)
from harness.contract import Contract
from harness.scenario import Call, Scenario, Workload, World, chat, messages, scenario
from scenarios.requests import ONE_OF_EACH, WITH_MODEL, model_ids, on_every_path, spaced

SMALL = {"sizes.body_bytes": 16_384}
"""A limit on bodies that a run can afford to exceed."""


def _deep(levels: int) -> Any:
    """Return a value of so many nested lists."""
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


def bad_inputs(contract: Contract, call: Call, rng: random.Random) -> Iterator[Call]:
    """Yield ``call`` made wrong in every kind of way that a body can be wrong, with some drawn from each kind."""
    good = {"model": call.model, "messages": [{"role": "user", "content": "x"}], "input": "x", "max_tokens": 9}
    text = json.dumps(good).encode()
    no_json = [b"", b"{", text[:-1], b"model=x", text + text, b"[" * 2_000]
    bad_bytes = [b"\xff", b"\xc3(", b"\xed\xa0\x80", b"\xf0\x9f\x98"]
    prompt = "input" if call.surface == "responses" else "messages"
    wrong: list[dict[str, Any]] = [{"model": 5}]
    others: list[dict[str, Any]] = [{"model": [call.model]}, {prompt: 5}, {prompt: {"role": "user"}}]
    if call.surface != "count_tokens":
        # What a gateway must read itself, so that no upstream's refusal can stand in for its own.
        limit = "max_output_tokens" if call.surface == "responses" else "max_tokens"
        wrong += [{"stream": "yes"}, {limit: "many"}]
        others += [{"stream": 1}, {limit: [1]}]
    typed = [json.dumps({**good, **fields}).encode() for fields in (*wrong, *rng.sample(others, 2))]
    yield from (replace(call, body=body, tag=NOT_JSON) for body in rng.sample(no_json, 2))
    for body in (*typed, rng.choice((b"null", b'["model", 1]'))):
        yield replace(call, body=body, tag=WRONG_FIELD_TYPE)
    for bad in rng.sample(bad_bytes, 2):
        yield replace(call, body=text.replace(b'"x"', b'"' + bad + b'"'), tag=BAD_UTF8)
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        yield replace(call, content_type=kind, tag=WRONG_CONTENT_TYPE)
    deep = json.dumps({**good, "x_deep": _deep(contract.sizes.nesting)}).encode()
    yield replace(call, body=deep, tag=TOO_DEEP)
    yield replace(call, body=b'{"a":' * 2_000 + b"1" + b"}" * 2_000, tag=TOO_DEEP)
    yield replace(call, body=text + b" " * (SMALL["sizes.body_bytes"] + 1 - len(text)), tag=TOO_LARGE)


@scenario(reaches=("input_refused",))
def of_every_kind(contract: Contract, rng: random.Random) -> Scenario:
    """Bodies that are wrong in any way get their 4xx at once; every request after one of them is served."""
    calls: list[Call] = []
    good = [
        chat(model_ids(contract, "enterprise", "chat")[0]),
        messages(model_ids(contract, "general", "messages")[0], tier="general"),
    ]
    for call in on_every_path(contract, surfaces=WITH_MODEL):
        if call.path in ONE_OF_EACH:
            inputs = list(bad_inputs(contract, call, rng))
            rng.shuffle(inputs)
            for n, bad in enumerate(inputs):
                calls += [bad, good[n % 2]] if n % 4 == 3 else [bad]
            calls.append(good[0])
            # What is just allowed comes behind what is not: the next request that must be served.
            for number, allowed in enumerate(_at_the_limits(contract, call)):
                calls += [inputs[number], allowed]
    return Scenario(
        world=World(overlay=SMALL),
        workload=Workload(spaced(calls, gap_ms=5)),
        checks=(bad_input_is_refused_at_once, every_error_has_the_documents_shape),
        recovers=False,
    )


def _at_the_limits(contract: Contract, call: Call) -> list[Call]:
    """Return ``call`` with a body as long and as deep as just allowed."""
    longest = replace(call, prompt_bytes=SMALL["sizes.body_bytes"])
    deepest = replace(call, fields={"x_deep": _deep(contract.sizes.nesting - 1)})
    return [longest, deepest]
