"""Says where data read from JSON is not of the shape that a type describes; it knows no record itself.

A type is a builtin, ``None``, ``Any``, a ``Literal``, a union of them, a tuple, list, sequence or set of one, a mapping
to one, a ``TypedDict`` or a dataclass, whose further fields are nobody's business; of any other, TypeError is raised.
Lists stand for tuples and sets, integers for floats.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import lru_cache
from typing import Any, Literal, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict

MOST_WHOLE = 1 << 53
"""Integers beyond this are no numbers of JSON that everybody reads alike, and none of ours."""
MOST = 1e12
DEEPEST = 100
"""No record of ours is nested deeper, and what is would exhaust the stack."""
_SHOWN = 80
_ONE_OF_MANY = (tuple, list, Sequence, set, frozenset)


def problems(value: object, hint: Any, where: str, depth: int = 0) -> Iterator[str]:
    """Yield what of ``value`` is not as ``hint`` has it: where it stands, what it is, and what may stand there."""
    origin, inner = get_origin(hint), get_args(hint)
    if depth > DEEPEST:
        yield f"{where}: nested too deeply; {DEEPEST} levels are allowed"
    elif origin in (Union, types.UnionType):
        yield from _none_of(value, inner, hint, where, depth)
    elif origin is tuple and inner[-1:] != (...,):
        if not isinstance(value, list | tuple) or len(value) != len(inner):
            yield _mismatch(value, hint, where)
        else:
            for number, (item, one) in enumerate(zip(value, inner, strict=True)):
                yield from problems(item, one, f"{where}[{number}]", depth + 1)
    elif origin in _ONE_OF_MANY:
        if not isinstance(value, list | tuple | set | frozenset):
            yield _mismatch(value, hint, where)
        else:
            for number, item in enumerate(value):
                yield from problems(item, inner[0], f"{where}[{number}]", depth + 1)
    elif origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            yield _mismatch(value, hint, where)
        elif inner[1] is not Any:
            for name, item in value.items():
                yield from problems(item, inner[1], f"{where}.{name}", depth + 1)
    elif is_typeddict(hint) or (isinstance(hint, type) and is_dataclass(hint) and not isinstance(value, hint)):
        yield from _fields(value, hint, where, depth)
    elif not _is_one(value, hint):
        yield _mismatch(value, hint, where)


def fits(value: object, hint: Any) -> bool:
    """Say whether ``value`` is as ``hint`` has it."""
    return next(problems(value, hint, ""), None) is None


def told(hint: Any) -> str:
    """Return ``hint`` in the words of JSON."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(map(told, inner)))
    if origin is Literal:
        return " or ".join(repr(one) for one in inner)
    if origin is tuple and inner[-1:] != (...,):
        return f"a list of {len(inner)}"
    if origin in _ONE_OF_MANY:
        return f"a list, each {told(inner[0])}"
    if origin in (dict, Mapping) or is_typeddict(hint) or is_dataclass(hint):
        return "an object"
    return _WORDS.get(hint, str(hint))


def short(value: object) -> str:
    """Return ``value`` as text, cut where it is long."""
    try:
        text = repr(value)
    except RecursionError:
        return f"a {type(value).__name__} that is nested too deeply to be shown"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


_WORDS: Mapping[Any, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    bytes: "bytes",
    type(None): "null",
    Any: "anything",
}


def _is_one(value: object, hint: Any) -> bool:
    if hint is Any:
        return True
    if get_origin(hint) is Literal:
        return any(value == one and type(value) is type(one) for one in get_args(hint))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MOST
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MOST_WHOLE
    if hint is not None and (not isinstance(hint, type) or get_origin(hint) is not None):
        raise TypeError(f"{hint!r} is no type whose shape can be told")
    return isinstance(value, type(None) if hint is None else hint)


def _none_of(value: object, inner: Sequence[Any], hint: Any, where: str, depth: int) -> Iterator[str]:
    """Yield why none of a union's types describes ``value``: inside of an object, what of it is wrong."""
    told_by_each = [list(problems(value, one, where, depth)) for one in inner]
    if all(told_by_each):
        nested = [said for said in told_by_each if not any(one.startswith(f"{where}:") for one in said)]
        yield from nested[0] if nested else [_mismatch(value, hint, where)]


def _fields(value: object, hint: Any, where: str, depth: int) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield _mismatch(value, hint, where)
        return
    for name, (one, required) in _hints(hint).items():
        if name in value:
            yield from problems(value[name], one, f"{where}.{name}", depth + 1)
        elif required:
            yield f"{where}.{name}: missing; it is {told(one)}"


@lru_cache(maxsize=256)
def _hints(cls: Any) -> dict[str, tuple[Any, bool]]:
    """Return each field's type and whether it must be there, which ``__required_keys__`` gets wrong if deferred."""
    if is_dataclass(cls):
        hints = get_type_hints(cls)
        return {
            one.name: (hints[one.name], one.default is MISSING and one.default_factory is MISSING)
            for one in fields(cls)
        }
    given = get_type_hints(cls, include_extras=True)
    return {
        name: (get_args(one)[0], False) if get_origin(one) is NotRequired else (one, True)
        for name, one in given.items()
    }


def _mismatch(value: object, hint: Any, where: str) -> str:
    return f"{where}: cannot be {short(value)}; it is {told(hint)}"
