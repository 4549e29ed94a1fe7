"""OpenAI's image generations: the codec of requests and answers, none of them a stream; for its limits see base.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Never

from harness.gateway.sse import Event
from harness.gateway.surfaces.base import Body, Declined, Kind, Malformed, StreamState, Surface, refuse, required

_HOLDERS = ("b64_json", "url")
"""The members of an image that can hold it; which one a model uses is its provider's to choose."""


class Images(Surface):
    """POST images/generations."""

    name = "images"
    dialect = "openai"
    upstream_path = "/v1/images/generations"
    output_fields = ()

    def check(self, body: Body) -> None:
        super().check(body)
        if self.streams(body):
            raise refuse("stream must be false: images come whole")
        if type(body.get("prompt")) is not str:
            raise refuse("prompt must be a string")
        count = body.get("n")
        if count is not None and (type(count) is not int or count <= 0):
            raise refuse("n must be a whole number above 0")

    def images_asked(self, body: Body) -> int:
        return body.get("n") or 1

    def images_in(self, answer: Body) -> int:
        return len(answer["data"])

    def verify(self, answer: Any) -> dict[str, Any]:
        if type(answer) is not dict:
            raise Malformed("the answer is no JSON object")
        if answer.get("error"):
            raise Declined
        images = required(answer, "data", list)
        if not images:
            raise Malformed("the answer has no image")
        for image in images:
            if type(image) is not dict or not any(type(image.get(name)) is str for name in _HOLDERS):
                raise Malformed("an image is neither a URL nor base64")
        return answer

    def read(self, event: Event, state: StreamState) -> Kind:
        _no_stream()

    def usage_holder(self, event: Event) -> dict[str, Any] | None:
        return None

    def gather(self, events: Sequence[Event]) -> dict[str, Any]:
        _no_stream()


def _no_stream() -> Never:
    raise Malformed("images came as a stream")
