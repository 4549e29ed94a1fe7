"""Contracts and overlays from TOML or JSON data, refused with every problem at once if they are not lawful."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

from harness.contract.draft import Draft, draft_of, flat, overlaid, read_draft
from harness.contract.fields import Reader, built_from
from harness.contract.model import Contract, plain
from harness.contract.problems import ContractError, near
from harness.contract.rules import RULES, whole

__all__ = [
    "ContractError",
    "contract_from_json",
    "contract_to_json",
    "load_contract",
    "overlay_named",
    "overlay_names",
    "with_overlays",
]

DEFAULT = "hypereal"
_DATA = Path(__file__).parent / "data"
_READER = Reader(RULES)

Overlay = str | Mapping[str, Any]
"""An overlay's name (or the path of its TOML file), or dotted contract keys and their values."""


def load_contract(path_or_name: str | Path | None = None, overlays: Sequence[Overlay] = ()) -> Contract:
    """Return a contract: a built-in one by name, or a TOML file or folder by path; the documents' own by default.

    ``overlays`` are applied in order and recorded in ``Contract.overlays``. Raises ContractError listing every problem.
    """
    source = DEFAULT if path_or_name is None else path_or_name
    if str(source) in _built_in():
        return _cached(str(source), tuple(one if isinstance(one, str) else _key(one) for one in overlays))
    path = Path(source)
    if not path.exists():
        raise ContractError(
            [f"{source}: no contract of that name, and no such file or folder{near(str(source), _built_in())}"]
        )
    return _finished(read_draft(path), overlays, ())


def with_overlays(contract: Contract, overlays: Sequence[Overlay]) -> Contract:
    """Return ``contract`` with more overlays applied. Raises ContractError listing every problem."""
    data = contract_to_json(contract)
    return (
        _finished(draft_of(_without_overlays(data), contract.name), overlays, contract.overlays)
        if overlays
        else contract
    )


def overlay_named(name: str) -> Mapping[str, Any]:
    """Return a built-in overlay, or that of a ``.toml`` file, as dotted keys. Raises ContractError."""
    path = _DATA / "overlays" / f"{name}.toml"
    if name not in overlay_names():
        path = Path(name)
        if path.suffix != ".toml" or not path.is_file():
            raise ContractError(
                [f"{name}: no overlay of that name, and no such .toml file{near(name, overlay_names())}"]
            )
    try:
        return flat(tomllib.loads(path.read_text("utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ContractError([f"{path}: {error}"]) from error


def overlay_names() -> Sequence[str]:
    """Return the names of the built-in overlays."""
    return sorted(path.stem for path in (_DATA / "overlays").glob("*.toml"))


def contract_from_json(data: Mapping[str, Any]) -> Contract:
    """Return the contract that ``contract_to_json`` or ``dataclasses.asdict`` made. Raises ContractError."""
    applied = data.get("overlays", ()) if isinstance(data, Mapping) else ()
    if not isinstance(data, Mapping) or not isinstance(applied, list | tuple):
        raise ContractError(["contract: must be an object with a list of overlays"])
    return _finished(draft_of(_without_overlays(data), "contract"), (), tuple(map(str, applied)))


def contract_to_json(contract: Contract) -> dict[str, Any]:
    """Return ``contract`` as JSON data; ``contract_from_json`` gives back an equal one."""
    data: dict[str, Any] = plain(contract)
    return data


def _without_overlays(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key != "overlays"}


@lru_cache(maxsize=1)
def _built_in() -> frozenset[str]:
    return frozenset(path.name for path in _DATA.iterdir() if path.is_dir() and path.name != "overlays")


@lru_cache(maxsize=8)
def _built_in_draft(name: str) -> Draft:
    return read_draft(_DATA / name)


@lru_cache(maxsize=512)
def _cached(name: str, overlays: tuple[str, ...]) -> Contract:
    # Scenarios ask for the same few overlays over and over, once per seed; a mapping travels through the key as JSON.
    given = [json.loads(one) if one.startswith("{") else one for one in overlays]
    return _finished(_built_in_draft(name), given, (), _built_in_reader(name) if given else _READER)


@lru_cache(maxsize=8)
def _built_in_reader(name: str) -> Reader:
    """Return a reader that builds of an overlaid built-in contract only what the overlay changes."""
    data, made = _built_in_draft(name).data, _cached(name, ())
    parts = (built_from(data[field.name], getattr(made, field.name)) for field in fields(made) if field.name in data)
    return Reader(RULES, dict(chain.from_iterable(parts)))


def _key(overlay: Mapping[str, Any]) -> str:
    try:
        return json.dumps(flat(overlay))
    except TypeError as error:
        raise ContractError([f"overlay: {error}"]) from error


def _finished(
    draft: Draft, overlays: Sequence[Overlay], applied: tuple[str, ...], reader: Reader = _READER
) -> Contract:
    for overlay in overlays:
        values = overlay_named(overlay) if isinstance(overlay, str) else flat(overlay)
        said = f"overlay {overlay}" if isinstance(overlay, str) else "overlay"
        draft = overlaid(draft, values, said)
        if values:
            applied += (overlay if isinstance(overlay, str) else json.dumps(values, default=str),)
    checked = Draft(draft.source, draft.data, draft.places, list(draft.problems))
    parts = reader.parts(Contract, {**checked.data, "overlays": applied}, (), checked.note)
    for path, fault in whole(parts, checked.data):
        checked.note(path, fault)
    if checked.problems:
        raise ContractError(checked.problems)
    return Contract(**parts)
