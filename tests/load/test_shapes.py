"""Shapes: what is sent adds up to the contract's figures, streams, and is the same however it is shared out."""

from __future__ import annotations

from collections import Counter
from itertools import islice, pairwise
from pathlib import Path

import pytest

import harness.load.shapes  # noqa: F401 - registers them
from harness.clients import build
from harness.contract import Contract, load_contract, with_overlays
from harness.load.shape import SHAPES, Asked, Load, shape
from harness.load.sizes import reserved_for_image, sized, slot_ms
from harness.scenario import Call, Reply
from tests.load.tiny import tiny

TRACE = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.1,4808,10\n2023-11-16 18:17:04.0,90000,2700\n"


def made(name: str, contract: Contract, tmp_path: Path, **asked: object) -> tuple[Load, Contract]:
    if name == "trace":
        path = tmp_path / "trace.csv"
        path.write_text(TRACE)
        asked = {**asked, "trace": str(path)}
    load = SHAPES[name].build(contract, Asked(**asked))  # type: ignore[arg-type]  # as each test gives them
    return load, with_overlays(contract, [load.world.overlay]) if load.world.overlay else contract


def tokens_of(call: Call) -> int:
    assert call.max_tokens is not None
    return -(-call.prompt_bytes // 4) + call.max_tokens


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_a_shape_streams_as_many_calls_as_it_says_in_order_and_with_ids_of_their_own(name: str, tmp_path: Path) -> None:
    load, contract = made(name, tiny(), tmp_path)
    calls = list(load.calls(contract))
    assert len(calls) == load.count
    times = [call.at_ms for call in calls if call.at_ms is not None]
    assert times == sorted(times)
    assert times[-1] <= load.length_ms
    assert len({call.id for call in calls}) == len(calls)
    assert {call.account for call in calls} <= {account.id for account in load.world.accounts}
    for call in calls[:3]:
        assert build(call, secret="ck_x", contract=contract).body  # every one of them can be sent


@pytest.mark.parametrize("name", sorted(SHAPES))
@pytest.mark.parametrize("workers", [1, 3])
def test_workers_share_the_same_calls_among_them(name: str, workers: int, tmp_path: Path) -> None:
    load, contract = made(name, tiny(), tmp_path, seed=3)
    shares = [list(load.share(contract, index, workers)) for index in range(workers)]
    together = sorted((call for share in shares for call in share), key=lambda call: int(call.id[1:]))
    assert together == list(load.calls(contract))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_the_text_ceiling_is_met_to_the_request_and_to_the_token(tmp_path: Path) -> None:
    load, contract = made("ceiling-text", load_contract(), tmp_path)
    calls = list(load.calls(contract))
    sizes = Counter(map(tokens_of, calls))
    assert (len(calls), sum(map(tokens_of, calls))) == (contract.text.requests, contract.text.tokens)
    assert sizes == {2667: 10_000, 2666: 5_000}
    assert all(call.reply.input is not None and call.reply.output is not None for call in calls)
    assert {tokens_of(call) - (call.reply.input or 0) - (call.reply.output or 0) for call in calls} == {0}
    assert max(call.at_ms or 0 for call in calls) < contract.text.window_ms * 0.95
    held_ms = calls[0].reply.ttft_ms
    assert held_ms < slot_ms(contract.text, len(calls), contract.text.window_ms * 0.95)


def test_the_body_that_is_sent_has_the_tokens_that_were_planned(tmp_path: Path) -> None:
    load, contract = made("ceiling-text", load_contract(), tmp_path)
    for call in islice(load.calls(contract), 0, None, 3_001):
        assert len(build(call, secret="ck_x", contract=contract).body) == call.prompt_bytes


@pytest.mark.parametrize(("name", "over"), [("probe-rpm", "requests"), ("probe-tpm", "tokens")])
def test_a_probe_goes_beyond_one_limit_alone_by_one_call(name: str, over: str, tmp_path: Path) -> None:
    load, contract = made(name, load_contract(), tmp_path)
    *calls, last = load.calls(contract)
    limits = contract.text
    requests, tokens = len(calls), sum(map(tokens_of, calls))
    assert (requests == limits.requests) == (over == "requests")
    assert (tokens == limits.tokens) == (over == "tokens")
    assert tokens + tokens_of(last) <= limits.tokens or over == "tokens"
    assert "over" in last.tag.split()
    assert (last.at_ms or 0) == pytest.approx(57_500)


def image_tokens(call: Call) -> int:
    return (call.reply.input or 0) + (call.reply.output or 0)


def images_asked(call: Call) -> int:
    return int(call.fields.get("n", 1))


@pytest.mark.parametrize("contract", [load_contract(), tiny()], ids=["published", "tiny"])
def test_the_image_ceiling_is_met_to_the_image_and_to_the_token(contract: Contract, tmp_path: Path) -> None:
    load, contract = made("ceiling-image", contract, tmp_path)
    calls = list(load.calls(contract))
    assert {call.surface for call in calls} == {"images"}
    assert sum(map(images_asked, calls)) == contract.image.images == load.windows[0].images
    assert sum(map(image_tokens, calls)) == contract.image.tokens
    assert len(calls) == contract.image.requests
    assert max(call.at_ms or 0 for call in calls) < contract.image.window_ms * 0.95


def test_an_image_ceiling_of_few_requests_is_met_by_calls_for_several_images(tmp_path: Path) -> None:
    contract = load_contract(overlays=[{"image.requests": 100}])
    load, contract = made("ceiling-image", contract, tmp_path)
    calls = list(load.calls(contract))
    assert Counter(map(images_asked, calls)) == {2: 50, 3: 50}
    assert sum(map(image_tokens, calls)) == contract.image.tokens


@pytest.mark.parametrize("images", [250, 251])
def test_the_image_probe_goes_beyond_the_images_alone(images: int, tmp_path: Path) -> None:
    contract = load_contract(overlays=[{"image.images": images}])
    load, contract = made("probe-image", contract, tmp_path)
    *calls, last = load.calls(contract)
    assert sum(map(images_asked, calls)) == images
    assert images_asked(last) == 1
    assert len(calls) + 1 < contract.image.requests
    assert sum(map(image_tokens, calls)) + reserved_for_image(contract) < contract.image.tokens
    assert "over" in last.tag.split()


def test_image_tokens_too_few_for_a_call_are_refused() -> None:
    with pytest.raises(ValueError, match="a call of 400 tokens: one to gpt-image-2 has 4,176 to 272,000"):
        SHAPES["ceiling-image"].build(load_contract(overlays=[{"image.tokens": 100_000}]), Asked())


def test_each_further_minute_begins_when_the_one_before_has_run_out(tmp_path: Path) -> None:
    load, contract = made("ceiling-text", tiny(), tmp_path, minutes=0.15)
    calls = list(load.calls(contract))
    times = [[call.at_ms or 0 for call in calls if call.tag == window.word] for window in load.windows]
    assert [len(one) for one in times] == [50, 50, 50]
    for before, after in pairwise(times):
        assert all(late - early > contract.text.window_ms for early, late in zip(before, after, strict=True))
    assert load.count == 150


@pytest.mark.parametrize(
    ("contract", "narrowed"), [(load_contract(), False), (tiny(), True)], ids=["published", "tiny"]
)
def test_slow_answers_fill_the_slots_and_the_queue_however_few_they_are(
    contract: Contract, narrowed: bool, tmp_path: Path
) -> None:
    load, effective = made("slow-answers", contract, tmp_path, arrivals="constant")
    assert bool(load.world.overlay) is narrowed
    calls = list(load.calls(effective))
    held_ms, limits = calls[0].reply.ttft_ms, effective.text
    # As many as arrive in half the time leave half of them over, which is more than may wait.
    arrived = sum((call.at_ms or 0) < held_ms for call in calls)
    assert arrived == pytest.approx(2 * limits.concurrency, abs=1)
    assert len(calls) / 2 > limits.concurrency + limits.queue_length


def test_a_storm_asks_for_three_times_as_much_and_an_innocent_for_little(tmp_path: Path) -> None:
    load, contract = made("storm", load_contract(), tmp_path)
    asked = Counter(call.account for call in load.calls(contract))
    assert asked["a"] == 3 * contract.text.requests
    assert asked["b"] < contract.text.requests / 10


def test_agents_send_long_bodies_that_grow_and_name_their_sessions(tmp_path: Path) -> None:
    load, contract = made("agents", load_contract(), tmp_path, minutes=0.15)
    calls = list(load.calls(contract))
    session = [call for call in calls if call.tag == "session3"]
    bodies = [len(build(call, secret="ck_x", contract=contract).body) for call in session]
    assert bodies == sorted(bodies)
    assert bodies[0] > 90_000
    assert 120_000 < bodies[-1] < 160_000
    assert {call.surface for call in calls} == {"messages", "responses"}
    assert len({tuple(call.headers.values()) for call in session}) == 1
    assert all(call.stream for call in calls)


def test_a_call_smaller_or_larger_than_there_are_is_refused() -> None:
    contract = load_contract()
    for tokens in (1, 80, 10**9):
        with pytest.raises(ValueError, match="tokens: one to"):
            sized(contract, tokens, Reply())


def test_a_trace_must_be_given(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--trace"):
        SHAPES["trace"].build(load_contract(), Asked())


def test_two_shapes_of_one_name_are_refused() -> None:
    def ceiling_text(contract: Contract, asked: Asked) -> Load:
        raise AssertionError

    with pytest.raises(ValueError, match="two shapes"):
        shape(ceiling_text)
