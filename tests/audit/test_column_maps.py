"""Column maps and price lists: the packaged ones read realistic files, a wrong one is refused with what is wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from harness.audit import AuditError
from harness.audit.foreign import packaged, read_maps, read_prices
from tests.audit.foreign import MAP, Desk, write

PER_TOKEN = """
[models.gpt]
input = "1.25"
cache_read = "0.125"
output = "10.00"
aliases = ["openai/gpt", "gpt-2026-01-01"]
[models.claude]
input = "3.15"
cache_read = "0.315"
cache_write = "3.94"
output = "15.75"
aliases = ["anthropic/claude"]
"""
KEY = "88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b"


def _spend(call: str, model: str, tokens: tuple[int, int, int, int], spend: str, **changed: Any) -> dict[str, Any]:
    """Return a row as LiteLLM's table has it: prompt tokens with the cached ones in them, usage in the metadata."""
    fresh, read, written, output = tokens
    usage = {
        "prompt_tokens": fresh + read + written,
        "completion_tokens": output,
        "prompt_tokens_details": {"cached_tokens": read, "text_tokens": None},
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
    }
    return {
        "request_id": call,
        "call_type": "acompletion",
        "api_key": KEY,
        "spend": spend,
        "total_tokens": sum(tokens),
        "prompt_tokens": fresh + read + written,
        "completion_tokens": output,
        "startTime": "2026-01-01 00:00:00.000",
        "endTime": "2026-01-01 00:00:01.250",
        "model": model,
        "user": "u1",
        "team_id": "",
        "status": "success",
        "metadata": json.dumps({"user_api_key": KEY, "usage_object": usage, "status": "success"}),
        **changed,
    }


SPEND_LOG = [
    _spend("ok", "openai/gpt", (1000, 0, 0, 10), "0.00135"),
    _spend("noisy", "claude", (100, 50, 20, 3), "0.00045680000000000003"),
    _spend("cached_as_fresh", "openai/gpt", (600, 400, 0, 0), "0.00125"),
    _spend("written_twice", "anthropic/claude", (100, 0, 1000, 0), "0.007405"),
    _spend("free", "openai/gpt", (1000, 0, 0, 0), "0.0"),
    _spend("dear", "openai/gpt", (1000, 0, 0, 0), "0.0025"),
    _spend("failed", "openai/gpt", (1000, 0, 0, 0), "0.00125", status="failure"),
    _spend("refused", "openai/gpt", (0, 0, 0, 0), "0.0", status="failure"),
]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet", ".db"])
def test_a_spend_log_is_priced_again_from_its_own_tokens(desk: Desk, suffix: str) -> None:
    desk.prices = PER_TOKEN
    desk.maps = ["litellm"]
    log = write(desk.folder / f"spend{suffix}", SPEND_LOG, table='"LiteLLM_SpendLogs"')
    found = desk.audit(upstream=log, ledger=log)
    assert found.unreadable == []
    assert found.classes == [
        ("CLASS_MISMATCH", "cached_as_fresh"),
        ("RATE_MISMATCH", "dear"),
        ("CHARGED_FAILURE", "failed"),
        ("UNBILLED", "free"),
        ("CLASS_MISMATCH", "written_twice"),
    ]
    assert {row[1]: row[5] for row in found.found if row[0] == "CLASS_MISMATCH"} == {
        "cached_as_fresh": "cache reads at the input price",
        "written_twice": "cache writes billed twice",
    }
    for path in desk.folder.iterdir():
        if path.name.startswith(("audit", "discrepancies", "unreadable")):
            assert KEY.encode() not in path.read_bytes()


