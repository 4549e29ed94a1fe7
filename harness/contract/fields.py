"""Plain data into frozen dataclasses by their type hints, every fault noted at its path; it knows no contract rules."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

from harness.contract.frozen import FrozenDict
from harness.contract.problems import near

Path = tuple[str | int, ...]
Note = Callable[[Path, str], None]
"""Takes a fault: where in the data it is, and what is wrong."""
Rule = Callable[[Any], Iterable[tuple[str, str]]]
"""Yields (field, what is wrong) of a value whose types are right."""
Converter = Callable[[Any, Path, Note], Any]

BAD: Final = object()
"""What a converter returns for data that it noted a fault of."""
NONE_WORD = "n/a"
"""TOML has no null; the documents print n/a."""


class Reader:
    """Builds values of dataclasses from mappings of plain data, checking ``rules`` of each class on the way.

    ``known`` are values that were built before, by the ``id`` of the mapping that each was built from; whoever gives
    them keeps those mappings, unchanged.
    """

    def __init__(self, rules: Mapping[type[Any], Rule], known: Mapping[int, Any] = MappingProxyType({})) -> None:
        self._rules = rules
        self._known = known
        self._converters: dict[Any, Converter] = {}
        self._fields: dict[Any, Mapping[str, Converter]] = {}

    def read(self, cls: type[Any], value: Any, path: Path, note: Note) -> Any:
        """Return ``value`` as a ``cls``, or BAD after noting every fault of it."""
        return self._convert(cls)(value, path, note)

    def parts(self, cls: type[Any], value: Any, path: Path, note: Note) -> dict[str, Any]:
        """Return those fields of a ``cls`` that are right, after noting every fault of the others."""
        if not isinstance(value, Mapping):
            note(path, f"must be a table, not {_shown(value)}")
            return {}
        converters = self._parts(cls)
        for key in value.keys() - converters.keys():
            note((*path, str(key)), f"unknown field{near(str(key), converters.keys() - value.keys())}")
        found = {}
        for name, convert in converters.items():
            if name not in value:
                note((*path, name), "missing")
            elif (one := convert(value[name], (*path, name), note)) is not BAD:
                found[name] = one
        return found

    def _parts(self, cls: type[Any]) -> Mapping[str, Converter]:
        if cls not in self._fields:
            hints = typing.get_type_hints(cls)
            self._fields[cls] = {field.name: self._convert(hints[field.name]) for field in fields(cls)}
        return self._fields[cls]

    def _convert(self, hint: Any) -> Converter:
        if hint not in self._converters:
            self._converters[hint] = self._converter(hint)
        return self._converters[hint]

    def _converter(self, hint: Any) -> Converter:
        if is_dataclass(hint):
            return self._dataclass(typing.cast("type[Any]", hint))
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if origin in (types.UnionType, typing.Union):  # the latter is what a Literal makes of |
            (some,) = (argument for argument in arguments if argument is not type(None))
            return _optional(self._convert(some))
        if origin is Literal:
            return _one_of(arguments)
        if origin is tuple:
            return _sequence(self._convert(arguments[0]))
        if origin is Mapping or getattr(origin, "__name__", "") == "Mapping":
            return _mapping(self._convert(arguments[1]))
        return _PLAIN[hint]

    def _dataclass(self, cls: type[Any]) -> Converter:
        count = len(self._parts(cls))
        rule = self._rules.get(cls)

        def convert(value: Any, path: Path, note: Note) -> Any:
            if id(value) in self._known:
                return self._known[id(value)]
            found = self.parts(cls, value, path, note)
            if len(found) < count:
                return BAD
            made = cls(**found)
            faults = list(rule(made)) if rule else []
            for name, fault in faults:
                note((*path, name), fault)
            return BAD if faults else made

        return convert


def built_from(data: Any, made: Any) -> Iterator[tuple[int, Any]]:
    """Yield every dataclass value within ``made`` by the ``id`` of the part of ``data`` that it was built from."""
    if isinstance(made, tuple):
        for part, one in zip(data, made, strict=True):
            yield from built_from(part, one)
    elif is_dataclass(made):
        yield id(data), made
        for field in fields(made):
            yield from built_from(data[field.name], getattr(made, field.name))


def _text(value: Any, path: Path, note: Note) -> Any:
    if type(value) is str:
        return value
    note(path, f"must be text, not {_shown(value)}")
    return BAD


def _whole(value: Any, path: Path, note: Note) -> Any:
    if type(value) is int:
        return value
    note(path, f"must be a whole number, not {_shown(value)}")
    return BAD


def _yes_or_no(value: Any, path: Path, note: Note) -> Any:
    if type(value) is bool:
        return value
    note(path, f"must be true or false, not {_shown(value)}")
    return BAD


_PLAIN: Mapping[Any, Converter] = {str: _text, int: _whole, bool: _yes_or_no}


def _optional(some: Converter) -> Converter:
    return lambda value, path, note: None if value is None or value == NONE_WORD else some(value, path, note)


def _one_of(choices: tuple[Any, ...]) -> Converter:
    def convert(value: Any, path: Path, note: Note) -> Any:
        if value in choices and type(value) is str:
            return value
        note(path, f"{_shown(value)} is none of {', '.join(map(str, choices))}")
        return BAD

    return convert


def _sequence(item: Converter) -> Converter:
    def convert(value: Any, path: Path, note: Note) -> Any:
        if not isinstance(value, list | tuple):
            note(path, f"must be a list, not {_shown(value)}")
            return BAD
        found = tuple(item(one, (*path, number), note) for number, one in enumerate(value))
        return BAD if any(one is BAD for one in found) else found

    return convert


def _mapping(item: Converter) -> Converter:
    def convert(value: Any, path: Path, note: Note) -> Any:
        if not isinstance(value, Mapping):
            note(path, f"must be a table, not {_shown(value)}")
            return BAD
        found = {str(key): item(one, (*path, str(key)), note) for key, one in value.items()}
        return BAD if any(one is BAD for one in found.values()) else FrozenDict(found)

    return convert


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
