"""A contract as plain data not yet checked, and the file and key that each part came from; it judges no value."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.contract.fields import Path as DataPath
from harness.contract.problems import ContractError, near

LABELS = {"models": "id", "errors": "name", "usage": "surface", "media": "name", "chain": "role"}
"""The lists of tables, and the field that names an entry of each (in messages and in overlay keys)."""


@dataclass(slots=True)
class Draft:
    """Contract data in JSON's form: groups of ids and named chains written out, lists of tables as lists."""

    source: str
    data: dict[str, Any]
    places: dict[DataPath, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def note(self, path: DataPath, fault: str) -> None:
        """Add a problem with the file and key of ``path``."""
        self.problems.append(f"{self.place(path)}: {fault}")

    def place(self, path: DataPath) -> str:
        """Return where the value at ``path`` came from: the longest known part of the path, and the rest of it."""
        for cut in range(len(path), -1, -1):
            if path[:cut] in self.places:
                return self.places[path[:cut]] + "".join(map(_step, path[cut:]))
        return f"{self.source}: {''.join(map(_step, path)).lstrip('.')}"


def _step(part: str | int) -> str:
    return f"[{part}]" if isinstance(part, int) else f".{part}"


def draft_of(data: Mapping[str, Any], source: str) -> Draft:
    """Return data in JSON's form as a draft whose problems name ``source`` and the key."""
    draft = Draft(source, dict(data))
    for key, value in draft.data.items():
        draft.places[(key,)] = f"{source}: {key}"
        _label(draft, source, key, value, 0)
    return draft


def _label(draft: Draft, source: str, key: str, entries: Any, start: int) -> None:
    if key in LABELS and isinstance(entries, list | tuple):
        for number, entry in enumerate(entries, start):
            name = entry.get(LABELS[key]) if isinstance(entry, Mapping) else None
            if isinstance(name, str):
                draft.places[(key, number)] = f"{source}: {key}.{name}"
            else:
                draft.places[(key, number)] = f"{source}: {key}[{number - start}]"


def read_draft(path: Path) -> Draft:
    """Read a TOML file, or a folder's TOML files as one. Raises ContractError if a file cannot be read or parsed."""
    files = sorted(path.glob("*.toml")) if path.is_dir() else [path]
    if not files:
        raise ContractError([f"{path}: holds no .toml file"])
    tables, problems = [], []
    for file in files:
        try:
            tables.append((file.name, tomllib.loads(file.read_text("utf-8"))))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            problems.append(f"{file}: {error}")
    if problems:
        raise ContractError(problems)
    draft = Draft(path.name, {})
    for name, table in tables:
        _merge(draft, name, table)
    if "overlays" in draft.data:
        draft.note(("overlays",), "unknown field: overlays are applied when the contract is loaded")
    chains = draft.data.pop("chains", {})
    if not isinstance(chains, dict):
        draft.note(("chains",), "must be a table of chains")
        chains = {}
    _write_out(draft, chains)
    return draft


def _merge(draft: Draft, file: str, table: Mapping[str, Any]) -> None:
    for key, value in table.items():
        known = draft.data.get(key)
        if key not in draft.data:
            draft.data[key] = value
            draft.places[(key,)] = f"{file}: {key}"
            _label(draft, file, key, value, 0)
        elif isinstance(known, list) and isinstance(value, list):
            _label(draft, file, key, value, len(known))
            draft.data[key] = known + value
        else:
            draft.problems.append(f"{file}: {key}: stands in {draft.place((key,)).partition(':')[0]} already")


def _write_out(draft: Draft, chains: Mapping[str, Any]) -> None:
    """Turn groups (``ids``) into one model each and chains' names into targets."""
    _check_chains(draft, chains)
    entries = draft.data.get("models")
    if not isinstance(entries, list):
        return
    models: list[Any] = []
    places = {path: place for path, place in draft.places.items() if path[:1] != ("models",) or len(path) == 1}
    for number, entry in enumerate(entries):
        for model in _members(draft, ("models", number), entry):
            places[("models", len(models))] = draft.places[("models", number)]
            models.append(_with_chain(draft, ("models", number), model, chains) if isinstance(model, dict) else model)
    draft.data["models"] = models
    draft.places = places


def _members(draft: Draft, path: DataPath, entry: Any) -> Iterable[Any]:
    if not isinstance(entry, dict) or "ids" not in entry:
        if isinstance(entry, dict) and "id" not in entry:
            draft.note(path, "has neither id nor ids")
        return (entry,)
    ids = entry["ids"]
    if isinstance(ids, list) and ids and all(type(one) is str for one in ids):
        # The first id names the group in messages.
        draft.places[path] = draft.places[path].rpartition(": ")[0] + f": models.{ids[0]}"
    else:
        draft.note((*path, "ids"), "must be a list of model ids")
        ids = ["?"]
    for key in ("id", "name"):
        if key in entry:
            draft.note((*path, key), "unknown field beside ids: the id is the name")
    shared = {key: value for key, value in entry.items() if key not in ("id", "ids", "name")}
    return [{"id": one, "name": one, **shared} for one in ids]


def _check_chains(draft: Draft, chains: Mapping[str, Any]) -> None:
    for name, targets in chains.items():
        if not isinstance(targets, list) or not targets or not all(isinstance(one, dict) for one in targets):
            draft.note(("chains", name), "must be a list of tables { role, region }")
            continue
        for number, target in enumerate(targets):
            for key in ("role", "region"):
                if key not in target:
                    draft.note(("chains", name, number, key), "missing")
                elif type(target[key]) is not str or not target[key]:
                    draft.note(("chains", name, number, key), f"must be text, not {target[key]!r}")
            for key in sorted(target.keys() - {"role", "region"}):
                draft.note(("chains", name, number, key), f"unknown field{near(key, ('role', 'region'))}")


def _with_chain(draft: Draft, path: DataPath, model: dict[str, Any], chains: Mapping[str, Any]) -> dict[str, Any]:
    name = model.get("chain")
    if not isinstance(name, str):
        return model
    if name not in chains:
        draft.note((*path, "chain"), f"{name!r} is no chain of [chains]{near(name, chains)}")
        return {**model, "chain": [target_of(model, "?", "?")]}
    targets = chains[name] if isinstance(chains[name], list) else []
    return {
        **model,
        "chain": [
            target_of(model, target.get("role"), target.get("region")) for target in targets if isinstance(target, dict)
        ],
    }


def target_of(model: Mapping[str, Any], role: object, region: object) -> dict[str, Any]:
    """Return a chain target of ``model`` in ``region``, its upstream id made of both."""
    return {"role": role, "region": region, "upstream_model": f"{model.get('id')}:{region}"}


def overlaid(draft: Draft, overlay: Mapping[str, Any], name: str) -> Draft:
    """Return a copy of ``draft`` with the dotted keys of ``overlay`` set; problems name the overlay and the key."""
    made = replace(draft, data=dict(draft.data), places=dict(draft.places), problems=list(draft.problems))
    for key, value in flat(overlay).items():
        made.data = _set(made, made.data, (), key, key, value, f"{name}: {key}")
    return made


def flat(overlay: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return ``overlay`` with nested tables as dotted keys."""
    found: dict[str, Any] = {}
    for key, value in overlay.items():
        if isinstance(value, Mapping):
            found.update(flat(value, f"{prefix}{key}."))
        else:
            found[f"{prefix}{key}"] = value
    return found


def _set(draft: Draft, node: Any, path: DataPath, rest: str, key: str, value: Any, place: str) -> Any:
    """Return a copy of ``node`` with ``value`` at ``rest``; the parts beside the way are shared, not copied."""
    steps = list(_steps(node, path, rest))
    if not steps:
        before, _, last = key[: len(key) - len(rest)], *rest.rpartition(".")[1:]
        tail = f".{last}" if isinstance(node, list) else ""
        draft.problems.append(
            f"{place}: no such key{near(key, [f'{before}{one}{tail}' for one in _names(node, path)])}"
        )
        return node
    made: Any = list(node) if isinstance(node, list) else dict(node)
    for step, after in steps:
        here = (*path, step)
        if after:
            made[step] = _set(draft, made[step], here, after, key, value, place)
        elif isinstance(made.get(step) if isinstance(made, dict) else made[step], Mapping):
            draft.problems.append(f"{place}: is a table; name a field of it{near('', made[step])}")
        else:
            made[step] = _chain(made, value) if step == "chain" else value
            draft.places[here] = place
    return made


def _steps(node: Any, path: DataPath, rest: str) -> Iterable[tuple[Any, str]]:
    """Yield (key or index, what is left of ``rest``): the longest name that fits, since ids have dots in them.

    A model that both tiers have is met twice.
    """
    if not isinstance(node, dict | list):
        return
    names = _names(node, path)
    fits = [name for name in names if rest == name or rest.startswith(f"{name}.")]
    if not fits:
        if path == ("aliases",):
            yield rest, ""
        return
    longest = max(fits, key=len)
    after = rest[len(longest) + 1 :]
    if isinstance(node, dict):
        yield longest, after
    else:
        yield from ((number, after) for number, name in enumerate(names) if name == longest)


def _names(node: Any, path: DataPath) -> list[str]:
    if isinstance(node, dict):
        return list(node)
    label = LABELS.get(str(path[-1])) if path else None
    if isinstance(node, list) and label:
        return [str(one.get(label, "")) if isinstance(one, Mapping) else "" for one in node]
    return []


def _chain(model: Mapping[str, Any], value: Any) -> Any:
    """Write out a chain given as roles: a role that the model has keeps its target, any other is its own region."""
    if not isinstance(value, list | tuple):
        return value
    known = {target["role"]: target for target in model["chain"] if isinstance(target, Mapping) and "role" in target}
    return [known.get(one) or target_of(model, one, one) if isinstance(one, str) else one for one in value]