def test_a_spend_log_is_held_against_the_providers_usage(desk: Desk) -> None:
    desk.prices = PER_TOKEN
    desk.maps = ["upstream=openai", "ledger=litellm"]
    chat = {"prompt_tokens": 1000, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 200}}
    upstream = [
        {"id": "ok", "model": "gpt-2026-01-01", "created": 1767225601, "usage": chat},
        {
            "id": "response",
            "model": "gpt",
            "created_at": 1767225602,
            "usage": {"input_tokens": 1000, "input_tokens_details": {"cached_tokens": 1000}, "output_tokens": 0},
        },
        {"id": "unbilled", "model": "gpt", "created": 1767225603, "usage": chat},
        {"id": "silent", "model": "gpt", "created": 1767225603, "usage": None},
    ]
    ledger = [
        _spend("ok", "gpt", (800, 200, 0, 10), "0.001125"),
        _spend("response", "gpt", (0, 1000, 0, 0), "0.000125"),
        _spend("silent", "gpt", (10, 0, 0, 0), "0.0000125"),
        _spend("ghost", "gpt", (10, 0, 0, 0), "0.0000125"),
    ]
    found = desk.audit(upstream=write(desk.folder / "usage.jsonl", upstream), ledger=ledger)
    assert found.classes == [("PHANTOM", "ghost"), ("ESTIMATED_USAGE", "silent"), ("UNBILLED", "unbilled")]
    assert found.unreadable == []


def test_anthropics_input_leaves_cached_tokens_out(desk: Desk) -> None:
    desk.prices = PER_TOKEN
    desk.maps = ["anthropic", "ledger=litellm"]
    usage = {
        "input_tokens": 100,
        "cache_creation_input_tokens": 20,
        "cache_read_input_tokens": 50,
        "output_tokens": 3,
        "service_tier": "standard",
    }
    upstream = [{"id": "msg_1", "type": "message", "model": "claude", "usage": usage}]
    ledger = [_spend("msg_1", "claude", (100, 50, 20, 3), "0.0004568")]
    found = desk.audit(upstream=write(desk.folder / "usage.jsonl", upstream), ledger=ledger)
    assert (found.found, found.unreadable, found.record.exit_code) == ([], [], 0)


OPENAI = [{"id": n, "model": "gpt", "usage": {"prompt_tokens": 10, "completion_tokens": 1}} for n in ("o1", "o2")]
ANTHROPIC = [
    {"id": n, "model": "claude", "usage": {"input_tokens": 10, "cache_read_input_tokens": 50, "output_tokens": 1}}
    for n in ("a1", "a2")
]
"""Cached tokens stand beside the input here, and in it there: the other's map would make something else of them."""


def test_each_file_of_a_book_may_have_a_map_of_its_own(desk: Desk) -> None:
    desk.prices = PER_TOKEN
    (desk.folder / "o.jsonl").write_text("".join(json.dumps(one) + "\n" for one in [*OPENAI, {"id": "x"}]))
    (desk.folder / "a.jsonl").write_text("".join(json.dumps(one) + "\n" for one in ANTHROPIC))
    desk.maps = ["upstream=openai", "a.jsonl=anthropic", "ledger=litellm"]
    ledger = [
        _spend("o1", "gpt", (10, 0, 0, 1), "0.0000225"),
        _spend("o2", "gpt", (10, 0, 0, 1), "0.0000226"),
        _spend("a1", "claude", (10, 50, 0, 1), "0.000063"),
        _spend("a2", "claude", (10, 50, 0, 1), "0.00020475"),
    ]
    found = desk.audit(upstream=[desk.folder / "o.jsonl", desk.folder / "a.jsonl"], ledger=ledger)
    assert found.classes == [("CLASS_MISMATCH", "a2"), ("RATE_MISMATCH", "o2")]
    assert [row[:3] for row in found.unreadable] == [("o.jsonl", 3, "model")]


def test_a_map_for_a_file_goes_before_that_of_its_book_and_must_have_its_section() -> None:
    given = {"upstream": [Path("x/a=b.csv"), Path("c.csv")], "ledger": [Path("l.csv")]}
    maps = read_maps(["openai", "a=b.csv=anthropic", "ledger=litellm"], given)
    assert [one.origin for one in maps["upstream"]] == ["anthropic", "openai"]
    maps = read_maps(["c.csv=openai", "x/a=b.csv=anthropic", "l.csv=litellm"], given)
    assert [one.origin for book in maps.values() for one in book] == ["anthropic", "openai", "litellm"]
    with pytest.raises(AuditError, match=r"no map has a section \[upstream\]"):
        read_maps(["c.csv=openai", "ledger=litellm"], given)
    with pytest.raises(AuditError, match=r"map openai has no section \[ledger\]"):
        read_maps(["openai", "l.csv=openai"], given)
    with pytest.raises(AuditError, match="both have a section"):
        read_maps(["c.csv=openai", "c.csv=anthropic", "litellm"], given)


