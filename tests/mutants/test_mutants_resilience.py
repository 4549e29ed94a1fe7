"""The mutants of failover, breaker and insurance: enough for each requirement, each with its lie, none that crashes."""

from __future__ import annotations

import pytest

from harness.cli.suite import SUITE, load, target_spec
from harness.contract import load_contract, load_requirements
from harness.contract.requirements import reference_claims
from harness.mutants import MUTANTS, Mutant
from harness.runner import Job, run_job
from harness.scenario import SCENARIOS

PREFIXES = ("FAIL-", "BRK-", "INS-")
OURS = [made for made in MUTANTS.values() if made.breaks.startswith(PREFIXES) and not made.under]
ONE_PER_REQUIREMENT = list({made.breaks: made for made in OURS}.values())
"""The last of each: the subtler ones come last."""


@pytest.mark.parametrize("requirement", [id_ for id_ in load_requirements() if id_.startswith(PREFIXES)])
def test_each_claimed_requirement_has_two_mutants_at_least(requirement: str) -> None:
    assert reference_claims().clauses_of(load_requirements()[requirement])
    assert sum(made.breaks == requirement for made in OURS) >= 2


@pytest.mark.parametrize("made", OURS, ids=lambda made: made.name)
def test_a_mutant_names_its_lie_in_a_sentence(made: Mutant) -> None:
    assert made.lie.endswith(".")
    assert made.lie[0].isupper()
    assert len(made.name) < 60


@pytest.mark.parametrize("made", ONE_PER_REQUIREMENT, ids=lambda made: f"{made.breaks}-{made.name}")
def test_a_mutant_is_caught_by_a_checker_of_its_requirement(made: Mutant) -> None:
    load()
    contract, target = load_contract(), target_spec("reference", (), "", "")
    wanted = frozenset({made.breaks})
    for name, scenario in SCENARIOS.items():
        if scenario.part != "core" or not any(c.requirement == made.breaks for c in scenario(contract).checks):
            continue
        record = run_job(Job(name, 0, "sim", target, mutant=made.name, requirements=wanted), SUITE)
        assert record["error"] is None, record["error"]
        if record["outcome"] == "fail":
            assert {check["requirement"] for check in record["checks"]} == wanted
            return
    pytest.fail(f"{made.name} survived: {made.lie}")
