"""What scenarios write: specs that are checked as they are made, and data that says what there is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from random import Random
from typing import Any

import orjson
import pytest

from mock_upstreams import faults
from mock_upstreams.faults import FAULTS, FaultSpec, cut_after, describe, fault, respond, silence
from mock_upstreams.faults.registry import Fault
from mock_upstreams.parts import Part, Reply


def test_calling_a_fault_gives_a_spec() -> None:
    spec = cut_after(chunks=3)
    assert spec == FaultSpec("cut_after", {"chunks": 3})
    assert orjson.loads(orjson.dumps(asdict(spec))) == {"name": "cut_after", "params": {"chunks": 3}}
    assert {spec, cut_after(chunks=3), cut_after(chunks=4)} == {spec, cut_after(chunks=4)}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: FaultSpec("cut_aftr"), "no fault 'cut_aftr'; near: cut_after.*known: .*wrong_content_type"),
        (lambda: cut_after(chunk=3), "no parameter 'chunk'; near: chunks; known: chunks, content, inside"),
        (lambda: cut_after(chunks="3"), "chunks='3' is not of type int"),
        (lambda: cut_after(chunks=True), "not of type int"),
        (lambda: cut_after(chunks=-1), "not between 0 and"),
        (lambda: cut_after(inside=1), "not of type bool"),
        (respond, r"status must be given; for example respond\(status=503\)"),
        (lambda: respond(status=None), "status must be given"),
        (lambda: respond(status=99), "not between 200 and 599"),
        (lambda: respond(status=503, body="poem"), "none of"),
        (lambda: respond(status=503, message=7), "not of type str"),
        (lambda: silence(seconds=float("nan")), "not between"),
        (lambda: silence(seconds=float("inf")), "not between"),
        (lambda: FaultSpec("cut_after", [3]), "must be an object"),
        (lambda: cut_after(chunks="x", chunk=1), "no parameter 'chunk'.*chunks='x'"),
    ],
)
def test_a_spec_that_cannot_be_says_all_that_is_wrong(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_none_stands_for_a_default_that_is_none() -> None:
    assert respond(status=503, retry_after_s=None).params["retry_after_s"] is None


def test_a_spec_keeps_its_parameters_whatever_becomes_of_the_callers() -> None:
    params = {"chunks": 3}
    spec = FaultSpec("cut_after", params)
    params["chunks"] = 4
    assert spec.params == {"chunks": 3}


def test_every_fault_is_described_with_an_example_that_works() -> None:
    described = {item["name"]: item for item in describe()}
    assert described.keys() == FAULTS.keys()
    assert orjson.loads(orjson.dumps(describe())) == describe()
    for name, item in described.items():
        assert item["promise"].endswith("."), name
        assert item["example"].startswith(name)
        made = eval(item["example"], {name: getattr(faults, name)})
        assert isinstance(made, FaultSpec)
        for parameter in item["parameters"]:
            assert parameter["type"] in ("int", "float", "str", "bool")
            assert parameter["unit"] or parameter["type"] in ("str", "bool"), (name, parameter)


def test_every_fault_is_exported() -> None:
    assert FAULTS.keys() <= set(faults.__all__)


def test_a_fault_is_registered_under_its_name_once() -> None:
    with pytest.raises(ValueError, match="two faults are called crlf"):

        @fault
        def crlf(reply: Reply, rng: Random) -> Iterator[Part]:
            yield from reply


def test_a_parameter_must_be_of_a_kind_that_a_scenario_can_give() -> None:
    with pytest.raises(ValueError, match="no type that a scenario can give"):

        @fault
        def odd(reply: Reply, rng: Random, *, things: list[int]) -> Iterator[Part]:
            yield from reply

    with pytest.raises(ValueError, match="must be keyword-only"):

        @fault
        def odder(reply: Reply, rng: Random, things: int) -> Iterator[Part]:
            yield from reply

    assert "odd" not in FAULTS
    assert isinstance(FAULTS["crlf"], Fault)
