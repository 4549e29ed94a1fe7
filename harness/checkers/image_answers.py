"""IMG-01: what image generations answers, and what of a request reaches the upstream."""

from __future__ import annotations

from typing import Any

from harness.checker import Verdict, checker
from harness.checkers.flaws import flaws_of_all, served_case
from harness.checkers.money import server_of
from harness.checkers.passage import own_answer_case, passages, surface_of
from harness.checkers.wire import Seen, answer_body, parsed
from harness.contract import Contract, MediaRule
from harness.history import History

HOLDERS = ("url", "b64_json")
STYLE = ("size", "quality")
"""What a request says of the image itself, whatever the model."""
REFERENCES = ("image", "reference_images", "image_urls")
"""The documents' words for reference images, beside the rule's own."""


@checker("IMG-01", "managed", "answer_kind")
def images_are_answered_in_openais_shape(history: History, contract: Contract, verdict: Verdict) -> None:
    """Image generations answers the OpenAI image shape, each image held as the model's entry says."""
    for one, rows in flaws_of_all(history, contract):
        if one.route is None or one.route.surface != "images" or rows != ():
            continue
        if not served_case("managed", one, rows, verdict):
            continue
        _shape(history, one, verdict)
        own_answer_case("managed", history, one, verdict)
        rule = _rule(one, contract)
        server = server_of(one)
        if rule is None or rule.answer is None or (server is not None and not _all(rule.answer, server.reading.text)):
            continue
        ok = _all(rule.answer, one.call.reading.text)
        verdict.case(
            "answer_kind",
            ok,
            call=one.call,
            expected=f"every image as {rule.answer}",
            actual=lambda one=one: f"{one.call.reading.text!r:.200}",
        )


def _rule(one: Seen, contract: Contract) -> MediaRule | None:
    return None if one.model is None else contract.media_rule(one.model, "images")


def _all(holder: str, text: str) -> bool:
    lines = text.splitlines()
    return bool(lines) and all(line.startswith(f"{holder}:") for line in lines)


def _shape(history: History, one: Seen, verdict: Verdict) -> None:
    body = parsed(answer_body(history, one.call))
    if not isinstance(body, dict):
        return
    images = body.get("data")
    ok = type(body.get("created")) is int and isinstance(images, list) and bool(images) and all(map(_is_image, images))
    actual = f"members {sorted(body)}, data {images!r:.200}"
    verdict.case("managed", ok, call=one.call, expected="created, and data with images", actual=actual)


def _is_image(image: Any) -> bool:
    """Say whether ``image`` is held in one way, as clients look for it."""
    return isinstance(image, dict) and sum(isinstance(image.get(name), str) for name in HOLDERS) == 1


@checker("IMG-01", "fields_upstream")
def sizes_qualities_and_references_reach_the_upstream(history: History, contract: Contract, verdict: Verdict) -> None:
    """What a request says of size, quality and references reaches the upstream as it was sent."""
    for passage in passages(history, contract):
        if surface_of(passage.seen) != "images":
            continue
        rule = _rule(passage.seen, contract)
        names = dict.fromkeys((*STYLE, *REFERENCES, *([rule.references_field] if rule else [])))
        asked = [name for name in names if name in passage.mine]
        if asked:
            lost = [name for name in asked if not passage.same(name)]
            verdict.case(
                "fields_upstream",
                not lost,
                call=passage.seen.call,
                attempts=(passage.attempt,),
                expected=f"{', '.join(asked)} as they were sent",
                actual=lambda passage=passage, lost=lost: {name: passage.theirs.get(name, "nothing") for name in lost},
            )