def test_cached_tokens_beyond_the_input_are_listed(desk: Desk) -> None:
    desk.prices = PER_TOKEN
    desk.maps = ["openai", "ledger=litellm"]
    usage = {"prompt_tokens": 10, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 11}}
    upstream = [{"id": "a", "model": "gpt", "usage": usage}]
    found = desk.audit(
        upstream=write(desk.folder / "usage.jsonl", upstream), ledger=[_spend("a", "gpt", (1, 0, 0, 1), "0.00001")]
    )
    assert [row[2:] for row in found.unreadable] == [("usage.prompt_tokens", "10", "less than the cached tokens in it")]
    assert (found.found, found.record.exit_code) == ([], 2)


def test_the_reference_gateways_usage_log_is_held_against_what_upstreams_served(desk: Desk) -> None:
    desk.maps = ["ledger=reference", "anthropic"]
    columns = "call,request,account,key,endpoint,model,status,outcome,credits,compensated,insurance,latency_ms"
    lines = [
        f"{columns},input,cache_read,cache_write,output,at",
        "a,r1,acct,k1,/v1/managed/messages,big,200,ok,150,0,not_triggered,900,1000,0,0,100,1767225600000000",
        "b,r2,acct,k1,/v1/managed/messages,big,200,ok,151,0,not_triggered,900,1000,0,0,100,1767225600500000",
        "c,r3,acct,k1,/v1/managed/messages,big,402,refused,0,0,,1,,,,,1767225600600000",
    ]
    (desk.folder / "log.csv").write_text("\n".join(lines) + "\n")
    usage = {"input_tokens": 1000, "output_tokens": 100}
    upstream = [{"id": call, "model": "vendor/big", "usage": usage} for call in ("a", "b")]
    found = desk.audit(upstream=write(desk.folder / "u.jsonl", upstream), ledger=desk.folder / "log.csv")
    assert found.found == [("RATE_MISMATCH", "b", 150, 151, "customer", "1.0067 of the printed price")]
    assert found.unreadable == []


def files(*books: str) -> dict[str, list[Path]]:
    """Return a file for each of ``books``."""
    return {book: [Path(f"{book}.csv")] for book in books}


