"""Shards: dealt out whole, and refused where they are not the parts of one run."""

from __future__ import annotations

from typing import Any

import pytest

from harness.contract import load_contract, load_requirements
from harness.runner.merging import merge_verdicts
from harness.runner.shards import MisfitError, Shard, check_fit, identity

RUN = {
    "schema": "harness.verdict/1",
    "version": "1",
    "contract_digest": "c",
    "target": "reference",
    "mode": "sim",
    "selection": [],
    "requirements": [],
    "claimed": [],
}


def run(shard: str, **other: Any) -> dict[str, Any]:
    return {**RUN, "shard": shard, **other}


def problems(*runs: dict[str, Any]) -> str:
    with pytest.raises(MisfitError) as refused:
        check_fit([(f"d{number}", one) for number, one in enumerate(runs, 1)])
    return "\n".join(refused.value.problems)


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "1/0", "-1/2", "a/b", "1/2/3", "1 /2"])
def test_a_shard_is_written_i_of_n(text: str) -> None:
    with pytest.raises(ValueError, match="1/4"):
        Shard.parse(text)


@pytest.mark.parametrize("of", [1, 2, 3, 7])
def test_shards_take_everything_once_and_evenly(of: int) -> None:
    taken = [[n for n in range(100) if Shard(index, of).takes(n)] for index in range(1, of + 1)]
    assert sorted(n for part in taken for n in part) == list(range(100))
    assert max(map(len, taken)) - min(map(len, taken)) <= 1


def test_whole_sets_fit_in_any_order() -> None:
    check_fit([("b", run("2/2")), ("a", run("1/2"))])
    check_fit([("a", run("1/1"))])


@pytest.mark.parametrize(
    ("field", "other", "said"),
    [
        ("version", "2", "version differs"),
        ("contract_digest", "d", "contract digest differs"),
        ("target", "m:app", "target differs"),
        ("mode", "local", "mode differs"),
        ("selection", ["auth"], "selection differs"),
        ("seeds", [0, 9], "seeds differs"),
        ("schema", "harness.power/1", "schema differs"),
    ],
)
def test_what_differs_is_named_with_both_folders(field: str, other: Any, said: str) -> None:
    told = problems(run("1/2"), run("2/2", **{field: other}))
    assert said in told
    assert "d1" in told
    assert "d2" in told


def test_overlapping_missing_and_unsharded_parts_are_named() -> None:
    assert "shard 1/2 is there twice: d1 and d2" in problems(run("1/2"), run("1/2"), run("2/2"))
    assert "missing: shard 2/4, 4/4" in problems(run("1/4"), run("3/4"))
    assert "different counts" in problems(run("1/2"), run("2/3"))
    assert "d1 is no shard" in problems({**RUN})


def test_the_same_run_in_two_shards_is_refused() -> None:
    record = {"scenario": "a.b", "seed": 0}
    shards = [
        (name, {"schema": "s", "run": run(shard), "scenarios": [record], "requirements": {}})
        for name, shard in (("x", "1/2"), ("y", "2/2"))
    ]
    with pytest.raises(MisfitError, match=r"a\.b seed 0 is in x and in y"):
        merge_verdicts(shards, load_requirements())


def test_another_contract_is_another_identity() -> None:
    before = identity(load_contract(), ())
    after = identity(load_contract(overlays=[{"text.requests": 7}]), ())
    assert before["contract_digest"] == identity(load_contract(), ())["contract_digest"]
    assert before["contract_digest"] != after["contract_digest"]
