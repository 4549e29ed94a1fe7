"""OpenAI responses: typed items, streamed and whole, and what a request of it asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from mock_upstreams.answer import Answer, Tokens, Wish
from mock_upstreams.normal import blank, digest, tidy
from mock_upstreams.parts import Chunk, Exchange
from mock_upstreams.providers.base import Problem, answer_of, field_problem, named_event
from mock_upstreams.providers.openai import OpenAI, chosen_tools, padding

_ECHOED: Mapping[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""Members of a response that repeat the request's, with what stands there if the request does not say."""

_RESULTS = ("function_call_output", "custom_tool_call_output")


class Responses(OpenAI):
    """POST /v1/responses."""

    surface = "responses"
    content = frozenset(
        {
            "response.output_text.delta",
            "response.reasoning_summary_text.delta",
            "response.function_call_arguments.delta",
        }
    )

    def problem(self, body: Mapping[str, Any]) -> Problem | None:
        found = field_problem(body, "model", str, "a string")
        if found:
            return found
        given = body.get("input")
        if given is None and not body.get("previous_response_id") and not body.get("prompt"):
            return Problem(400, "Missing required parameter: 'input'.", "input", "missing_required_parameter")
        if given is not None and not isinstance(given, str | list):
            return Problem(400, "Invalid type for 'input': expected a string or an array.", "input", "invalid_type")
        return field_problem(body, "stream", bool, "a boolean") if body.get("stream") else None

    def wish(self, body: Mapping[str, Any]) -> Wish:
        names, forced = chosen_tools(body)
        turns = self.turns(body)
        last = turns[-1] if turns else None
        return Wish(
            schema=_schema(body.get("text")),
            tools=names,
            forced=forced,
            told=isinstance(last, Mapping) and last.get("type") in _RESULTS,
            parallel=body.get("parallel_tool_calls") is not False,
        )

    def turns(self, body: Mapping[str, Any]) -> Sequence[Any]:
        given = body.get("input")
        return given if isinstance(given, list) else [given]

    def usage(self, tokens: Tokens) -> dict[str, Any]:
        prompt = tokens.input + tokens.cached + tokens.written
        return {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": tokens.cached, "cache_write_tokens": tokens.written},
            "output_tokens": tokens.output,
            "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
            "total_tokens": prompt + tokens.output,
        }

    def body(self, exchange: Exchange, answer: Answer) -> dict[str, Any]:
        return _response(exchange, answer, "completed", _items(answer), self.usage(answer.tokens))

    def events(self, exchange: Exchange, answer: Answer) -> list[Chunk]:
        """Created, in progress, each item from added to done with its deltas, completed."""
        log = _Log(padding(exchange.body))
        begun = _response(exchange, answer, "in_progress", [], None)
        log.add("response.created", response=begun)
        log.add("response.in_progress", response=begun)
        for index, item in enumerate(_items(answer)):
            _RENDER.get(item["type"], _plain)(log, index, item, answer)
        log.add("response.completed", response=self.body(exchange, answer))
        return log.chunks

    def said(self, exchange: Exchange, answer: Answer, *, streamed: bool) -> dict[str, Any]:
        return {
            **blank(),
            "text": answer.text,
            "thinking": answer.thinking,
            "signature": answer.signature,
            "tools": [{"id": f"call_{t.id}", "name": t.name, "arguments": t.arguments} for t in answer.tools],
            "finish": "completed",
            "usage": self.usage(answer.tokens),
            "terminal": True,
            "model": exchange.model,
            "items": digest([tidy(item) for item in _items(answer)]),
        }

    def error_event(self, exchange: Exchange, problem: Problem, *, failed: bool = False) -> Chunk:
        error = self.error_body(exchange, problem)["error"]
        code = error["code"] or "server_error"
        if failed:
            response = _response(exchange, answer_of(exchange), "failed", [], None)
            known = code if code in ("rate_limit_exceeded", "server_error") else "server_error"
            response["error"] = {"code": known, "message": error["message"]}
            value = {"type": "response.failed", "sequence_number": 0, "response": response}
        else:
            value = {"type": "error", "sequence_number": 0, "code": code, "message": error["message"]}
            value["param"] = error["param"]
        return named_event(value)


