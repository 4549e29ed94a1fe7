"""The caller's side of answers that hold no generated text: model lists, token counts, raw paths and the rest."""

from __future__ import annotations

from typing import Any

from harness.clients.reader import JsonReader, Reader, StreamReader, first_text, tidied
from harness.history import Reading


class CountJson(JsonReader):
    """Reads a token count: all of it is ``items``, for nothing in it is billed."""

    __slots__ = ()

    def whole(self, value: dict[str, Any]) -> Any:
        return tidied(value)


class ModelsJson(JsonReader):
    """Reads a model list, in OpenAI's or Anthropic's shape; its ids, in order, are the claim ``models``."""

    __slots__ = ()

    def whole(self, value: dict[str, Any]) -> Any:
        self.claims["models"] = [model["id"] for model in value["data"]]
        return tidied(value)


class RawJson(JsonReader):
    """Reads any JSON object; what it says beside an error is ``items``."""

    __slots__ = ()

    def whole(self, value: dict[str, Any]) -> Any:
        return tidied(value)


class RawStream(StreamReader):
    """Reads events of no known surface: their kinds, and an error among them. Its clean end is all that ends it."""

    __slots__ = ()
    end_mark = b"[DONE]"

    def event(self, value: dict[str, Any]) -> str | None:
        kind = first_text(value.get("type"), value.get("object")) or "other"
        if value.get("error") is not None:
            self._error(value)
        return None if kind == "ping" else kind

    def finish(self, clean: bool) -> Reading:
        self.terminal = self.terminal or clean
        return super().finish(clean)


class Opaque(Reader):
    """Reads nothing: a body that is neither JSON nor events, or none at all; whole only where any body will do."""

    __slots__ = ("_any", "_content_type")

    def __init__(self, content_type: str, any_body: bool) -> None:
        super().__init__()
        self._content_type = content_type
        self._any = any_body

    def finish(self, clean: bool) -> Reading:
        if self._any:
            self.terminal = clean
        else:
            self.notes.append(f"content type {self._content_type or 'missing'}")
        return super().finish(clean)
