"""Answers written by hand, as providers and gateways send them, and a way to feed them to a reader."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from harness.clients import reader_for
from harness.clients.reader import Reader
from harness.history import Reading

SSE = "text/event-stream; charset=utf-8"
JSON = "application/json"
HYPEREAL = {
    "billing": {"model": "m", "credits_charged": 12, "balance_before": 1000, "balance_after": 988},
    "insurance": {"status": "paid", "credits_compensated": 3},
}


def events(*values: Any, named: bool = False, end: str = "\n") -> bytes:
    """Return an event stream: an object is an event's data, text stands as it is."""
    blocks = []
    for value in values:
        if isinstance(value, str):
            blocks.append(value.replace("\n", end))
        else:
            name = f"event: {value['type']}{end}" if named else ""
            blocks.append(f"{name}data: {orjson.dumps(value).decode()}{end}{end}")
    return "".join(blocks).encode()


def read(surface: str, content_type: str, *chunks: bytes, clean: bool = True) -> tuple[Reading, Reader]:
    """Feed ``chunks``, the n-th of them at n * 1000 µs, and return the reading and its reader."""
    reader = reader_for(surface, content_type)
    for at, chunk in enumerate(chunks):
        reader.feed(chunk, at * 1000)
    return reader.finish(clean), reader


def cut(data: bytes, cuts: Iterable[int]) -> Sequence[bytes]:
    """Return ``data`` in pieces, cut at each of ``cuts`` that lies inside it."""
    edges = sorted({0, len(data), *(at for at in cuts if 0 < at < len(data))})
    return [data[edges[n] : edges[n + 1]] for n in range(len(edges) - 1)]


