"""A real run of a gateway that rounds down, judged and rendered: the report shows the lie, call by call."""

from __future__ import annotations

from pathlib import Path

import orjson

from harness.cli.suite import SUITE, load, make_target, target_spec
from harness.contract import load_requirements
from harness.runner import Job, build_verdict, run_job
from reports import render_all
from tests.reports.parsed import parse


def test_a_run_with_a_lying_gateway_shows_the_lie(tmp_path: Path) -> None:
    load()
    spec = target_spec("reference", (), "", "")
    names = ("billing.cost_is_rounded_up_once", "insurance.at_the_threshold", "failover.server_errors")
    found = [run_job(Job(n, 0, "sim", spec, mutant="rounds_down", folder=str(tmp_path)), SUITE) for n in names]
    run = {"target": "reference", "mode": "sim", "seeds": [0, 0], "mutant": "rounds_down"}
    claims = make_target(spec).claims
    verdict = build_verdict(run, found, load_requirements(), claims, expected=frozenset())
    (tmp_path / "verdict.json").write_bytes(orjson.dumps(verdict))
    render_all(tmp_path)
    page = parse((tmp_path / "report.html").read_text("utf-8"))
    card = page.one("article", id="BILL-01-rounded_up_once-charge_matches_usage")
    assert "harness run billing.cost_is_rounded_up_once --mode sim --seed 0 --mutant rounds_down" in card.text
    for name in ("faults", "latency", "charged", "insurance"):
        assert page.one("figure", id=f"fig-{name}").one("svg")
    assert "ringed" in page.one("figure", id="fig-charged").text
    secrets = [word for word in page.text.split() if word.startswith("ck_")]
    assert not secrets
