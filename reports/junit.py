"""The record as JUnit XML, for CI systems: one case per scenario, seed and checker; it renders and judges nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from xml.etree import ElementTree as ET

from reports.reached import never_reached
from reports.record import Check, Record
from reports.text import clipped, line, plural

_SHOWN = 5
"""Pieces of evidence that one case tells in full."""


def junit(record: Record) -> str:
    """Return ``junit.xml``: a suite per scenario and seed, and one for promises that no check could settle.

    A broken promise is a failure, an inconclusive one an error of type ``inconclusive``, what could not run an error
    of type ``harness`` or ``target``, an unsupported check is skipped.
    """
    root = ET.Element("testsuites", name=f"harness {record.run.get('target', '')}".strip())
    many_seeds = len({scenario["seed"] for scenario in record.scenarios}) > 1
    checks = iter(record.checks)
    for scenario in record.scenarios:
        suite = ET.SubElement(root, "testsuite", name=_suite_name(scenario))
        for _ in scenario["checks"]:
            _case(suite, next(checks), scenario, many_seeds=many_seeds)
        _own_case(suite, scenario, record, many_seeds=many_seeds)
        _memory_cases(suite, scenario)
        _tally(suite, float(scenario.get("cpu_s") or 0))
    _coverage(root, record)
    _tally(root, sum(float(suite.get("time", "0")) for suite in root))
    ET.indent(root)
    return f"<?xml version='1.0' encoding='utf-8'?>\n{ET.tostring(root, encoding='unicode')}\n"


def _suite_name(scenario: Mapping[str, Any]) -> str:
    return line(f"{scenario['scenario']} seed {scenario['seed']}")


def _name(name: str, seed: int, *, many_seeds: bool) -> str:
    """Return a case's name: the same from run to run, told apart by the seed only where there are several."""
    return line(f"{name}[seed={seed}]" if many_seeds else name)


def _case(suite: ET.Element, check: Check, scenario: Mapping[str, Any], *, many_seeds: bool) -> None:
    case = ET.SubElement(
        suite,
        "testcase",
        classname=line(check.scenario),
        name=_name(check.checker, check.seed, many_seeds=many_seeds),
        time="0",
    )
    _properties(case, requirement=check.requirement, seed=str(check.seed), promise=check.promise)
    if check.outcome == "fail":
        broken = [name for name, clause in check.clauses.items() if clause.get("outcome") == "fail"]
        message = f"{check.requirement} {', '.join(broken)}: {plural(check.failed, 'case')} of {check.cases:,} broken"
        ET.SubElement(case, "failure", type=check.requirement, message=line(message)).text = _told(check, "fail")
    elif check.outcome == "inconclusive":
        why = "; ".join(map(str, scenario.get("doubts") or ())) or "could not be told"
        error = ET.SubElement(case, "error", type="inconclusive", message=line(f"{check.requirement}: {why}", 500))
        error.text = _told(check, "inconclusive")
    elif check.outcome == "unsupported":
        ET.SubElement(case, "skipped", message=line(f"{check.requirement}: not claimed by the target"))


def _told(check: Check, outcome: str) -> str:
    """Return the evidence of ``outcome`` as text: expected, actual, and the command that shows it again."""
    lines = [f"promise   {line(check.promise, 500)}"]
    pieces = list(check.because(outcome))
    for piece in pieces[:_SHOWN]:
        where = f"call {piece['call']}" if piece["call"] else "run"
        attempts = f", attempts {', '.join(piece['attempts'][:4])}" if piece.get("attempts") else ""
        lines += [
            f"clause    {line(piece['clause'])}, {line(where + attempts, 400)}",
            f"expected  {clipped(piece['expected'])}",
            f"actual    {clipped(piece['actual'])}",
        ]
    if len(pieces) > _SHOWN:
        lines.append(f"({len(pieces) - _SHOWN} more)")
    return "\n".join([*lines, f"replay    {line(check.replay, 1000)}"])


