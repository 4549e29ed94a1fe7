"""The caller's side of OpenAI image generations: what a request says, and what an answer means."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from harness.clients.reader import JsonReader, tidied
from harness.contract import Contract
from harness.scenario import Call

_HOLDERS = ("b64_json", "url")


def body(call: Call, prompt: str, contract: Contract) -> dict[str, Any]:
    """Return the body of an image generations request for one image."""
    value: dict[str, Any] = {"model": call.model, "prompt": prompt}
    if call.stream:
        value["stream"] = True
    return value


class ImagesJson(JsonReader):
    """Reads an images answer: a line of text for each image, its holder and its digest."""

    __slots__ = ()

    def whole(self, value: dict[str, Any]) -> Any:
        self.usage = value.get("usage")
        images: list[Mapping[str, Any]] = value["data"]
        self.text.extend(_line(image) for image in images)
        return [tidied(image) for image in images]


def _line(image: Mapping[str, Any]) -> str:
    for name in _HOLDERS:
        if isinstance(image.get(name), str):
            return f"{name}:{hashlib.sha256(image[name].encode()).hexdigest()}\n"
    return ""
