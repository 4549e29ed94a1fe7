"""Image generations on the wire: answers, their form, and what of a request reaches the upstream; both ways."""

from __future__ import annotations

from typing import Any

from harness.checkers.errors import a_model_on_the_wrong_endpoint_is_told_the_right_one
from harness.checkers.image_answers import (
    images_are_answered_in_openais_shape,
    sizes_qualities_and_references_reach_the_upstream,
)
from harness.checkers.passage import everything_reaches_the_upstream
from tests.checkers.wire_histories import CHAT, GPT, IMAGE, IMAGES, MESSAGES, RESPONSES, Case, Judgements
from tests.checkers.wire_steps import Step, asked, refused, served

TWO = {"text": "b64_json:1\nb64_json:2\n", "finish": None, "model": None}
WHOLE = {"created": 1, "data": [{"b64_json": "AA=="}, {"b64_json": "BB=="}]}
REFERENCES = [f"https://example.com/{n}.png" for n in range(3)]


def answered(answer: Any = WHOLE, **saw: Any) -> Step:
    """An images call whose upstream made two images, and whose caller got ``answer`` and saw something else."""
    return served(IMAGES, IMAGE, read=TWO, saw={"model": None, **saw}, answer=answer)


def shaped(answer: Any) -> Case:
    return Case(images_are_answered_in_openais_shape, "managed", answered(), answered(answer))


def sent(asked_for: dict[str, Any], got: dict[str, Any]) -> Case:
    check = sizes_qualities_and_references_reach_the_upstream
    return Case(
        check, "fields_upstream", asked(IMAGES, IMAGE, asked_for, asked_for), asked(IMAGES, IMAGE, asked_for, got)
    )


CASES = [
    Case(images_are_answered_in_openais_shape, "managed", answered(), refused(IMAGES, "wrong_endpoint", IMAGE)),
    shaped({"data": WHOLE["data"]}),
    shaped({"created": 1, "data": []}),
    shaped({"created": 1, "data": [{"revised_prompt": "a cat"}]}),
    shaped({"created": 1, "data": [{"url": "https://a", "b64_json": "AA=="}]}),
    Case(images_are_answered_in_openais_shape, "managed", answered(), answered(text="b64_json:1\n")),
    Case(images_are_answered_in_openais_shape, "answer_kind", answered(), answered(text="b64_json:1\nurl:2\n")),
    sent({"quality": "low"}, {}),
    sent({"size": "2048x2048"}, {"size": "1024x1024"}),
    sent({"reference_images": REFERENCES}, {"reference_images": REFERENCES[:2]}),
    sent({"image": REFERENCES[0]}, {"image": REFERENCES[1]}),
    Case(
        everything_reaches_the_upstream,
        "images_body",
        asked(IMAGES, IMAGE, {"n": 2}, {"n": 2}),
        asked(IMAGES, IMAGE, {"n": 2}, {"n": 2, "size": "1024x1024"}),
    ),
    *(
        Case(
            a_model_on_the_wrong_endpoint_is_told_the_right_one,
            "image_path",
            refused(path, "wrong_endpoint", model),
            served(path, model),
        )
        for path, model in (
            (CHAT, IMAGE),
            (RESPONSES, IMAGE),
            (MESSAGES, IMAGE),
            (IMAGES, "nano-banana-2"),
            (MESSAGES, "nano-banana-2"),
        )
    ),
]
JUDGED: Judgements = [
    (images_are_answered_in_openais_shape, answered(), {"managed", "answer_kind"}),
    (images_are_answered_in_openais_shape, served(IMAGES, IMAGE, read={**TWO, "text": "url:1\n"}), {"managed"}),
    (images_are_answered_in_openais_shape, served(CHAT, GPT), set()),
    (images_are_answered_in_openais_shape, refused(IMAGES, "invalid_key", IMAGE, key="a-expired"), set()),
    (sizes_qualities_and_references_reach_the_upstream, asked(IMAGES, IMAGE, {"n": 2}, {"n": 2}), set()),
    (sizes_qualities_and_references_reach_the_upstream, asked(CHAT, GPT, {"size": "x"}, {}), set()),
]
