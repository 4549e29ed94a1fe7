"""Checkers of the model lists: which ids they hold, in which shape, with which figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.checker import Verdict, checker
from harness.checkers.flaws import flaws_of_all, served_case
from harness.checkers.wire import TEXT_SURFACES, Seen, answer_body, parsed
from harness.contract import Contract, Model
from harness.history import History


@checker("MOD-01", "exactly_the_table", "list_shape", "context_and_prices")
def enterprise_models_are_listed_to_the_digit(history: History, contract: Contract, verdict: Verdict) -> None:
    """GET /v1/managed/models lists exactly the Enterprise models, in OpenAI's shape, with context window and prices."""
    models = {model.id: model for model in contract.models if model.tier == "enterprise"}
    for one in _lists(history, contract, "enterprise"):
        if not served_case("exactly_the_table", one, (), verdict):
            continue
        listed = [str(id_) for id_ in one.call.claims.get("models", ())]
        ok = sorted(listed) == sorted(models)
        verdict.case("exactly_the_table", ok, call=one.call, expected=sorted(models), actual=sorted(listed))
        body = parsed(answer_body(history, one.call))
        if not isinstance(body, dict):
            continue
        entries = _entries(body)
        ok = body.get("object") == "list" and bool(entries) and all(_is_openai(entry) for entry in entries)
        verdict.case("list_shape", ok, call=one.call, expected="object list of object model", actual=_shape(body))
        for entry in entries:
            model = models.get(str(entry.get("id")))
            if model is not None:
                wrong = _wrong_figures(entry, model)
                expected = f"context and prices of {model.id}"
                verdict.case("context_and_prices", not wrong, call=one.call, expected=expected, actual=wrong)


@checker("MOD-02", "v1", "api_v1", "anthropic_shape")
def general_models_are_listed(history: History, contract: Contract, verdict: Verdict) -> None:
    """/v1/models and /api/v1/models list the general models; with anthropic-version sent, in Anthropic's shape."""
    general = [model for model in contract.models if model.tier == "general"]
    served = {model.id for model in general if set(model.surfaces) & set(TEXT_SURFACES)}
    known = {model.id for model in general} | set(contract.aliases)
    for one in _lists(history, contract, "general"):
        clause = "api_v1" if one.plan.path.startswith("/api/") else "v1"
        if not served_case(clause, one, (), verdict):
            continue
        listed = [str(id_) for id_ in one.call.claims.get("models", ())]
        missing, foreign = sorted(served - set(listed)), sorted(set(listed) - known)
        ok = not missing and not foreign and len(listed) == len(set(listed))
        actual = f"{len(listed)} ids; missing {missing}, foreign {foreign}"
        verdict.case(clause, ok, call=one.call, expected="every general model once", actual=actual)
        body = parsed(answer_body(history, one.call))
        if isinstance(body, dict):
            entries = _entries(body)
            asked = "anthropic-version" in one.headers
            shape = _is_anthropic if asked else _is_openai
            ok = bool(entries) and all(shape(entry) for entry in entries)
            ok = ok and (_is_last_page(body, entries) if asked else body.get("object") == "list")
            expected = f"{'Anthropic' if asked else 'OpenAI'}'s list shape"
            verdict.case(
                "anthropic_shape" if asked else clause, ok, call=one.call, expected=expected, actual=_shape(body)
            )


def _lists(history: History, contract: Contract, tier: str) -> Iterator[Seen]:
    for one, rows in flaws_of_all(history, contract):
        listing = one.route is not None and one.route.surface == "models" and one.tier == tier
        if listing and rows == () and one.plan.detail.get("method") == "GET":
            yield one


def _entries(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    data = body.get("data")
    return [entry for entry in data if isinstance(entry, dict)] if isinstance(data, list) else []


def _is_openai(entry: Mapping[str, Any]) -> bool:
    return entry.get("object") == "model" and isinstance(entry.get("id"), str)


def _is_anthropic(entry: Mapping[str, Any]) -> bool:
    named = all(isinstance(entry.get(name), str) for name in ("id", "display_name", "created_at"))
    return named and entry.get("type") == "model"


def _is_last_page(body: Mapping[str, Any], entries: list[Mapping[str, Any]]) -> bool:
    """Say whether a page in Anthropic's shape says where it begins and ends, and that no other follows."""
    ends = (entries[0].get("id"), entries[-1].get("id")) if entries else (None, None)
    return body.get("has_more") is False and (body.get("first_id"), body.get("last_id")) == ends


def _shape(body: Mapping[str, Any]) -> str:
    first = next(iter(_entries(body)), {})
    return f"members {sorted(body)}, first entry {dict(first)}"


_FIGURES = {
    "input": ("input", "prompt"),
    "output": ("output", "completion"),
    "cache_read": ("cache_read", "cache_reads", "cached"),
    "cache_write": ("cache_write", "cache_writes"),
}
"""How a price may be called; nobody promises the names, so the place that has such a word in it counts."""


def _wrong_figures(entry: Mapping[str, Any], model: Model) -> list[str]:
    """Return what an entry says wrongly of its model: no place for the context window or a price, or another figure."""
    leaves = dict(_leaves(entry))
    found = []
    contexts = [value for path, value in leaves.items() if "context" in path]
    if model.context_tokens not in contexts:
        found.append(f"context {contexts} instead of {model.context_tokens}")
    assert model.price is not None
    for name, words in _FIGURES.items():
        price = getattr(model.price, name)
        told = [str(value) for path, value in leaves.items() if path.split(".")[-1].removesuffix("_price") in words]
        if price is not None and told != [price]:
            found.append(f"{name} {told} instead of {price}")
        elif price is None and any(_is_number(text) for text in told):
            found.append(f"{name} {told} where the contract has none")
    return found


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdigit()


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every scalar of a JSON value with its dotted path, lower case."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield from _leaves(member, f"{path}.{name.lower()}")
    elif isinstance(value, list):
        for n, member in enumerate(value):
            yield from _leaves(member, f"{path}[{n}]")
    else:
        yield path, value