def _own_case(suite: ET.Element, scenario: Mapping[str, Any], record: Record, *, many_seeds: bool) -> None:
    """Add a case for the scenario itself, where what became of it shows in no check of it."""
    error = scenario.get("error")
    if not error and scenario["checks"]:
        return
    name = _name("scenario", scenario["seed"], many_seeds=many_seeds)
    case = ET.SubElement(suite, "testcase", classname=line(scenario["scenario"]), name=name, time="0")
    _properties(case, seed=str(scenario["seed"]), promise=str(scenario.get("promise", "")))
    why = line("; ".join(map(str, scenario.get("doubts") or ())), 500)
    if error:
        found = ET.SubElement(case, "error", type=line(error.get("kind", "harness")), message=line(error["message"]))
        crashed = (f"checker {c['checker']} crashed:\n{c['traceback']}" for c in scenario.get("errors") or ())
        told = [str(error.get("cause") or ""), str(error.get("help") or ""), *crashed]
        found.text = clipped("\n".join([*filter(None, told), f"replay    {scenario.get('replay', '')}"]))
    elif scenario["outcome"] == "unsupported":
        ET.SubElement(case, "skipped", message=why or "unsupported")
    else:
        ET.SubElement(case, "error", type="inconclusive", message=why or "nothing was judged")


def _memory_cases(suite: ET.Element, scenario: Mapping[str, Any]) -> None:
    """Add a case for each process whose memory a load is judged by."""
    for one in scenario.get("memory", ()):
        if not one["promised"] or one["outcome"] == "unsupported":
            continue
        name = line(f"memory of the {one['process']}")
        case = ET.SubElement(suite, "testcase", classname=line(scenario["scenario"]), name=name, time="0")
        if one["outcome"] == "fail":
            ET.SubElement(case, "failure", type="memory", message=line(one["why"], 500))
        elif one["outcome"] == "inconclusive":
            ET.SubElement(case, "error", type="inconclusive", message=line(one["why"], 500))


def _coverage(root: ET.Element, record: Record) -> None:
    """Add what stays inconclusive although no check says so: promises that nothing judged, branches never reached."""
    gaps, unreached = list(_gaps(record)), list(never_reached(record))
    if not gaps and not unreached:
        return
    suite = ET.SubElement(root, "testsuite", name="coverage")
    for identifier, clauses in gaps:
        case = ET.SubElement(suite, "testcase", classname="coverage", name=line(identifier), time="0")
        _properties(case, requirement=identifier)
        message = "; ".join(f"{name}: {clause.get('why', 'could not be told')}" for name, clause in clauses.items())
        ET.SubElement(case, "error", type="inconclusive", message=line(message, 1000))
    for name, why in unreached:
        case = ET.SubElement(suite, "testcase", classname="branches", name=line(name), time="0")
        ET.SubElement(case, "error", type="inconclusive", message=line(why, 1000))
    _tally(suite, 0.0)


def _gaps(record: Record) -> Iterator[tuple[str, Mapping[str, Mapping[str, Any]]]]:
    for identifier, entry in record.requirements.items():
        unjudged = {
            name: clause
            for name, clause in entry["clauses"].items()
            if clause.get("outcome") == "inconclusive" and not clause.get("scenarios")
        }
        if unjudged:
            yield identifier, unjudged


def _properties(case: ET.Element, **values: str) -> None:
    properties = ET.SubElement(case, "properties")
    for name, value in values.items():
        ET.SubElement(properties, "property", name=name, value=line(value, 500))


def _tally(element: ET.Element, seconds: float) -> None:
    element.set("tests", str(len(list(element.iter("testcase")))))
    element.set("failures", str(len(list(element.iter("failure")))))
    element.set("errors", str(len(list(element.iter("error")))))
    element.set("skipped", str(len(list(element.iter("skipped")))))
    element.set("time", f"{seconds:.4f}")
