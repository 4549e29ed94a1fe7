"""Loading: every fault of a contract or an overlay at once with file and key, and what comes back is what went in."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import harness.contract
from harness.contract import (
    ContractError,
    contract_from_json,
    contract_to_json,
    load_contract,
    overlay_named,
    overlay_names,
    with_overlays,
)

FOLDER = Path(harness.contract.__file__).parent / "data" / "hypereal"


def problems_of(function: Any, *arguments: Any, **options: Any) -> tuple[str, ...]:
    with pytest.raises(ContractError) as caught:
        function(*arguments, **options)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FOLDER, tmp_path / "mine"))


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), "utf-8")


def test_a_folder_and_a_single_file_of_the_same_tables_load_alike(folder: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole.toml"
    # Plain keys come first: after a table's head they would belong to it.
    files = sorted(folder.glob("*.toml"), key=lambda file: file.name != "contract.toml")
    whole.write_text("\n".join(file.read_text("utf-8") for file in files), "utf-8")
    one, other = load_contract(whole), load_contract(str(folder))
    assert other == load_contract()
    assert {model.id for model in one.models} == {model.id for model in other.models}
    assert dataclasses.replace(one, models=other.models) == other


def test_every_problem_is_told_at_once_with_file_and_key(folder: Path) -> None:
    edit(folder / "limits.toml", "queue_length = 64", "queue_lenght = 64")
    edit(folder / "timing.toml", "silence_ms = 120_000", 'silence_ms = "120000"')
    edit(folder / "timing.toml", 'payout_ratio = "0.25"', "payout_ratio = 0.25")
    edit(folder / "wire.toml", "status = 401\n", "")
    edit(folder / "enterprise.toml", 'input = "5.25"', 'input = "5,25"')
    edit(folder / "general.toml", 'tier = "general"', 'tier = "genral"')
    edit(folder / "general.toml", '= "claude-haiku-4-5"', '= "claude-haiku-4-6"')
    edit(folder / "media.toml", "count_max = 10", "count_max = true")
    edit(folder / "contract.toml", 'region = "us-west"', 'regoin = "us-west"')
    found = problems_of(load_contract, folder)
    for wanted in (
        "limits.toml: text.queue_length: missing",
        "limits.toml: text.queue_lenght: unknown field; near: queue_length",
        "timing.toml: timeouts.silence_ms: must be a whole number, not '120000'",
        "timing.toml: insurance.payout_ratio: must be text, not 0.25",
        "wire.toml: errors.invalid_key.status: missing",
        "enterprise.toml: models.claude-opus-4-8.price.input: '5,25' is no dollar price with at most four decimals",
        "general.toml: models.gpt-5.tier: 'genral' is none of enterprise, general",
        "media.toml: media.images.count_max: must be a whole number, not True",
        "contract.toml: chains.default[1].region: missing",
        "contract.toml: chains.default[1].regoin: unknown field; near: region",
    ):
        assert wanted in found
    assert any(
        one.startswith("general.toml: aliases.claude-3-5-haiku-20241022: 'claude-haiku-4-6' is no general model; near:")
        for one in found
    )


FIELD = re.compile(r"(?m)^(\w+) = (\[\n(?:  .*\n)*\]|.*)$")
INNER = re.compile(r"(?<=[{,] )(\w+) = (\"[^\"]*\")(?:, )?")


def _sites() -> list[tuple[str, int, int, str, str]]:
    """Every field of the data files: file, span, key and value, those of inline tables as well."""
    found = []
    for file in sorted(FOLDER.glob("*.toml")):
        text = file.read_text("utf-8")
        for pattern in (FIELD, INNER):
            found += [(file.name, *match.span(), match[1], match[2]) for match in pattern.finditer(text)]
    return found


SITES = _sites()


@settings(max_examples=120, deadline=None)
@given(site=st.sampled_from(SITES), mangle=st.sampled_from(["delete", "rename", "retype"]))
def test_any_one_mangled_field_is_refused_by_its_name(site: tuple[str, int, int, str, str], mangle: str) -> None:
    name, start, end, key, value = site
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(shutil.copytree(FOLDER, Path(scratch) / "mine"))
        text = (folder / name).read_text("utf-8")
        wrong = "7" if value.startswith(("[", "{")) else "[[1]]"
        ending = ", " if text[start:end].endswith(", ") else ""
        mangled = {"delete": "", "rename": f"{key}z = {value}{ending}", "retype": f"{key} = {wrong}{ending}"}[mangle]
        if mangle == "delete" and not ending:
            start = len(text[:start].rstrip(", ")) if text[start - 2 : start] == ", " else start
        (folder / name).write_text(text[:start] + mangled + text[end:], "utf-8")
        found = problems_of(load_contract, folder)
    # A table that stands in no file any more has only the folder to be missing from.
    told = [problem for problem in found if problem.startswith((f"{name}: ", "mine: "))]
    assert any(re.search(rf"\b{key}z?\b", problem) for problem in told), found


def test_the_mangled_sites_are_the_whole_contract() -> None:
    assert len(SITES) > 900
    assert {name for name, *_ in SITES} == {file.name for file in FOLDER.glob("*.toml")}


@pytest.mark.parametrize(
    ("file", "old", "new", "wanted"),
    [
        (
            "limits.toml",
            "window_ms = 60_000",
            "window_ms = 1_999",
            "limits.toml: text.window_ms: must be at least 2000",
        ),
        ("limits.toml", "retry_after_min_s = 1", "retry_after_min_s = 61", "text.retry_after_min_s: 61 is above"),
        ("limits.toml", "concurrency = 80", "concurrency = 0", "text.concurrency: must be at least 1, not 0"),
        ("limits.toml", "queue_length = 64", "queue_length = -1", "text.queue_length: must be at least 0, not -1"),
        ("limits.toml", 'origin = "mixed"', 'origin = "guessed"', "text.origin: 'guessed' is none of stated,"),
        ("timing.toml", "backoff_ms = 250", "backoff_ms = 5_000", "failover.backoff_ms: 5000 is above backoff_cap_ms"),
        (
            "timing.toml",
            "jitter_high_percent = 100",
            "jitter_high_percent = 101",
            "jitter_high_percent: must be at most",
        ),
        ("timing.toml", "[401, 402, 403, 404]", "[400, 401]", "target_fault_statuses: 400 is a client fault as well"),
        ("timing.toml", "[400, 409, 413, 422]", "[200]", "client_fault_statuses: 200 is no error status"),
        ("timing.toml", "cooldown_ms = 10_000", "cooldown_ms = 130_000", "breaker.cooldown_ms: 130000 is above"),
        ("timing.toml", '"0.25"', '"1.25"', "insurance.payout_ratio: '1.25' is no decimal between 0 and 1"),
        ("wire.toml", "status = 401", "status = 201", "errors.invalid_key.status: 201 is no error status"),
        ("wire.toml", 'name = "queue_full"', 'name = "queue_fulll"', "wire.toml: errors.queue_full: missing"),
        ("wire.toml", 'name = "queue_full"', 'name = "rate_limited"', "errors.rate_limited: rate_limited stands twice"),
        ("wire.toml", '"x-hypereal-cache"', '"X-Hypereal-Cache"', "headers.cache: 'X-Hypereal-Cache' is no lower-case"),
        ("wire.toml", r"'^claude-cli/\d'", "'(claude'", "cli_only.user_agent: '(claude' is no regular expression"),
        ("wire.toml", 'surface = "responses"', 'surface = "response"', "'response' is no surface; near: responses"),
        ("wire.toml", '"claude-*-max"', '"*-max"', "models.qwen3-7-max.cli_only: must be true by cli_only.pattern"),
        ("enterprise.toml", '["chat", "responses"]', '["chatt"]', "models.gpt-5-5.surfaces: 'chatt' is no surface"),
        ("enterprise.toml", '["chat", "responses"]', "[]", "models.gpt-5-5.surfaces: must name one at least"),
        ("enterprise.toml", '"5.25"', '"5.12345"', "models.claude-opus-4-8.price.input: '5.12345' is no dollar price"),
        ("enterprise.toml", 'id = "gpt-5-5"', 'id = "kimi-latest"', "kimi-latest (enterprise) stands twice"),
        (
            "enterprise.toml",
            'chain = "default"',
            'chain = "defualt"',
            "'defualt' is no chain of [chains]; near: default",
        ),
        ("enterprise.toml", 'chain = "default"', "chain = []", "claude-opus-4-8.chain: must have one target at least"),
        ("general.toml", 'ids = ["glm-5"]', "ids = []", "models[5].ids: must be a list of model ids"),
        (
            "general.toml",
            'ids = ["glm-5"]',
            'ids = ["glm-5"]\nname = "x"',
            "models.glm-5.name: unknown field beside ids",
        ),
        ("general.toml", "[aliases]", '[aliases]\n"gpt-5" = "glm-5"', "aliases.gpt-5: is a general model's own id"),
        (
            "media.toml",
            '["audio-tts"]\nfields',
            '["audio-ttt"]\nfields',
            "media.audio-tts.models: 'audio-ttt' is no model",
        ),
        ("contract.toml", 'name = "hypereal"', "[text]", "limits.toml: text: stands in contract.toml already"),
        ("contract.toml", 'name = "hypereal"', 'name = ""', "contract.toml: name: must not be empty"),
        ("contract.toml", 'version = "1"', "overlays = []", "contract.toml: overlays: unknown field"),
        ("contract.toml", 'name = "hypereal"', "name = ", "contract.toml: Invalid value"),
    ],
)
def test_a_value_no_contract_can_have_is_refused(folder: Path, file: str, old: str, new: str, wanted: str) -> None:
    edit(folder / file, old, new)
    assert any(wanted in problem for problem in problems_of(load_contract, folder))


def test_a_chain_may_be_written_out_and_its_ids_must_fit(folder: Path) -> None:
    target = '{ role = "primary", region = "mars", upstream_model = "claude-opus-4-8:mars" }'
    edit(folder / "enterprise.toml", 'chain = "default"', f"chain = [{target}]")
    model = load_contract(folder).model("enterprise", "claude-opus-4-8")
    assert model is not None
    assert [dataclasses.astuple(one) for one in model.chain] == [("primary", "mars", "claude-opus-4-8:mars")]
    edit(folder / "enterprise.toml", "claude-opus-4-8:mars", "opus:mars")
    assert "must start with 'claude-opus-4-8:'" in problems_of(load_contract, folder)[0]


def test_a_text_model_without_price_or_context_is_refused(folder: Path) -> None:
    text = (folder / "general.toml").read_text("utf-8")
    text = re.sub(r"(ids = \[\"glm-5\"\](?:\n.*){4}\ncontext_tokens = )\S+", r"\g<1>0", text)
    text = re.sub(r"(ids = \[\"glm-5\"\](?:\n.*){6}\nprice = ).*", r'\g<1>"n/a"', text)
    (folder / "general.toml").write_text(text, "utf-8")
    assert problems_of(load_contract, folder) == (
        "general.toml: models.glm-5.price: missing: the model is served on a surface that bills by tokens",
        "general.toml: models.glm-5.context_tokens: must be at least 1 on a surface that bills by tokens",
    )


def test_an_unreadable_place_is_told(tmp_path: Path) -> None:
    assert "near: hypereal" in problems_of(load_contract, "hyperreal")[0]
    assert "no such file or folder" in problems_of(load_contract, tmp_path / "none.toml")[0]
    assert "holds no .toml file" in problems_of(load_contract, tmp_path)[0]
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe9"')
    assert "latin.toml" in problems_of(load_contract, tmp_path / "latin.toml")[0]


def test_an_overlay_sets_dotted_keys_and_is_recorded() -> None:
    made = load_contract(overlays=["short", {"text.requests": 5, "breaker": {"slow_ms": 40}}])
    assert (made.text.requests, made.breaker.slow_ms) == (5, 40)
    assert made.timeouts.ping_ms == overlay_named("short")["timeouts.ping_ms"]
    assert made.overlays[0] == "short"
    assert json.loads(made.overlays[1]) == {"text.requests": 5, "breaker.slow_ms": 40}
    assert load_contract().overlays == ()
    assert load_contract().text.requests == 15_000


def test_overlays_apply_in_order_and_an_empty_one_leaves_no_trace() -> None:
    made = load_contract(overlays=[{"text.requests": 5}, {}, {"text.requests": 6}])
    assert made.text.requests == 6
    assert len(made.overlays) == 2
    assert with_overlays(made, []) is made
    more = with_overlays(made, ["short"])
    assert more.overlays == (*made.overlays, "short")
    assert (more.text.requests, more.text.window_ms) == (6, overlay_named("short")["text.window_ms"])


@pytest.mark.parametrize(
    ("chain", "wanted"),
    [
        (["primary"], [("primary", "us-east", "gpt-5-5:us-east")]),
        (
            ["third", "primary"],
            [("third", "eu-central", "gpt-5-5:eu-central"), ("primary", "us-east", "gpt-5-5:us-east")],
        ),
        (["primary", "fourth"], [("primary", "us-east", "gpt-5-5:us-east"), ("fourth", "fourth", "gpt-5-5:fourth")]),
        (
            [{"role": "primary", "region": "mars", "upstream_model": "gpt-5-5:x"}],
            [("primary", "mars", "gpt-5-5:x")],
        ),
    ],
)
def test_an_overlay_may_shorten_lengthen_or_replace_a_chain(chain: list[Any], wanted: list[tuple[str, ...]]) -> None:
    model = load_contract(overlays=[{"models.gpt-5-5.chain": chain}]).model("enterprise", "gpt-5-5")
    assert model is not None
    assert [dataclasses.astuple(target) for target in model.chain] == wanted


def test_an_overlay_may_address_ids_with_dots_rows_and_roles() -> None:
    made = load_contract(
        overlays=[
            {
                "models.gpt-5.4-mini.price.input": "9.99",
                "models.gpt-5.default_output_tokens": 16,
                "models.gpt-5-5.chain.second.region": "mars",
                "errors.queue_full.status": 503,
                "aliases.gpt-mini.1": "gpt-5.4-mini",
                "usage.chat.total": "",
            }
        ]
    )
    mini, five = made.model("general", "gpt-mini.1"), made.model("general", "gpt-5")
    managed = made.model("enterprise", "gpt-5-5")
    assert mini is not None and mini.price is not None and five is not None and managed is not None  # noqa: PT018 - narrowing only
    assert (mini.id, mini.price.input, five.default_output_tokens) == ("gpt-5.4-mini", "9.99", 16)
    assert managed.chain[1].region == "mars"
    assert (made.error("queue_full").status, made.usage_of("chat").total) == (503, "")


def test_every_problem_of_an_overlay_is_told_at_once() -> None:
    found = problems_of(
        load_contract,
        overlays=[
            {
                "text.request": 5,
                "txet.requests": 5,
                "text": 5,
                "models.gpt-5-6.chain": ["primary"],
                "models.gpt-5-5.chain": ["primary", "primary"],
                "models.kimi-latest.chain": [3],
                "insurance.threshold_ms": "90",
                "image.window_ms": 1_000,
                "aliases.new": "gpt-9",
            }
        ],
    )
    assert [one.removeprefix("overlay: ").split(": ")[0] for one in found] == [
        "text.request",
        "txet.requests",
        "text",
        "models.gpt-5-6.chain",
        "models.gpt-5-5.chain",
        "models.kimi-latest.chain[0]",
        "image.window_ms",
        "insurance.threshold_ms",
        "aliases.new",
    ]
    assert found[0] == "overlay: text.request: no such key; near: text.requests, text.queue_tokens, text.queue_length"
    assert "near: models.gpt-5-5.chain" in found[3]


def test_a_problem_of_a_named_overlay_names_it(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[text]\nrequets = 5\n[breaker]\nprobes = 0\n", "utf-8")
    found = problems_of(load_contract, overlays=[str(tmp_path / "mine.toml")])
    assert [one.split(": ")[1] for one in found] == ["text.requets", "breaker.probes"]
    assert all(one.startswith(f"overlay {tmp_path}/mine.toml: ") for one in found)
    (tmp_path / "bad.toml").write_text("[text", "utf-8")
    assert "bad.toml" in problems_of(overlay_named, str(tmp_path / "bad.toml"))[0]


def test_an_unknown_overlay_lists_the_near_ones() -> None:
    assert "short" in overlay_names()
    assert "near: short" in problems_of(overlay_named, "shrot")[0]
    assert "near: short" in problems_of(load_contract, overlays=["shrot"])[0]


def test_an_overlay_value_that_is_no_json_is_refused() -> None:
    assert problems_of(load_contract, overlays=[{"text.requests": object()}])


@pytest.mark.parametrize("overlays", [(), ("short",), ({"models.gpt-5-5.chain": ["primary", "fourth"]},)])
def test_json_and_back_is_the_same_contract(overlays: tuple[str | Mapping[str, Any], ...]) -> None:
    contract = load_contract(overlays=overlays)
    assert contract_from_json(json.loads(json.dumps(contract_to_json(contract)))) == contract
    assert contract_from_json(orjson.loads(orjson.dumps(dataclasses.asdict(contract)))) == contract
    assert contract_from_json(dataclasses.asdict(contract)) == contract
    assert json.dumps(contract_to_json(contract)) == json.dumps(dataclasses.asdict(contract))


def test_json_is_refused_with_every_problem() -> None:
    data = contract_to_json(load_contract())
    del data["breaker"]
    data["text"]["requests"] = "15000"
    data["models"][0]["chain"][1].pop("region")
    data["modles"] = []
    assert problems_of(contract_from_json, data) == (
        "contract: modles: unknown field; known: breaker",
        "contract: models.claude-opus-4-8.chain[1].region: missing",
        "contract: text.requests: must be a whole number, not '15000'",
        "contract: breaker: missing",
    )
    assert problems_of(contract_from_json, [])
    assert problems_of(contract_from_json, {"overlays": 3})
    assert len(problems_of(contract_from_json, {})) == len(dataclasses.fields(load_contract())) - 1


def test_a_loaded_contract_cannot_be_changed_and_still_copies() -> None:
    contract = load_contract()
    with pytest.raises(dataclasses.FrozenInstanceError):
        contract.name = "mine"  # type: ignore[misc]  # that it is refused is the test
    aliases: Any = contract.aliases
    calls: tuple[tuple[str, tuple[Any, ...]], ...] = (
        ("update", ({"x": "y"},)),
        ("__setitem__", ("x", "y")),
        ("__delitem__", ("claude-3-5-haiku-20241022",)),
        ("__ior__", ({"x": "y"},)),
        ("pop", ("x", None)),
        ("popitem", ()),
        ("clear", ()),
        ("setdefault", ("x", "y")),
    )
    for name, arguments in calls:
        with pytest.raises(TypeError, match="read-only"):
            getattr(aliases, name)(*arguments)
    assert pickle.loads(pickle.dumps(contract)) == contract == copy.deepcopy(contract)
    assert hash(contract) == hash(copy.deepcopy(contract))


def test_the_same_contract_is_loaded_once() -> None:
    assert load_contract() is load_contract("hypereal")
    overlays: list[str | Mapping[str, Any]] = ["short", {"text.requests": 7}]
    assert load_contract(overlays=overlays) is load_contract(overlays=overlays)


def test_a_contract_error_survives_a_process_boundary() -> None:
    error = ContractError(["a", "b", "a"])
    assert pickle.loads(pickle.dumps(error)).problems == ("a", "b") == error.problems