class _Log:
    """The events of one stream, numbered as they are added."""

    def __init__(self, pad: bytes) -> None:
        self.chunks: list[Chunk] = []
        self._pad = pad

    def add(self, kind: str, **members: Any) -> None:
        self.chunks.append(named_event({"type": kind, "sequence_number": len(self.chunks), **members}))

    def deltas(self, kind: str, texts: Sequence[str], *, logprobs: bool = False, **members: Any) -> None:
        """Add one event per text; made from a template, since there are many of them."""
        name = kind.encode()
        front = b"event: " + name + b'\ndata: {"type":"' + name + b'",' + orjson.dumps(members)[1:-1] + b',"delta":'
        back = (b',"logprobs":[]' if logprobs else b"") + self._pad + b"}\n\n"
        chunks, dumps = self.chunks, orjson.dumps
        for number, text in enumerate(texts, len(chunks)):
            chunks.append(Chunk(b'%b%b,"sequence_number":%d%b' % (front, dumps(text), number, back), kind))


def _message(log: _Log, index: int, item: dict[str, Any], answer: Answer) -> None:
    at = {"item_id": item["id"], "output_index": index, "content_index": 0}
    part = item["content"][0]
    log.add("response.output_item.added", output_index=index, item={**item, "status": "in_progress", "content": []})
    log.add("response.content_part.added", **at, part={**part, "text": ""})
    log.deltas("response.output_text.delta", answer.pieces, logprobs=True, **at)
    log.add("response.output_text.done", **at, text=part["text"], logprobs=[])
    log.add("response.content_part.done", **at, part=part)
    log.add("response.output_item.done", output_index=index, item=item)


def _reasoning(log: _Log, index: int, item: dict[str, Any], answer: Answer) -> None:
    at = {"item_id": item["id"], "output_index": index, "summary_index": 0}
    part = item["summary"][0]
    log.add("response.output_item.added", output_index=index, item={**item, "summary": [], "encrypted_content": ""})
    log.add("response.reasoning_summary_part.added", **at, part={**part, "text": ""})
    log.deltas("response.reasoning_summary_text.delta", answer.thoughts, **at)
    log.add("response.reasoning_summary_text.done", **at, text=part["text"])
    log.add("response.reasoning_summary_part.done", **at, part=part)
    log.add("response.output_item.done", output_index=index, item=item)


def _function_call(log: _Log, index: int, item: dict[str, Any], answer: Answer) -> None:
    at = {"item_id": item["id"], "output_index": index}
    tool = next(tool for tool in answer.tools if f"call_{tool.id}" == item["call_id"])
    log.add("response.output_item.added", output_index=index, item={**item, "status": "in_progress", "arguments": ""})
    log.deltas("response.function_call_arguments.delta", tool.fragments, **at)
    log.add("response.function_call_arguments.done", **at, arguments=tool.arguments)
    log.add("response.output_item.done", output_index=index, item=item)


def _plain(log: _Log, index: int, item: dict[str, Any], answer: Answer) -> None:
    log.add("response.output_item.added", output_index=index, item=item)
    log.add("response.output_item.done", output_index=index, item=item)


_RENDER = {"message": _message, "reasoning": _reasoning, "function_call": _function_call}


def _items(answer: Answer) -> list[dict[str, Any]]:
    return list(_each_item(answer))


def _each_item(answer: Answer) -> Iterator[dict[str, Any]]:
    if answer.thoughts:
        yield {
            "id": f"rs_{answer.slug}",
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": answer.thinking}],
            "encrypted_content": answer.signature,
        }
    if answer.unknown is not None:
        yield {"id": f"mk_{answer.slug}", "type": "mock_item", "status": "completed", "payload": answer.unknown}
    if answer.pieces:
        text = {"type": "output_text", "annotations": [], "logprobs": [], "text": answer.text}
        yield {
            "id": f"msg_{answer.slug}",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [text],
        }
    for tool in answer.tools:
        yield {
            "id": f"fc_{tool.id}",
            "type": "function_call",
            "status": "completed",
            "call_id": f"call_{tool.id}",
            "name": tool.name,
            "arguments": tool.arguments,
        }


def _response(
    exchange: Exchange, answer: Answer, status: str, output: list[dict[str, Any]], usage: dict[str, Any] | None
) -> dict[str, Any]:
    asked = exchange.body
    return {
        "id": f"resp_{answer.slug}",
        "object": "response",
        "created_at": answer.created,
        "status": status,
        "completed_at": answer.created if status == "completed" else None,
        "error": None,
        "incomplete_details": None,
        "model": exchange.model,
        "output": output,
        **{name: asked.get(name, usual) for name, usual in _ECHOED.items()},
        "usage": usage,
    }


def _schema(text: Any) -> Mapping[str, Any] | None:
    """Return the JSON Schema that the request asks for; an empty one for any JSON object; None for plain text."""
    wanted = text.get("format") if isinstance(text, Mapping) else None
    if not isinstance(wanted, Mapping):
        return None
    if wanted.get("type") == "json_schema":
        schema = wanted.get("schema")
        return schema if isinstance(schema, Mapping) else {}
    return {} if wanted.get("type") == "json_object" else None


RESPONSES = Responses()
