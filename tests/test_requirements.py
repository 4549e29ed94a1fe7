"""The catalogue of requirements: its clauses, and the claims that patterns of ids and clauses make."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import harness.contract
from harness.contract import (
    Claims,
    ContractError,
    load_claims,
    load_requirements,
    matches,
    reference_claims,
)
from harness.contract.requirements import parse_requirements

DATA = Path(harness.contract.__file__).parent / "data"


def test_every_requirement_has_named_clauses_that_are_sentences() -> None:
    catalogue = load_requirements()
    assert len(catalogue) == 117
    for id_, requirement in catalogue.items():
        assert requirement.id == id_
        assert re.fullmatch(r"[A-Z]+-\d\d", id_)
        assert requirement.clauses
        for name, sentence in requirement.clauses.items():
            assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
            assert sentence.endswith(".")
        assert len(set(requirement.clauses.values())) == len(requirement.clauses)


@pytest.mark.parametrize(
    ("requirement", "clauses"),
    [
        ("AUTH-01", ["bearer", "session_cookie", "disagreeing", "empty_is_absent"]),
        ("BILL-02", ["refused", "all_targets_failed", "timed_out", "broken_stream"]),
        ("BRK-01", ["opens", "no_calls_while_open"]),
        ("ERR-02", ["missing_model"]),
    ],
)
def test_a_compound_sentence_is_split_and_a_simple_one_is_not(requirement: str, clauses: list[str]) -> None:
    assert list(load_requirements()[requirement].clauses) == clauses


def test_the_catalogue_keeps_the_digits_of_its_sentences() -> None:
    catalogue = load_requirements()
    assert "(90,000 ms; exactly the threshold does not pay)" in catalogue["INS-03"].text
    assert "the N-th request (15,000 for text) is admitted, the N+1-th refused" in catalogue["GOV-04"].text
    assert (
        "(ceil(length of the raw body in bytes / 4) + max_tokens, or the model's default)" in catalogue["GOV-05"].text
    )


def test_the_catalogue_cannot_be_changed() -> None:
    catalogue: Any = load_requirements()
    with pytest.raises(TypeError):
        catalogue["AUTH-01"] = None
    with pytest.raises(TypeError):
        catalogue["AUTH-01"].clauses["bearer"] = ""


@pytest.mark.parametrize(
    ("patterns", "requirement", "clause", "claimed"),
    [
        (["BILL-01"], "BILL-01", "input", True),
        (["BILL-01"], "BILL-10", "concurrent", False),
        (["BILL-0*"], "BILL-08", "hold_size", True),
        (["BILL-0*"], "BILL-10", "concurrent", False),
        (["*"], "GOV-06", "n_counts_n", True),
        (["GOV-*", "!GOV-06"], "GOV-06", "n_counts_n", False),
        (["GOV-*", "!GOV-06"], "GOV-07", "queue_tokens", True),
        (["!GOV-06", "GOV-*"], "GOV-06", "n_counts_n", False),
        (["AUTH-01", "!AUTH-01.session_cookie"], "AUTH-01", "session_cookie", False),
        (["AUTH-01", "!AUTH-01.session_cookie"], "AUTH-01", "bearer", True),
        (["BILL-08.hold_size"], "BILL-08", "hold_size", True),
        (["BILL-08.hold_size"], "BILL-08", "later_402", False),
        (["BILL-08.hold_*", "!BILL-08.hold_size"], "BILL-08", "hold_before_upstream", True),
        (["BILL-08.hold_*", "!BILL-08.hold_size"], "BILL-08", "hold_size", False),
        (["!BILL-08"], "BILL-01", "input", False),
        ([], "BILL-01", "input", False),
    ],
)
def test_patterns_include_and_exclude(patterns: list[str], requirement: str, clause: str, claimed: bool) -> None:
    assert matches(patterns, requirement, clause) is claimed
    assert Claims.parse(patterns).covers(requirement, clause) is claimed


def test_every_pattern_that_matches_nothing_is_told_with_near_names() -> None:
    with pytest.raises(ContractError) as caught:
        Claims.parse(["BILL-01", "GVO-*", "!AUTH-01.session_cooky", "AUTH-1"], "mine.toml")
    first, second, third = caught.value.problems
    assert first.startswith("mine.toml: 'GVO-*' matches no requirement or clause; near: GOV-")
    assert second.startswith("mine.toml: '!AUTH-01.session_cooky' matches no requirement or clause; near: AUTH-01.")
    assert "AUTH-01.session_cookie" in second
    assert "near: AUTH-" in third


def test_claims_list_the_claimed_clauses_in_the_catalogues_order() -> None:
    claims = Claims.parse(["AUTH-01", "!AUTH-01.session_cookie"])
    catalogue = load_requirements()
    assert claims.clauses_of(catalogue["AUTH-01"]) == ("bearer", "disagreeing", "empty_is_absent")
    assert claims.clauses_of(catalogue["AUTH-02"]) == ()


@pytest.mark.parametrize(
    "text", ['claims = "AUTH-01"', "claims = [1]", 'claim = ["AUTH-01"]', "claims = [", 'claims = ["AUTH-77"]']
)
def test_a_bad_claims_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.toml").write_text(text, "utf-8")
    with pytest.raises(ContractError, match=r"mine\.toml"):
        load_claims(tmp_path / "mine.toml")
    with pytest.raises(ContractError, match=r"other\.toml"):
        load_claims(tmp_path / "other.toml")


CLAIMED_WHOLLY = """AUTH-02 AUTH-03 ERR-01 ERR-02 ERR-04 ERR-05 HOST-01 CHAT-01 CHAT-02 CHAT-03 CHAT-04 CHAT-07 MSG-01
    MSG-02 MSG-04 MSG-05 MSG-06 MSG-07 MSG-08 RESP-01 RESP-02 RESP-03 RESP-04 MOD-02 FAIL-02 FAIL-04 FAIL-05 FAIL-06
    FAIL-07 FAIL-08 FAIL-09 BRK-01 BRK-02 BRK-03 BRK-04 GOV-01 GOV-02 GOV-03 GOV-04 GOV-05 GOV-06 GOV-07 GOV-08 GOV-09
    GOV-10 RATE-01 RATE-02 BILL-02 BILL-03 BILL-04 BILL-05 BILL-06 BILL-07 INS-01 INS-02 INS-03 INS-04 INS-06
    CLIENT-04"""
CLAIMED_BUT = {
    "AUTH-01": {"session_cookie"},
    "AUTH-05": {"auto_disabled"},
    "AUTH-06": {"not_in_usage_export"},
    "ERR-03": {"scope", "available_within_scope"},
    "ERR-06": {"scope_before_balance", "budget_before_admission"},
    "IMG-01": {"general"},
    "CHAT-06": {"gemini"},
    "MSG-03": {"gemini_neither"},
    "MOD-01": {"scope"},
    "FAIL-01": {"media_surfaces"},
    "FAIL-03": {"video_call_limit", "gpu_sync_limit"},
    "BILL-01": {"cached_inside_gemini"},
    "BILL-08": {"job_hold", "job_settled", "job_failure_refund", "job_once"},
    "BILL-09": {"general_images", "media"},
    "BILL-10": {"general_images"},
    "INS-05": {"asynchronous_job"},
    "INS-07": {"repeated_polls"},
}


def test_the_reference_claims_what_is_built_and_nothing_else() -> None:
    claims = reference_claims()
    for id_, requirement in load_requirements().items():
        claimed = set(claims.clauses_of(requirement))
        if id_ in CLAIMED_WHOLLY.split():
            assert claimed == set(requirement.clauses), id_
        elif id_ in CLAIMED_BUT:
            assert claimed, id_
            assert set(requirement.clauses) - claimed == CLAIMED_BUT[id_], id_
        else:
            assert not claimed, id_


def test_a_bad_catalogue_is_refused_with_every_problem() -> None:
    good = {
        "id": "X-01",
        "profile": "wire",
        "portable": True,
        "origin": "stated",
        "source": "",
        "text": "It holds.",
        "clauses": {"holds": "It holds."},
    }
    assert list(parse_requirements({"requirement": [good]}, "x.toml")) == ["X-01"]
    bad = [
        good | {"profile": "wires", "origin": 3, "portable": "yes"},
        {key: value for key, value in good.items() if key not in {"text", "clauses"}} | {"id": "X-02", "txet": ""},
        good | {"id": "X-03", "clauses": {}},
        good | {"id": "X-04", "clauses": {"Holds it": 3}},
    ]
    with pytest.raises(ContractError) as caught:
        parse_requirements({"requirement": bad}, "x.toml")
    told = [problem.removeprefix("x.toml: ").split(":")[0] for problem in caught.value.problems]
    assert told == [
        "X-01.origin",
        "X-01.portable",
        "X-01.profile",
        "X-01.origin",
        "X-02",
        "X-02",
        "X-02",
        "X-03.clauses",
        "X-04.clauses.Holds it",
        "X-04.clauses.Holds it",
    ]
    with pytest.raises(ContractError, match="stands twice"):
        parse_requirements({"requirement": [good, good]}, "x.toml")
    with pytest.raises(ContractError, match="no \\[\\[requirement\\]\\]"):
        parse_requirements({}, "x.toml")


def test_the_data_files_are_in_the_package_and_plain_toml() -> None:
    for file in DATA.rglob("*.toml"):
        assert tomllib.loads(file.read_text("utf-8")), file
