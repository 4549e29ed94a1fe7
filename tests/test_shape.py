"""Data that is not of the shape of a type is told by its place; what nobody asked for is nobody's business."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NotRequired, TypedDict

import pytest

from harness.shape import fits, problems


class Item(TypedDict):
    name: str
    count: NotRequired[int]


@dataclass
class Point:
    x: float
    y: float = 0


class Tree(TypedDict):
    inner: NotRequired[list[Tree]]


class Whole(TypedDict):
    kind: Literal["a", "b"]
    items: list[Item]
    pair: tuple[int, int] | None
    by_name: NotRequired[dict[str, Point]]


RIGHT: dict[str, Any] = {"kind": "a", "items": [{"name": "n"}], "pair": [1, 2], "more": object}


def test_what_is_right_has_no_problem_and_further_fields_are_nobodys_business() -> None:
    assert list(problems(RIGHT, Whole, "it")) == []
    assert list(problems({**RIGHT, "pair": None, "by_name": {"p": {"x": 1}}}, Whole, "it")) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"kind": "c"}, "it.kind: cannot be 'c'; it is 'a' or 'b'"),
        ({"items": {}}, "it.items: cannot be {}; it is a list, each an object"),
        ({"items": [{"name": "n"}, {"name": 1}]}, "it.items[1].name: cannot be 1; it is a text"),
        ({"items": [{"count": 1}]}, "it.items[0].name: missing; it is a text"),
        ({"items": [{"name": "n", "count": True}]}, "it.items[0].count: cannot be True; it is a whole number"),
        ({"pair": [1]}, "it.pair: cannot be [1]; it is a list of 2 or null"),
        ({"by_name": {"p": {"y": 1}}}, "it.by_name.p.x: missing; it is a number"),
        ({"by_name": {"p": {"x": "1"}}}, "it.by_name.p.x: cannot be '1'; it is a number"),
    ],
)
def test_what_is_wrong_is_told_with_place_value_and_what_is_allowed(changed: dict[str, Any], said: str) -> None:
    assert list(problems({**RIGHT, **changed}, Whole, "it")) == [said]


@pytest.mark.parametrize(
    ("value", "hint", "wanted"),
    [
        (1, float, True),
        (True, int, False),
        (2**60, int, False),
        (1e300, float, False),
        (None, str | None, True),
        ([1, "a"], list[int | str], True),
        ({"a": 1}, Mapping[str, Any], True),
        ([], Mapping[str, Any], False),
        ([], tuple[()], True),
        ([1], tuple[()], False),
        ([1, 2], set[int], True),
        (["a"], frozenset[int], False),
        ({}, frozenset[int], False),
        (1, Literal[True], False),
        (Point(1), Point, True),
        ("x" * 100, Any, True),
    ],
)
def test_a_value_fits_a_type_or_not(value: object, hint: Any, wanted: bool) -> None:
    assert fits(value, hint) is wanted


def test_what_is_nested_too_deeply_is_a_problem_and_no_error() -> None:
    value: Any = {}
    for _ in range(600):
        value = {"inner": [value]}
    (said,) = problems(value, Tree, "it")
    assert said.endswith(": nested too deeply; 100 levels are allowed")
    endless: list[Any] = []
    for _ in range(5_000):
        endless = [endless]
    assert list(problems(endless, int, "it")) == [
        "it: cannot be a list that is nested too deeply to be shown; it is a whole number"
    ]


def test_a_type_whose_shape_is_unknown_is_said_to_be_so() -> None:
    with pytest.raises(TypeError, match="no type whose shape can be told"):
        fits([], deque[int])