@pytest.mark.parametrize("name", packaged())
def test_each_packaged_map_says_what_it_is_for(name: str) -> None:
    for book in ("upstream", "ledger", "client"):
        try:
            mapped = read_maps([name], files(book))[book][0]
        except AuditError:
            continue
        assert mapped.columns["call"]
        break
    else:
        pytest.fail(f"{name} maps no book")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('input = "input"', 'inputs = "input"', "has no 'inputs', did you mean 'input'"),
        ('call = "id"', 'account = "id"', "no TOML file"),
        ('model = "model"', "", "lacks model"),
        ('cached = "beside"', 'cached = "outside"', "cached is inside or beside"),
        ('cached = "beside"', 'cache = "beside"', "has no 'cache', did you mean 'cached'"),
        ('money = "credits"', 'money = "euros"', "money is dollars, credits"),
        ('money = "credits"', "money = 0.01", "money is dollars, credits"),
        ('money = "credits"', 'zone = "Europe/Berlin"', "zone is UTC or an offset"),
        ('money = "credits"', 'time = "days"', "time is one of s, ms, us"),
        ('amount = "credits"', 'amount = "credits"\nbalance = "left"', "balances need the column entry"),
        ('amount = "credits"', 'amount = "credits"\nkind = "type"', "go together"),
        ('amount = "credits"', "amount = 5", "is a text or a list of texts"),
        ("[ledger]", "[books]", "the map has no 'books'"),
        ("[ledger.columns]", "[ledger.column]", "has no 'column', did you mean 'columns'"),
    ],
)
def test_a_wrong_map_is_refused_with_what_is_wrong(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in MAP
    (tmp_path / "map.toml").write_text(MAP.replace(old, new, 1))
    with pytest.raises(AuditError, match=message):
        read_maps([str(tmp_path / "map.toml")], files("upstream", "ledger"))


def test_maps_that_speak_of_one_book_need_a_word_of_which() -> None:
    with pytest.raises(AuditError, match=r"both have a section \[upstream\]"):
        read_maps(["litellm", "openai"], files("upstream", "ledger"))
    assert read_maps(["litellm", "openai"], files("ledger"))["ledger"][0].origin == "litellm"
    maps = read_maps(["ledger=litellm", "upstream=openai"], files("upstream", "ledger"))
    assert [maps[book][0].origin for book in ("upstream", "ledger")] == ["openai", "litellm"]
    with pytest.raises(AuditError, match="did you mean 'litellm'"):
        read_maps(["litelm"], files("ledger"))
    with pytest.raises(AuditError, match=r"no map has a section \[client\]"):
        read_maps(["litellm"], files("ledger", "client"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no table"),
        ("[models.m]\ninput = 1.5\noutput = '2'", "must be a text"),
        ("[models.m]\ninput = '-1'\noutput = '2'", "negative"),
        ("[models.m]\ninput = 'free'\noutput = '2'", "no decimal number"),
        ("[models.m]\ninput = '1'", "needs input and output"),
        ("[models.m]\ninput = '1'\noutput = '2'\ncached = '1'", "has no 'cached'"),
        ("[models.m]\ninput = '1'\noutput = '2'\naliases = ['n']\n[models.n]\ninput = '1'\noutput = '2'", "alias 'n'"),
        ("[rounding]\nmode = 'upwards'\n[models.m]\ninput = '1'\noutput = '2'", "rounding mode"),
        ("[rounding]\nmode = 'up'\n[models.m]\ninput = '1'\noutput = '2'", "needs a quantum"),
        ("[rounding]\nquantum = 'credit'\n[models.m]\ninput = '1'\noutput = '2'", "needs credits_per_usd"),
        ("[rounding]\nquantum = '0'\n[models.m]\ninput = '1'\noutput = '2'", "more than nothing"),
        ("credits_per_usd = 0\n[models.m]\ninput = '1'\noutput = '2'", "whole number"),
        ("[insurance]\nthreshold_ms = 5\n[models.m]\ninput = '1'\noutput = '2'", "payout_ratio"),
        ("[models.m]\ninput = '0.000000001'\noutput = '2'", "finer than"),
    ],
)
def test_a_wrong_price_list_is_refused_with_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "p.toml").write_text(text)
    with pytest.raises(AuditError, match=message):
        read_prices(str(tmp_path / "p.toml")).unit()


def test_a_contract_is_a_price_list_by_its_name() -> None:
    prices = read_prices("hypereal")
    assert prices.known("claude-sonnet-4-7") == "enterprise/claude-sonnet-4-7"
    assert prices.known("claude-sonnet-4-7:us-east") == "enterprise/claude-sonnet-4-7"
    assert prices.models["enterprise/claude-sonnet-4-7"]["output"] == "15.75"
    assert (prices.mode, prices.quantum, prices.scope) == ("up", "0.01", "request")
    # Two tiers sell it at two prices: the bare id stands for neither.
    assert prices.known("nano-banana-2") is None
    assert prices.known("general/nano-banana-2") == "general/nano-banana-2"
    with pytest.raises(AuditError, match="no price file and no contract"):
        read_prices("hyperreal")


def test_the_examples_of_the_documentation_are_read(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "audit.md").read_text("utf-8")
    example, kinds, prices = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "map.toml").write_text(f'{example}kind = "type"\n{kinds}')
    maps = read_maps([str(tmp_path / "map.toml")], files("upstream", "ledger"))
    assert maps["ledger"][0].kinds == {"charge": "post", "deposit": "top_up"}
    (tmp_path / "prices.toml").write_text(prices)
    assert read_prices(str(tmp_path / "prices.toml")).quantum == "0.01"
