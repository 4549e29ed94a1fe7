"""Images: as many as were asked for, told apart, in their model's form, with usage in tokens; fewer by a fault."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest
from mock_asgi import PATHS, Link, ask, injection, journal, request, run, start

from mock_upstreams.server import create_app


def served(directives: str = "", *, role: str = "primary", faults: Any = (), **more: Any) -> tuple[Link, Any]:
    """Return the answer of an upstream to one images request, and the journal's line of it."""

    async def work() -> tuple[Link, Any]:
        app = create_app()
        await start(app, injections=list(faults))
        link = await ask(app, f"/r/{role}/{PATHS['images']}", request("images", directives, **more))
        return link, (await journal(app))[0][0]

    made: tuple[Link, Any] = run(work())
    return made


@pytest.mark.parametrize("count", [None, 1, 3, 10])
def test_as_many_images_come_as_were_asked_for_and_the_journal_counts_them(count: int | None) -> None:
    link, attempt = served(**({} if count is None else {"n": count}))
    data = link.json["data"]
    assert len(data) == (count or 1)
    assert len({image["b64_json"] for image in data}) == len(data)
    assert all(base64.b64decode(image["b64_json"]).startswith(b"\x89PNG") for image in data)
    assert attempt["reading"] == link.reading("images")
    assert len(attempt["reading"]["text"].splitlines()) == len(data)
    assert all(line.startswith("b64_json:") for line in attempt["reading"]["text"].splitlines())


@pytest.mark.parametrize(
    ("asked", "member"),
    [
        ({"model": "gpt-image-2:us"}, "b64_json"),
        ({"model": "other"}, "url"),
        ({"model": "other", "response_format": "url"}, "url"),
        ({"model": "other", "response_format": "b64_json"}, "b64_json"),
    ],
)
def test_the_form_of_an_image_is_its_models_or_the_one_asked_for(asked: dict[str, str], member: str) -> None:
    link, attempt = served(n=2, **asked)
    assert [list(image) for image in link.json["data"]] == [[member], [member]]
    assert attempt["reading"] == link.reading("images")


def test_images_of_two_upstreams_or_calls_are_told_apart() -> None:
    texts = {
        served(role=role, call=call)[1]["reading"]["text"] for role in ("primary", "second") for call in ("a", "b")
    }
    assert len(texts) == 4


def test_usage_is_told_in_tokens_and_size_and_quality_come_back() -> None:
    link, _ = served("in=10 cached=20 out=40", size="1536x1024", quality="low")
    assert link.json["usage"] == {
        "input_tokens": 30,
        "input_tokens_details": {"text_tokens": 30, "image_tokens": 0, "cached_tokens": 20},
        "output_tokens": 40,
        "total_tokens": 70,
    }
    assert (link.json["size"], link.json["quality"]) == ("1536x1024", "low")
    assert served("in=10 out=40")[0].json["usage"]["input_tokens_details"] == {"text_tokens": 10, "image_tokens": 0}


def test_an_image_takes_its_time() -> None:
    assert served("ttft=2.5")[0].times == [2.5, 2.5]


def test_a_fault_leaves_fewer_images_and_a_whole_answer() -> None:
    link, attempt = served("out=9", n=4, faults=[injection("fewer_images", params={"count": 1})])
    assert len(link.json["data"]) == 1
    assert link.json["usage"]["output_tokens"] == 9
    assert int(link.headers["content-length"]) == len(link.body)
    assert (attempt["ended"], attempt["fault"]) == ("served", "fewer_images")
    assert attempt["reading"] == link.reading("images")


@pytest.mark.parametrize(
    ("fault", "params", "status", "terminal"),
    [
        ("respond", {"status": 503}, 503, False),
        ("respond", {"status": 429, "retry_after_s": 3.0}, 429, False),
        ("error_in_200", {}, 200, False),
        ("empty_200", {}, 200, False),
        ("html_200", {}, 200, False),
        ("json_cut_short", {}, 200, False),
        ("usage_missing", {}, 200, True),
        ("usage_zero", {}, 200, True),
        ("usage_negative", {}, 200, True),
        ("usage_absurd", {}, 200, True),
        ("usage_conflict", {"what": "total"}, 200, True),
        ("tell_usage", {"input": 7, "output": 9, "cached": 2}, 200, True),
        ("delay", {"seconds": 3.0}, 200, True),
    ],
)
def test_faults_strike_images_as_any_answer(fault: str, params: dict[str, Any], status: int, terminal: bool) -> None:
    link, attempt = served("in=10 cached=1 out=40", faults=[injection(fault, params=params)])
    assert link.status == status
    assert attempt["fault"] == fault
    assert attempt["reading"]["terminal"] is terminal
    if terminal:
        assert attempt["reading"] == link.reading("images")
        assert orjson.loads(link.body)["data"]
