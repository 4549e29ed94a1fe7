"""Run folders written by hand: small histories that show every figure, and records with every outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from harness.contract import contract_to_json, load_contract, load_requirements
from harness.history import (
    AttemptSpan,
    CallOutcome,
    CallSpan,
    FaultSpan,
    LedgerEntry,
    PlannedCall,
    Reading,
    Recorder,
    UsageRow,
)
from harness.runner import build_verdict

CONTRACT = load_contract(overlays=[{"text.concurrency": 3, "text.requests": 12}])
CLAIMS = ("BILL-*", "INS-*", "GOV-0*", "!GOV-06", "BRK-*", "FAIL-*", "!BILL-08")
MONEY, STORM = "money.slow_and_wrong", "storm.everything_at_once"
THRESHOLD_MS = CONTRACT.insurance.threshold_ms


class Writer:
    """Writes one scenario's history, call by call; right unless told otherwise."""

    def __init__(self, scenario: str, seed: int = 0, *, mode: str = "sim", injections: Sequence[Any] = ()) -> None:
        self.scenario, self.seed, self.mode = scenario, seed, mode
        self.injections = list(injections)
        self.planned: list[PlannedCall] = []
        self.recorder = Recorder()
        self.entry = 1
        self.balance = 1_000_000
        opening = LedgerEntry(1, "", "a", "opening", self.balance, 0, self.balance, (), (), 0)
        self.recorder.span("ledger", 0, asdict(opening))

    def call(
        self,
        call: str,
        *,
        at_ms: float,
        ms: float = 100,
        surface: str = "chat",
        model: str = "gpt-5-5",
        stream: bool = False,
        outcome: CallOutcome = "ok",
        status: int = 200,
        circuit: str = "closed",
        charged: int = 12,
        told: int | None = None,
        failed: Sequence[str] = (),
        fault: str = "respond",
        text: str = "hello",
        insured: str = "not_triggered",
        tag: str = "",
        tier: str = "managed",
    ) -> None:
        """Record a call that tries ``failed`` upstreams in vain and is then answered by the next, if it is ok."""
        sent, end = round(at_ms * 1e3), round((at_ms + ms) * 1e3)
        detail: dict[str, Any] = {"tag": tag} if tag else {}
        detail |= {"tier": tier} if tier != "managed" else {}
        path = "/v1/managed/chat/completions" if tier == "managed" else "/v1/chat/completions"
        self.planned.append(PlannedCall(call, "a", "a-key", surface, model, stream, sent, "", path, detail))
        usage = {"prompt_tokens": 1_000, "completion_tokens": 50, "total_tokens": 1_050}
        upstreams = [*failed, *(["primary", "second", "third"][len(failed) :][:1] if outcome == "ok" else [])]
        since, step = sent + 100, (end - sent - 300) // max(1, len(upstreams))
        for number, upstream in enumerate(upstreams, 1):
            broke = number <= len(failed)
            self._attempt(call, upstream, number, since, since + step - 50, broke, fault, surface, model, usage, text)
            since += step
        ok = outcome == "ok"
        headers = {"content-type": "application/json", "x-request-id": f"req_{call}"}
        if tier == "managed" and status != 429:
            headers |= {"x-hypereal-managed-circuit": circuit, "x-hypereal-managed-model-rpm-remaining": "7"}
        claims: dict[str, Any] = {}
        if ok:
            before = self._post(call, charged, end)
            claims["billing"] = {
                "credits_charged": charged if told is None else told,
                "balance_before": before,
                "balance_after": self.balance,
            }
            paid = -(-charged // 4) if insured == "paid" else 0
            claims["insurance"] = {"status": insured, "latency_ms": int(ms), "credits_compensated": paid}
            if paid:
                self._entry(call, "payout", paid, end)
            row = UsageRow(
                call,
                f"req_{call}",
                "a",
                "a-key",
                path,
                model,
                status,
                "ok",
                charged,
                paid,
                insured,
                int(ms),
                {},
                (),
                end,
            )
            self.recorder.span("usage", end, asdict(row))
        reading = Reading(
            text if ok else "",
            usage=usage if ok else None,
            terminal=ok,
            finish="stop" if ok else None,
            error_type=None if ok else "api_error",
            error_message=None if ok else "every provider failed",
        )
        span = CallSpan(
            call, "a", "a-key", surface, model, stream, sent, end - 50, end - 50, end, outcome, status,
            headers, reading, (end - 50, end), (), claims, "", "", 100, "",
        )  # fmt: skip
        self.recorder.span("call", end, asdict(span))

    def _attempt(
        self, call: str, upstream: str, number: int, start: int, end: int, broke: bool, fault: str, surface: str,
        model: str, usage: Mapping[str, Any], text: str,
    ) -> None:  # fmt: skip
        identity = f"{upstream}:{call}:{number}"
        reading = Reading() if broke else Reading(text, usage=usage, terminal=True, finish="stop")
        span = AttemptSpan(
            identity, call, number, upstream, "openai", surface, f"{model}:us-east", False, start, start + 10,
            start + 10, end, end, "fault" if broke else "served", fault if broke else "", None, 503 if broke else 200,
            500, 1, reading, "c0ffee", {}, "", "",
        )  # fmt: skip
        self.recorder.span("attempt", end, asdict(span))
        if broke:
            struck = FaultSpan("i1", fault, upstream, identity, call, start)
            self.recorder.span("fault", start, asdict(struck))

    def _post(self, call: str, credits: int, at: int) -> int:
        before = self.balance
        self._entry(call, "post", -credits, at)
        return before

    def _entry(self, call: str, kind: str, credits: int, at: int) -> None:
        self.entry += 1
        self.balance += credits
        entry = LedgerEntry(self.entry, call, "a", kind, credits, 0, self.balance, (), (), at)
        self.recorder.span("ledger", at, asdict(entry))

    def body(self, content: bytes) -> str:
        return self.recorder.body(content)

    def write(self, folder: Path, contract: Any = None) -> None:
        """Write the history into ``folder``."""
        self.recorder.note("lateness", 1, max_us=1_200, calls=len(self.planned))
        plan = {
            "schema": "harness.history/1",
            "seed": self.seed,
            "mode": self.mode,
            "scenario": self.scenario,
            "target": "reference",
            "mutant": "",
            "epoch_s": 0,
            "contract": contract_to_json(CONTRACT) if contract is None else contract,
            "overlay": {},
            "claims": list(CLAIMS),
            "accounts": [],
            "upstreams": [{"name": role, "role": role} for role in ("primary", "second", "third")],
            "calls": [asdict(call) for call in self.planned],
            "injections": self.injections,
            "skew_us": 0,
            "taps": ["books", "journal"],
            "options": {},
        }
        self.recorder.plan(plan)
        self.recorder.write(folder)
        self.recorder.close()


def write_money(folder: Path, *, seed: int = 0, mode: str = "sim") -> None:
    """Write a history about money and insurance: call c4 was charged a credit too little and its text was swapped."""
    writer = Writer(MONEY, seed, mode=mode)
    for n, past_ms in enumerate((-60_000, -1, 0, 1, 25_000)):
        for stream in (False, True):
            writer.call(
                f"c{2 * n + stream}",
                at_ms=40 * n + 20 * stream,
                ms=THRESHOLD_MS + past_ms,
                stream=stream,
                surface=("chat", "responses")[stream],
                insured="paid" if past_ms > 0 else "not_triggered",
                charged=11 if n == 2 and not stream else 12,
                told=12,
            )
    writer.call("r1", at_ms=400_000, tag="recovery")
    writer.write(folder)


def write_storm(folder: Path, *, seed: int = 0) -> None:
    """Write a history of faults, circuit states, calls in flight and refusals."""
    injection = {
        "id": "i1",
        "role": "primary",
        "fault": {"name": "respond", "params": {"status": 503}},
        "stop_ms": 9_000,
    }
    writer = Writer(STORM, seed, injections=[injection])
    for n in range(30):
        at_ms = 400.0 * n
        if n < 8:
            writer.call(f"s{n}", at_ms=at_ms, ms=900, failed=("primary",))
        elif n < 16:
            writer.call(f"s{n}", at_ms=at_ms, ms=900, circuit="open", surface="responses", stream=n % 2 == 0)
        elif n < 20:
            writer.call(f"s{n}", at_ms=at_ms, ms=5, outcome="refused", status=429)
        elif n == 20:
            writer.call(
                f"s{n}", at_ms=at_ms, ms=2_000, outcome="error", status=502, failed=("primary", "second", "third")
            )
        else:
            writer.call(f"s{n}", at_ms=at_ms, ms=300, circuit="half_open" if n < 23 else "closed", tier="managed")
    writer.write(folder)


def check(
    requirement: str,
    checker: str,
    clauses: Mapping[str, tuple[int, int, int]],
    evidence: Sequence[Mapping[str, Any]] = (),
    outcome: str = "",
) -> dict[str, Any]:
    """Return a check's record; ``clauses`` are (passed, failed, inconclusive) by name."""
    judged = {}
    for name, (passed, failed, inconclusive) in clauses.items():
        told = outcome or ("fail" if failed else "pass" if passed else "inconclusive")
        judged[name] = {"outcome": told, "passed": passed, "failed": failed, "inconclusive": inconclusive}
    order = ("fail", "inconclusive", "pass", "unsupported")
    return {
        "checker": checker,
        "requirement": requirement,
        "promise": f"{checker.replace('_', ' ').capitalize()}.",
        "can_judge": list(clauses),
        "outcome": next(o for o in order if any(clause["outcome"] == o for clause in judged.values())),
        "clauses": judged,
        "evidence": [dict(piece) for piece in evidence],
    }


def piece(clause: str, expected: str, actual: str, call: str = "", **more: Any) -> dict[str, Any]:
    """Return a piece of evidence that something broke."""
    return {
        "clause": clause,
        "outcome": "fail",
        "expected": expected,
        "actual": actual,
        "call": call,
        "attempts": [],
        "at_us": None,
        **more,
    }


def scenario(name: str, checks: Sequence[Mapping[str, Any]] = (), seed: int = 0, **more: Any) -> dict[str, Any]:
    """Return a scenario's record; its outcome is the worst of its checks'."""
    order = ("fail", "inconclusive", "pass", "unsupported")
    outcomes = [one["outcome"] for one in checks]
    return {
        "scenario": name,
        "seed": seed,
        "part": "core",
        "promise": f"{name} keeps its promise.",
        "outcome": next((o for o in order if o in outcomes), "unsupported"),
        "doubts": [],
        "errors": [],
        "error": None,
        "checks": list(checks),
        "calls": 10,
        "attempts": 12,
        "faults_planned": 1,
        "faults_fired": 1,
        "virtual_s": 12.5,
        "cpu_s": 0.25,
        "digest": "0" * 64,
        "folder": f"{name}-{seed}",
        "could_judge": [],
        **more,
    }


def records() -> list[dict[str, Any]]:
    """Return scenarios' records with every outcome: two recorded, one doubted, one unsupported, one crashed."""
    wrong = piece("output", "12 credits (11.2 for 1,050 tokens)", "11 credits", "c4", attempts=["primary:c4:1"])
    doubt = piece("closes", "closed after 3 successes", "no success seen", "s21", outcome="inconclusive")
    money = [
        check("BILL-01", "charge_matches_usage", {"input": (10, 0, 0), "output": (9, 1, 0)}, [wrong]),
        check("BILL-03", "answers_tell_the_charge", {"chat": (9, 1, 0)}, [piece("chat", "told 11", "told 12", "c4")]),
        check("INS-03", "slow_is_paid", {"over_threshold_pays": (4, 0, 0), "at_threshold_does_not": (2, 0, 0)}),
        check("BILL-08", "calls_hold_their_estimate", {"hold_size": (3, 0, 0)}, outcome="unsupported"),
    ]
    crowd = piece("cap", "3 in flight", "4", at_us=2_000_000)
    storm = [
        check("GOV-02", "slots_are_bounded", {"cap": (1, 1, 0)}, [crowd]),
        check("GOV-04", "windows_are_bounded", {"next_refused": (4, 0, 0), "nth_admitted": (1, 0, 0)}),
        check("BRK-02", "circuits_open", {"opens_at_threshold": (2, 0, 0), "closes": (0, 0, 1)}, [doubt]),
        check("FAIL-01", "attempts_follow_the_chain", {"chat": (8, 0, 0)}),
    ]
    return [
        scenario(MONEY, money),
        scenario(STORM, storm),
        scenario(
            "doubted.fault_never_fired",
            [check("FAIL-02", "retries_are_bounded", {"one_retry": (0, 0, 2)})],
            doubts=["planned fault i1 (respond at second) never fired"],
        ),
        scenario("remote.cannot_crash", doubts=["this mode cannot crash the store"]),
        scenario(
            "broken.harness",
            outcome="error",
            error={"kind": "harness", "message": "KeyError: 'x'", "cause": "Traceback:\n  line 1", "help": ""},
        ),
    ]


def verdict_of(
    scenarios: Sequence[Mapping[str, Any]], *, whole: Sequence[str] = ("BRK-01", "CACHE-01"), **run: Any
) -> dict[str, Any]:
    """Return the record that the runner makes of ``scenarios``; ``whole`` are requirements that it expects covered."""
    asked = {
        "target": "reference", "mode": "sim", "seeds": [0, 0], "mutant": "", "overlay": "", "selection": [],
        "requirements": list(whole) or ["none"],  # a part of everything: no branch need be reached
        "seconds": 3.2,
        **run,
    }  # fmt: skip
    return build_verdict(
        asked,
        scenarios,
        load_requirements(),
        CLAIMS,
        expected=frozenset(whole),
        assumed={"BILL-01": ["prices of the general models"]},
    )


def write_verdict(folder: Path, verdict: Mapping[str, Any]) -> Path:
    """Write ``verdict`` and a ``run.json`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "verdict.json").write_bytes(orjson.dumps(verdict))
    environment = {
        "schema": "harness.run/1",
        "argv": ["harness", "run", "--mode", "sim"],
        "written": "2026-01-02T03:04:05+00:00",
        "python": "3.11",
        "versions": {"llm-gateway-harness": "0.1.0"},
    }
    (folder / "run.json").write_bytes(orjson.dumps(environment))
    return folder


def write_run(folder: Path) -> Path:
    """Write a whole run folder: every outcome, two recorded histories."""
    write_money(folder / f"{MONEY}-0")
    write_storm(folder / f"{STORM}-0")
    return write_verdict(folder, verdict_of(records()))


def many(checks: int, *, failing: int = 0) -> list[dict[str, Any]]:
    """Return scenarios' records with so many checks, the first ``failing`` of them broken, four to a scenario."""
    names = [
        ("BILL-01", "charge_matches_usage", "input"),
        ("INS-03", "slow_successes_are_paid", "over_threshold_pays"),
        ("GOV-04", "windows_are_bounded", "nth_admitted"),
        ("FAIL-01", "attempts_follow_the_chain", "chat"),
    ]  # fmt: skip
    made = []
    for number in range(0, checks, len(names)):
        own = []
        for offset, (requirement, checker, clause) in enumerate(names[: checks - number]):
            broken = number + offset < failing
            evidence = [piece(clause, f"{n} credits " * 20, f"{n + 1} credits " * 20, f"c{n}") for n in range(25)]
            own.append(check(requirement, checker, {clause: (50, 25 * broken, 0)}, evidence if broken else ()))
        made.append(scenario(f"billing.scenario_number_{number // 40}", own, seed=number // len(names) % 10))
    return made