def chunk(delta: Any = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """Return a chat.completion.chunk."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "gpt-5-5", "choices": choices, **more}


CHAT_USAGE = {
    "prompt_tokens": 30,
    "completion_tokens": 5,
    "total_tokens": 35,
    "prompt_tokens_details": {"cached_tokens": 10},
}
CHAT = (
    chunk({"role": "assistant", "content": "", "refusal": None}, usage=None),
    ": ping\n\n",
    chunk({"reasoning_content": "Hmm, "}),
    chunk({"reasoning_content": "ja."}),
    chunk({"content": "Grüße "}),
    chunk({"content": "aus 東京 "}),
    chunk({"content": "🗼"}, obfuscation="xyz"),
    chunk({"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "look"}}]}),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"at":'}}]}),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"5"}'}}]}),
    chunk(
        {
            "tool_calls": [
                {"index": 1, "id": "call_2", "type": "function", "function": {"name": "go", "arguments": "{}"}}
            ]
        }
    ),
    chunk({}, finish="tool_calls"),
    chunk(usage=CHAT_USAGE, hypereal=HYPEREAL),
    "data: [DONE]\n\n",
)
CHAT_WHOLE = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-5-5",
    "choices": [
        {
            "index": 0,
            "finish_reason": "tool_calls",
            "message": {
                "role": "assistant",
                "content": "Grüße aus 東京 🗼",
                "refusal": None,
                "annotations": [],
                "reasoning_content": "Hmm, ja.",
                "tool_calls": [
                    {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at":"5"}'}},
                    {"id": "call_2", "type": "function", "function": {"name": "go", "arguments": "{}"}},
                ],
            },
        }
    ],
    "usage": CHAT_USAGE,
    "hypereal": HYPEREAL,
}
MESSAGE_START = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-opus-4-8",
    "content": [],
    "stop_reason": None,
    "usage": {
        "input_tokens": 20,
        "cache_read_input_tokens": 4,
        "cache_creation_input_tokens": None,
        "output_tokens": 1,
    },
}


def block(index: int, **value: Any) -> dict[str, Any]:
    """Return a content_block_start."""
    return {"type": "content_block_start", "index": index, "content_block": value}


def delta(index: int, kind: str, **value: Any) -> dict[str, Any]:
    """Return a content_block_delta."""
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **value}}


def stop(index: int) -> dict[str, Any]:
    """Return a content_block_stop."""
    return {"type": "content_block_stop", "index": index}


CITATION = {"type": "char_location", "cited_text": "x", "document_index": 0}
MESSAGES = (
    {"type": "message_start", "message": MESSAGE_START},
    {"type": "ping"},
    block(0, type="thinking", thinking="", signature=""),
    delta(0, "thinking_delta", thinking="Hmm, "),
    delta(0, "thinking_delta", thinking="ja."),
    delta(0, "signature_delta", signature="SIG=="),
    stop(0),
    block(1, type="redacted_thinking", data="opaque"),
    stop(1),
    block(2, type="text", text=""),
    delta(2, "text_delta", text="Grüße "),
    delta(2, "citations_delta", citation=CITATION),
    delta(2, "text_delta", text="🗼"),
    stop(2),
    block(3, type="tool_use", id="toolu_1", name="look", input={}),
    delta(3, "input_json_delta", partial_json=""),
    delta(3, "input_json_delta", partial_json='{"b": 1,'),
    delta(3, "input_json_delta", partial_json=' "a": 2}'),
    stop(3),
    block(4, type="tool_use", id="toolu_2", name="go", input={}),
    stop(4),
    {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": {"output_tokens": 17, "cache_read_input_tokens": None},
        "hypereal": HYPEREAL,
    },
    {"type": "message_stop"},
)
MESSAGES_WHOLE = {
    **MESSAGE_START,
    "stop_reason": "tool_use",
    "usage": {**MESSAGE_START["usage"], "output_tokens": 17},
    "content": [
        {"type": "thinking", "thinking": "Hmm, ja.", "signature": "SIG=="},
        {"type": "redacted_thinking", "data": "opaque"},
        {"type": "text", "text": "Grüße 🗼", "citations": [CITATION]},
        {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"a": 2, "b": 1}},
        {"type": "tool_use", "id": "toolu_2", "name": "go", "input": {}},
    ],
    "hypereal": HYPEREAL,
}
RESPONSES_USAGE = {
    "input_tokens": 20,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens": 9,
    "total_tokens": 29,
}
REASONING = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "Hmm, ja."}],
    "encrypted_content": "ENC==",
}
MESSAGE = {
    "id": "m_1",
    "type": "message",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": "Grüße 🗼", "annotations": []}],
}
FUNCTION = {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "look", "arguments": '{"at":"5"}'}
CUSTOM = {"id": "ct_1", "type": "custom_tool_call", "call_id": "call_2", "name": "patch", "input": "diff"}
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "model": "gpt-5-5",
    "status": "in_progress",
    "output": [],
    "error": None,
}
RESPONSES_WHOLE = {
    **RESPONSE,
    "status": "completed",
    "output": [REASONING, MESSAGE, FUNCTION, CUSTOM],
    "usage": RESPONSES_USAGE,
    "hypereal": HYPEREAL,
}


def item(index: int, kind: str, value: Any) -> dict[str, Any]:
    """Return a response.output_item event."""
    return {"type": f"response.output_item.{kind}", "output_index": index, "item": value}


def piece(index: int, kind: str, text: str) -> dict[str, Any]:
    """Return a delta event of ``kind``."""
    return {"type": f"response.{kind}.delta", "output_index": index, "content_index": 0, "delta": text}


_RESPONSES: tuple[Any, ...] = (
    {"type": "response.created", "response": RESPONSE},
    {"type": "response.in_progress", "response": RESPONSE},
    item(0, "added", {**REASONING, "summary": [], "encrypted_content": ""}),
    piece(0, "reasoning_summary_text", "Hmm, "),
    piece(0, "reasoning_summary_text", "ja."),
    item(0, "done", REASONING),
    item(1, "added", {**MESSAGE, "status": "in_progress", "content": []}),
    {"type": "response.content_part.added", "output_index": 1, "part": {"type": "output_text", "text": ""}},
    ": ping\n\n",
    piece(1, "output_text", "Grüße "),
    piece(1, "output_text", "🗼"),
    {"type": "response.output_text.done", "output_index": 1, "text": "Grüße 🗼"},
    item(1, "done", MESSAGE),
    item(2, "added", {**FUNCTION, "arguments": ""}),
    piece(2, "function_call_arguments", '{"at":'),
    piece(2, "function_call_arguments", '"5"}'),
    item(2, "done", FUNCTION),
    item(3, "added", {**CUSTOM, "input": ""}),
    item(3, "done", CUSTOM),
    {"type": "response.completed", "response": RESPONSES_WHOLE},
)
RESPONSES = tuple(
    {**value, "sequence_number": n} if isinstance(value, dict) else value for n, value in enumerate(_RESPONSES)
)
STREAMS = {
    "chat": events(*CHAT),
    "messages": events(*MESSAGES, named=True),
    "responses": events(*(value for value in RESPONSES if isinstance(value, dict)), named=True),
}
"""One long stream per surface."""
WHOLE = {"chat": CHAT_WHOLE, "messages": MESSAGES_WHOLE, "responses": RESPONSES_WHOLE}
"""The unstreamed answer that says the same."""
