"""Makes a value that fits a JSON Schema of the kind structured outputs use; it validates nothing and trusts nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DEEPEST = 32
MOST_VALUES = 1_000
MOST_ITEMS = 16


def instance(schema: Mapping[str, Any], mark: str) -> Any:
    """Return a value for ``schema`` whose strings start with ``mark`` and are distinct.

    Knows type, enum, const, properties, items, minItems, minimum, anyOf, oneOf, allOf and $ref into the schema itself;
    what it does not know it takes for a string. A schema past the bounds above gets nulls from there on.
    """
    return _Maker(schema, mark).value(schema, 0)


class _Maker:
    def __init__(self, root: Mapping[str, Any], mark: str) -> None:
        self._root = root
        self._mark = mark
        self._made = 0

    def value(self, schema: Any, depth: int) -> Any:
        self._made += 1
        if depth > DEEPEST or self._made > MOST_VALUES:
            return None
        if not isinstance(schema, Mapping):
            return self._string()
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return _first(schema["enum"])
        for choice in ("anyOf", "oneOf"):
            if schema.get(choice):
                return self.value(_simplest(schema[choice], deep=depth > DEEPEST // 2), depth + 1)
        if "$ref" in schema:
            return self.value(self._resolved(str(schema["$ref"])), depth + 1)
        if isinstance(schema.get("allOf"), list):
            return self.value(_merged(schema["allOf"]), depth + 1)
        return self._typed(schema, depth)

    def _typed(self, schema: Mapping[str, Any], depth: int) -> Any:
        match _first(schema.get("type", "object" if "properties" in schema else "string")):
            case "object":
                properties = schema.get("properties")
                inner = properties if isinstance(properties, Mapping) else {}
                return {str(name): self.value(value, depth + 1) for name, value in inner.items()}
            case "array":
                count = min(int(_number(schema.get("minItems"), 1)), MOST_ITEMS)
                return [self.value(schema.get("items"), depth + 1) for _ in range(count)]
            case "integer":
                return int(_number(schema.get("minimum"), self._made))
            case "number":
                return _number(schema.get("minimum"), self._made)
            case "boolean":
                return True
            case "null":
                return None
            case _:
                return self._string()

    def _resolved(self, ref: str) -> Any:
        at: Any = self._root
        for step in ref.removeprefix("#").strip("/").split("/"):
            if step:
                at = at.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(at, Mapping) else None
        return at

    def _string(self) -> str:
        return f"{self._mark}:{self._made}"


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else value


def _number(value: Any, otherwise: int) -> int | float:
    return value if isinstance(value, int | float) else otherwise


def _simplest(choices: Any, *, deep: bool) -> Any:
    """Return the first choice; in the deep one that cannot recurse, if there is one."""
    if deep and isinstance(choices, list):
        flat = [c for c in choices if isinstance(c, Mapping) and "$ref" not in c and c.get("type") != "object"]
        return _first(flat or choices)
    return _first(choices)


def _merged(parts: list[Any]) -> dict[str, Any]:
    """Return the union of ``parts``' members, properties joined."""
    merged: dict[str, Any] = {}
    properties: dict[str, Any] = {}
    for part in parts:
        if isinstance(part, Mapping):
            merged |= part
            if isinstance(part.get("properties"), Mapping):
                properties |= part["properties"]
    return {**merged, "properties": properties} if properties else merged
