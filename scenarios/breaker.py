"""Circuit breakers: opening at the threshold and not before, probes, closing, opening again for longer, what counts."""

from __future__ import annotations

import random
from dataclasses import replace

from harness.checkers.breaker import (
    all_circuits_open_is_told_at_once,
    circuit_header_is_true,
    open_circuits_get_no_calls,
    outcomes_count_as_they_should,
)
from harness.checkers.breaker_states import circuits_follow_their_rules
from harness.checkers.exhausted import exhausted_calls_get_one_error
from harness.checkers.failover import server_errors_move_on
from harness.checkers.moves import targets_are_tried_in_order
from harness.checkers.remaining import admitted_answers_tell_the_limits
from harness.contract import Contract
from harness.scenario import Call, Injection, Reply, Scenario, Workload, World, chat, messages, responses, scenario
from mock_upstreams.faults import (
    cut_after,
    empty_200,
    error_in_200,
    hang_before_headers,
    html_200,
    reset_before_headers,
    respond,
    slow_drip,
    truncate,
    wrong_content_type,
)
from scenarios.paths import Path

LAST = 1_000
"""More chunks than any reply here has: a fault after so many strikes just before the last, the terminal event."""
ONE_TRY = {"failover.retries_per_target": 0}
"""Each call asks a target once, so that a call is an outcome."""
CHECKS = (open_circuits_get_no_calls, circuits_follow_their_rules, circuit_header_is_true)


def _scenario(*paths: Path, checks: tuple[object, ...] = (), overlay: dict[str, object] | None = None) -> Scenario:
    return Scenario(
        world=World(overlay={**ONE_TRY, **(overlay or {})}),
        workload=Workload(tuple(call for path in paths for call in path.calls)),
        injections=tuple(injection for path in paths for injection in path.injections),
        checks=(*CHECKS, *checks),  # type: ignore[arg-type]  # checkers all of them
        exact=True,
        recovers=False,
    )


