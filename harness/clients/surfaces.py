"""Which reader reads which answer: by what the answer is (its content type), on the surface that was asked."""

from __future__ import annotations

from collections.abc import Mapping

from harness.clients.chat import ChatJson, ChatStream
from harness.clients.images import ImagesJson
from harness.clients.messages import MessagesJson, MessagesStream
from harness.clients.plain import CountJson, ModelsJson, Opaque, RawJson, RawStream
from harness.clients.reader import JsonReader, Reader, StreamReader
from harness.clients.responses import ResponsesJson, ResponsesStream

_READERS: Mapping[str, tuple[type[JsonReader], type[StreamReader] | None]] = {
    "chat": (ChatJson, ChatStream),
    "messages": (MessagesJson, MessagesStream),
    "responses": (ResponsesJson, ResponsesStream),
    "images": (ImagesJson, None),
    "count_tokens": (CountJson, None),
    "models": (ModelsJson, None),
    "raw": (RawJson, RawStream),
}
SURFACES = tuple(_READERS)
"""The surfaces that a call can name."""


def reader_for(surface: str, content_type: str, *, head_only: bool = False) -> Reader:
    """Return a fresh reader for an answer on ``surface``: an answer without JSON or events is opaque.

    A JSON answer to a streamed call and events for an unstreamed one are read for what they are. ``head_only``: the
    request was a HEAD, whose answer has no body whatever its content type.
    """
    media = content_type.partition(";")[0].strip().lower()
    of_json, of_stream = _READERS[surface]
    if head_only:
        return Opaque(media, any_body=True)
    if media == "application/json" or media.endswith("+json"):
        return of_json()
    if media == "text/event-stream" and of_stream is not None:
        return of_stream()
    return Opaque(media, any_body=surface == "raw")
