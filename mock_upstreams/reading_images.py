"""The normal form of an answer that is images; see docs/normal-form.md."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from mock_upstreams.normal import blank, digest, tidy

_KINDS = ("b64_json", "url")


class ImagesReader:
    """Reads one images answer; there are no streams of them."""

    def __init__(self) -> None:
        self._read = blank()

    def event(self, data: dict[str, Any] | None) -> str:
        return "malformed" if data is None else str(data.get("type", "other"))

    def done(self) -> str:
        return "malformed"

    def whole(self, data: dict[str, Any]) -> None:
        told = data.get("data")
        images = [image for image in told if isinstance(image, dict)] if isinstance(told, list) else []
        self._read["text"] = "".join(picture(image) for image in images)
        self._read["usage"] = data.get("usage")
        self._read["items"] = digest(tidy_images(images))
        self._read["terminal"] = True

    def reading(self) -> dict[str, Any]:
        return self._read


def picture(image: Mapping[str, Any]) -> str:
    """Return the line that stands for an image: the member that holds it, and the digest of what that says."""
    kind = next((name for name in _KINDS if isinstance(image.get(name), str)), None)
    return "" if kind is None else f"{kind}:{hashlib.sha256(image[kind].encode()).hexdigest()}\n"


def tidy_images(images: list[dict[str, Any]]) -> list[Any]:
    """Return the images tidied, in their order."""
    return [tidy(image) for image in images]
