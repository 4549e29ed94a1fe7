"""OpenAI image generations: whole answers, what a request of it asks for, and how an answer is read back."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from mock_upstreams.answer import Answer, Tokens, Wish
from mock_upstreams.normal import blank, digest
from mock_upstreams.parts import Chunk, Exchange
from mock_upstreams.providers.base import Problem, field_problem
from mock_upstreams.providers.openai import OpenAI, sse
from mock_upstreams.reading_images import picture, tidy_images

MOST_IMAGES = 10
ALWAYS_BASE64 = "gpt-image"
"""Models whose id starts so answer in base64, and take no ``response_format``."""
_KINDS = ("url", "b64_json")
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class Images(OpenAI):
    """POST /v1/images/generations. An image is no picture: its bytes are the answer's words and its place."""

    surface = "images"
    content = frozenset()

    def problem(self, body: Mapping[str, Any]) -> Problem | None:
        if not body.get("model"):
            return Problem(400, "you must provide a model parameter")
        found = field_problem(body, "model", str, "a string") or field_problem(body, "prompt", str, "a string")
        if found:
            return found
        if body.get("stream"):
            return Problem(400, "Images are not streamed here.", "stream", "unsupported_value")
        count = body.get("n")
        if count is not None and (type(count) is not int or not 1 <= count <= MOST_IMAGES):
            return Problem(400, f"Invalid 'n': expected a whole number from 1 to {MOST_IMAGES}.", "n", "invalid_value")
        kind = body.get("response_format")
        if kind is None:
            return None
        if str(body["model"]).startswith(ALWAYS_BASE64):
            return Problem(400, "Unknown parameter: 'response_format'.", "response_format", "unknown_parameter")
        return None if kind in _KINDS else Problem(400, f"Invalid value: {kind!r}.", "response_format", "invalid_value")

    def wish(self, body: Mapping[str, Any]) -> Wish:
        return Wish()

    def turns(self, body: Mapping[str, Any]) -> Sequence[Any]:
        return [body["prompt"]]

    def usage(self, tokens: Tokens) -> dict[str, Any]:
        """As OpenAI tells it; cache reads, of which it says nothing, where there are any."""
        prompt = tokens.input + tokens.cached + tokens.written
        details = {"text_tokens": prompt, "image_tokens": 0}
        if tokens.cached:
            details["cached_tokens"] = tokens.cached
        return {
            "input_tokens": prompt,
            "input_tokens_details": details,
            "output_tokens": tokens.output,
            "total_tokens": prompt + tokens.output,
        }

    def body(self, exchange: Exchange, answer: Answer) -> dict[str, Any]:
        asked = exchange.body
        return {
            "created": answer.created,
            "background": "opaque",
            "data": _images(exchange, answer),
            "output_format": "png",
            "quality": _said(asked, "quality", "high"),
            "size": _said(asked, "size", "1024x1024"),
            "usage": self.usage(answer.tokens),
        }

    def events(self, exchange: Exchange, answer: Answer) -> list[Chunk]:
        return []

    def said(self, exchange: Exchange, answer: Answer, *, streamed: bool) -> dict[str, Any]:
        images = _images(exchange, answer)
        return {
            **blank(),
            "text": "".join(picture(image) for image in images),
            "usage": self.usage(answer.tokens),
            "terminal": True,
            "items": digest(tidy_images(images)),
        }

    def error_event(self, exchange: Exchange, problem: Problem, *, failed: bool = False) -> Chunk:
        return sse(self.error_body(exchange, problem), "error")


def _images(exchange: Exchange, answer: Answer) -> list[dict[str, Any]]:
    """Return the images, each of its own content, in the form that the model or the request says."""
    kind = "b64_json" if exchange.model.startswith(ALWAYS_BASE64) else exchange.body.get("response_format") or "url"
    made = []
    for n in range(exchange.body.get("n") or 1):
        if kind == "url":
            made.append({"url": f"https://images.mock-upstreams.invalid/{answer.slug}/{n}.png"})
        else:
            content = _SIGNATURE + f"{answer.slug}:{n} {answer.text}".encode()
            made.append({"b64_json": base64.b64encode(content).decode()})
    return made


def _said(body: Mapping[str, Any], name: str, otherwise: str) -> str:
    """Return what a request says of ``name``; what was chosen where it leaves that to the provider."""
    value = body.get(name)
    return value if isinstance(value, str) and value != "auto" else otherwise


IMAGES = Images()