def _just_below(contract: Contract) -> tuple[str, str]:
    """Return outcomes that leave a circuit just below its threshold, and those after them that open it."""
    rules = contract.breaker
    failed = -(-rules.failure_percent * rules.min_calls // 100) - 1
    below = "S" * (rules.min_calls - failed) + "F" * failed
    opening = ""
    while below.count("F") + len(opening) < rules.failure_percent * len(below + opening) / 100:
        opening += "F"
    return below, opening


@scenario(reaches=("circuit_opened", "failover_taken"))
def opening(contract: Contract, rng: random.Random) -> Scenario:
    """A call short of the minimum, a failure short of the threshold, and older than the window: closed; else open."""
    rules = contract.breaker
    few = Path("gpt-5-5", rng)
    few.sequence("F" * (rules.min_calls - 1))
    few.sequence("S")
    few.sequence("SSS", gap_ms=rules.cooldown_ms * 0.3)
    share = Path("deepseek-v4-pro", rng)
    below, opens = _just_below(contract)
    share.sequence(below)
    share.sequence(opens)
    share.sequence("SSS", gap_ms=rules.cooldown_ms * 0.3)
    old = Path("qwen3-7-plus", rng)
    end_ms = old.sequence("F" * (rules.min_calls - 1))
    old.wait_until(end_ms + rules.window_ms)
    old.sequence("F" * (rules.min_calls - 1) + "SS")
    # The failures of almost a whole window open it, wherever fixed windows might begin: at the run's, or the path's.
    spread = Path("kimi-latest", rng)
    spread.sequence("S", gap_ms=rules.window_ms * 0.6)
    spread.sequence("F" * rules.min_calls, gap_ms=rules.window_ms / (rules.min_calls - 0.5))
    spread.sequence("SS", gap_ms=rules.cooldown_ms * 0.2)
    return _scenario(few, share, old, spread)


@scenario(reaches=("circuit_opened", "failover_taken"))
def whatever_failed(contract: Contract, rng: random.Random) -> Scenario:
    """Statuses, timeouts, broken connections and answers that are none: each counts, or the circuit would not open."""
    faults = (
        respond(status=429),
        respond(status=500),
        respond(status=529),
        reset_before_headers(),
        cut_after(),
        empty_200(),
        html_200(),
        error_in_200(),
        wrong_content_type(),
    )
    path = Path("gpt-5-5", rng)
    hung_ms = path.ask(hang_before_headers(), took_ms=contract.timeouts.silence_ms)
    path.wait_until(hung_ms - contract.breaker.window_ms / 3)
    for number, fault in enumerate(faults):
        path.ask(fault, stream=number % 2 == 1)
        path.now_ms += 60
    path.wait_until(hung_ms)
    path.sequence("SS")
    return _scenario(path, overlay={"breaker.min_calls": 1 + len(faults), "breaker.failure_percent": 100})


@scenario(reaches=("circuit_opened", "stream_broken_after_content"))
def streams_count_at_their_end(contract: Contract, rng: random.Random) -> Scenario:
    """Streams that break at their very end count then and not before, on every surface."""
    rules = contract.breaker
    paths = []
    breaks = (cut_after(chunks=LAST), truncate(chunks=LAST))
    for make, model in ((chat, "gpt-5-5"), (messages, "claude-sonnet-4-7"), (responses, "qwen3-7-plus")):
        path = Path(model, rng, make=make)
        ends = []
        for fault in (breaks * rules.min_calls)[: rules.min_calls]:
            gap_ms = rng.randrange(180_000, 220_000) / 1e3
            path.ask(fault, stream=True, reply=Reply(chunks=6, ttft_ms=30, gap_ms=gap_ms))
            ends.append(path.now_ms + 30 + 6 * gap_ms)
            path.now_ms += 20.007
        for share in (0.2, 0.7):
            path.wait_until(max(ends) + rules.cooldown_ms * share)
            path.ask(stream=True)
        paths.append(path)
    return _scenario(*paths)


@scenario(reaches=("circuit_opened",))
def slow_calls_open_it(contract: Contract, rng: random.Random) -> Scenario:
    """Where a slow limit is set, slow answers open the circuit as failures do, and fast ones do not."""
    rules = contract.breaker
    slow_ms = contract.timeouts.silence_ms // 60
    path = Path("gpt-5-5", rng)
    for number in range(rules.min_calls + 1):
        path.ask(took_ms=slow_ms * (1.2 if number % 2 == 0 else 0.8) + number * 1.013)
        path.now_ms += 30.011
    path.wait_until(path.now_ms + slow_ms * 1.2)
    path.sequence("SSS", gap_ms=rules.cooldown_ms * 0.2)
    quick = Path("deepseek-v4-pro", rng)
    for number in range(rules.min_calls + 1):
        quick.ask(took_ms=slow_ms * (1.2 if number % 5 == 0 else 0.9) + number * 1.013)
        quick.now_ms += 30.011
    quick.wait_until(quick.now_ms + slow_ms * 1.2)
    quick.sequence("SS")
    return _scenario(path, quick, overlay={"breaker.slow_ms": slow_ms, "breaker.slow_percent": 50})


def _opened(path: Path, contract: Contract) -> float:
    """Let failures open the circuit; return when it opened."""
    return path.sequence("F" * contract.breaker.min_calls, gap_ms=60)


@scenario(reaches=("circuit_opened", "half_open_probed", "circuit_closed"))
def probing_and_closing(contract: Contract, rng: random.Random) -> Scenario:
    """After the cool-down only the permitted probes pass at once; their successes close it, all before forgotten."""
    rules = contract.breaker
    path = Path("gpt-5-5", rng)
    opened_ms = _opened(path, contract)
    for share in (0.3, 0.95):
        path.wait_until(opened_ms + rules.cooldown_ms * share)
        path.ask()
    path.wait_until(opened_ms + rules.cooldown_ms)
    ends = []
    for number in range(rules.probes + 2):
        ends.append(path.ask(took_ms=400 + number * 3.017))
        path.now_ms += 5.003
    for _ in range(max(0, rules.successes_to_close - rules.probes)):
        path.wait_until(max(ends) + 10)
        ends.append(path.ask())
    path.wait_until(max(ends) + 10)
    for _ in range(rules.probes + 2):
        path.ask(took_ms=300)
        path.now_ms += 3.001
    path.now_ms += 400
    path.sequence("FSS")
    return _scenario(path, checks=(admitted_answers_tell_the_limits,))


@scenario(reaches=("circuit_reopened", "circuit_closed"))
def opening_again_for_longer(contract: Contract, rng: random.Random) -> Scenario:
    """Each failed probe opens the circuit for longer than before, until the cap; a success in time ends that."""
    rules = contract.breaker
    path = Path("gpt-5-5", rng)
    opened_ms = _opened(path, contract)
    cooldown_ms, before_ms, at_cap = rules.cooldown_ms, 0, 0
    while at_cap < 2:
        path.wait_until(opened_ms + (before_ms + cooldown_ms) / 2)
        path.ask()
        path.wait_until(opened_ms + cooldown_ms)
        opened_ms = path.ask(respond(status=503, after_s=0.02), took_ms=20)
        before_ms, cooldown_ms = cooldown_ms, min(cooldown_ms * rules.cooldown_factor, rules.cooldown_cap_ms)
        at_cap += before_ms == rules.cooldown_cap_ms
    path.wait_until(opened_ms + cooldown_ms)
    path.sequence("S" * (rules.successes_to_close + 1))
    # Closed, it has forgotten how often it had opened.
    opened_ms = path.sequence("F" * (rules.min_calls - 1), gap_ms=60)
    for share in (0.9, 1):
        path.wait_until(opened_ms + rules.cooldown_ms * share)
        path.ask()
    return _scenario(path)


@scenario(reaches=("circuit_opened", "half_open_probed", "client_fault_returned", "client_left"))
def probes_that_prove_nothing(contract: Contract, rng: random.Random) -> Scenario:
    """Client faults, departures and calls from before it opened neither close a circuit, nor open it, nor fill it."""
    rules = contract.breaker
    path = Path("gpt-5-5", rng)
    own_fault = respond(status=contract.failover.client_fault_statuses[0], after_s=0.02)
    late_ms = [path.now_ms + rules.cooldown_ms + 2_000 + 100 * number for number in range(2)]
    for end_ms, fault in zip(late_ms, (None, cut_after(chunks=LAST)), strict=True):
        reply = Reply(chunks=1, ttft_ms=end_ms - path.now_ms, gap_ms=0)
        path.ask(fault, stream=True, reply=reply)
        path.now_ms += 1.003
    opened_ms = _opened(path, contract)
    path.wait_until(opened_ms + rules.cooldown_ms / 2)
    path.ask()
    path.wait_until(opened_ms + rules.cooldown_ms)
    for number in range(rules.probes):
        path.ask(own_fault, took_ms=20)
        path.now_ms += 40 + number
        path.ask(reply=Reply(ttft_ms=contract.timeouts.drain_ms * 4), abort_ms=10)
        path.now_ms += contract.timeouts.drain_ms / rules.probes
    path.wait_until(max(*late_ms, path.now_ms) + contract.timeouts.drain_ms)
    ends = [path.ask()]
    path.wait_until(ends[0])
    for number in range(rules.probes + 1):
        ends.append(path.ask(took_ms=400 + number * 3.017))
        path.now_ms += 5.003
    path.wait_until(max(ends))
    path.sequence("SS")
    return _scenario(path)


@scenario(reaches=("circuit_opened", "failover_taken"))
def targets_behind_others(contract: Contract, rng: random.Random) -> Scenario:
    """Circuits of targets behind the first open by themselves, and an open one is kept free as a last resort too."""
    least, percent = 4, contract.breaker.failure_percent
    failing = least * 2 + 1
    path = Path("gpt-5-5", rng)
    path.sequence("S" * (failing * (100 - percent) // percent + 1))  # so many that the first stays closed
    for role in ("second", "third"):
        path.sequence("F" * least)
        named = tuple(call.id for call in path.calls[-least:])
        path.injections.append(Injection(role, respond(status=503, after_s=0.01), calls=named))
    path.sequence("FS")
    return _scenario(path, checks=(targets_are_tried_in_order,), overlay={"breaker.min_calls": least})


@scenario(reaches=("circuit_opened", "queue_wait"))
def waiting_while_it_opens(contract: Contract, rng: random.Random) -> Scenario:
    """A call that waits for its slot while the circuit opens is told that it is open: so it was at its admission."""
    rules = contract.breaker
    path = Path("gpt-5-5", rng)
    path.sequence("F" * (rules.min_calls - 1))
    for stream in (False, True):
        took_ms = contract.text.queue_wait_ms / 4
        path.ask(respond(status=503, after_s=took_ms / 1e3), took_ms=took_ms)
        path.now_ms += 20
        path.ask(stream=stream)
        path.now_ms += took_ms * 2
        path.wait_until(path.now_ms + rules.cooldown_ms)
    return _scenario(path, overlay={"text.concurrency": 1})


@scenario(reaches=("circuit_opened", "half_open_probed"))
def lost_permits(contract: Contract, rng: random.Random) -> Scenario:
    """Probes that do not end keep others away until their permits' time is up, and no longer."""
    rules = contract.breaker
    permit_ms = contract.timeouts.text_call_ms // 20
    path = Path("gpt-5-5", rng)
    opened_ms = _opened(path, contract)
    path.wait_until(opened_ms + rules.cooldown_ms / 2)
    path.ask()
    path.wait_until(opened_ms + rules.cooldown_ms)
    for _ in range(rules.probes):
        path.ask(stream=True, reply=Reply(chunks=6, ttft_ms=100, gap_ms=permit_ms / 2))
        last_ms = path.now_ms
        path.now_ms += 7.001
    path.wait_until(last_ms + permit_ms * 0.9)
    path.ask()
    path.wait_until(last_ms + permit_ms)
    path.ask()
    return _scenario(path, overlay={"breaker.permit_timeout_ms": permit_ms})


@scenario(reaches=("circuit_opened", "client_fault_returned", "target_fault_met", "client_left"))
def what_counts(contract: Contract, rng: random.Random) -> Scenario:
    """The client's own faults and departures leave a circuit closed; an upstream's 401 to 404 open it."""
    rules = contract.breaker
    least = 4
    own = Path("gpt-5-5", rng)
    for status in contract.failover.client_fault_statuses:  # each by itself, so that none hides behind the others
        for _ in range(least):
            own.ask(respond(status=status, after_s=0.02), took_ms=20)
            own.now_ms += 50
        own.sequence("S")
        own.now_ms += rules.window_ms
    left = Path("deepseek-v4-pro", rng)
    for number in range(least + 2):
        long = Reply(chunks=20, ttft_ms=30, gap_ms=contract.timeouts.drain_ms)
        leaving = {"abort_ms": 40.0 + number} if number % 2 else {"abort_chunks": 1}
        left.ask(stream=True, reply=long, **leaving)
        left.now_ms += 50
    left.now_ms += contract.timeouts.drain_ms + 500
    left.sequence("SS")
    targets = []
    for model, status in zip(
        ("qwen3-7-plus", "qwen3-7-max", "kimi-latest", "claude-opus-4-8"),
        contract.failover.target_fault_statuses,
        strict=False,
    ):
        path = Path(model, rng)
        for _ in range(least):
            path.ask(respond(status=status, after_s=0.02), took_ms=20)
            path.now_ms += 50
        path.sequence("SS")
        targets.append(path)
    return _scenario(own, left, *targets, checks=(outcomes_count_as_they_should,), overlay={"breaker.min_calls": least})


@scenario(reaches=("every_circuit_open",))
def every_path_open(contract: Contract, rng: random.Random) -> Scenario:
    """With every path of a model open, callers are told so at once, and come back when they were told to."""
    rules = contract.breaker
    model = "claude-sonnet-4-7"
    path = Path(model, rng)
    for _ in range(rules.min_calls):
        path.ask()
        path.now_ms += 200.003
    failing = Injection("*", respond(status=503, after_s=0.011), stop_ms=path.now_ms)
    path.now_ms += 100
    turned_away = [
        make(model, stream=stream, id=f"{make.__name__}-{int(stream)}", at_ms=path.now_ms + 37 * n)
        for n, (make, stream) in enumerate((make, s) for make in (chat, messages, responses) for s in (False, True))
    ]
    last = turned_away[-1]
    back = chat(model, id="back", at_ms=None, after=(last.id,), wait_retry_after=True, delay_ms=3)
    path.calls += [*turned_away, back]
    path.injections.append(failing)
    made = _scenario(path, checks=(all_circuits_open_is_told_at_once, exhausted_calls_get_one_error))
    return replace(made, checks=(*made.checks, targets_are_tried_in_order))


@scenario(reaches=("circuit_opened", "half_open_probed"))
def every_probe_out(contract: Contract, rng: random.Random) -> Scenario:
    """A call that comes while others are probing every path is told so as if all were open: there is nobody to ask."""
    rules, least = contract.breaker, 4
    path = Path("gpt-5-5", rng)
    path.sequence("F" * least)
    others = tuple(call.id for call in path.calls)
    for role in ("second", "third"):
        path.injections.append(Injection(role, respond(status=503, after_s=0.01), calls=others))
    path.wait_until(path.now_ms + rules.cooldown_ms / 2)
    path.ask()
    path.wait_until(path.now_ms + rules.cooldown_ms / 2 + 100)
    for number in range(4):
        path.ask(took_ms=500 + number * 7.013, stream=number % 2 == 1)
        path.now_ms += 20
    path.wait_until(path.now_ms + 600)
    path.ask()
    return _scenario(
        path,
        checks=(exhausted_calls_get_one_error, targets_are_tried_in_order),
        overlay={"breaker.min_calls": least, "breaker.probes": 1},
    )


@scenario(reaches=("circuit_opened", "half_open_probed"))
def storms(contract: Contract, rng: random.Random) -> Scenario:
    """Failures, departures and recoveries at random, many calls at once: every path is called when it may be."""
    faults = (
        respond(status=503),
        respond(status=429),
        respond(status=404),
        respond(status=400),
        error_in_200(),
        reset_before_headers(),
        cut_after(content=1),
        slow_drip(),
    )
    calls: list[Call] = []
    injections: list[Injection] = []
    for model, make, tier in (
        ("gpt-5-5", chat, "managed"),
        ("claude-sonnet-4-7", messages, "managed"),
        ("gpt-5.5", chat, "general"),
    ):
        for number in range(22):
            call = make(
                model,
                tier=tier,
                id=f"{model}-{number}",
                at_ms=rng.randrange(27_000_000) / 1e3,
                stream=rng.random() < 0.5,
                reply=Reply(chunks=3, ttft_ms=rng.randrange(1_000, 900_000) / 1e3, gap_ms=rng.randrange(100_000) / 1e3),
                abort_ms=rng.randrange(100_000, 900_000) / 1e3 if rng.random() < 0.1 else None,
            )
            calls.append(call)
            for role, probability in (("primary", 0.6), ("second", 0.4)):
                if rng.random() < probability:
                    injections.append(Injection(role, rng.choice(faults), calls=(call.id,), must_fire=False))
    return Scenario(
        world=World(),
        workload=Workload(tuple(calls)),
        injections=tuple(injections),
        checks=(
            *CHECKS,
            server_errors_move_on,
            targets_are_tried_in_order,
        ),
        exact=True,
    )
