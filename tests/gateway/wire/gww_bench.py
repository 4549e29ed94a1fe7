"""A bench for the gateway's wire: the whole gateway in virtual time, scripted upstreams behind it, raw ASGI before."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson

from harness.contract import Contract
from harness.contract.loader import load_contract
from harness.gateway.app import build, create_app
from harness.gateway.components import Components
from harness.gateway.deployment import AccountSeed, Deployment, KeySeed, UpstreamSeed
from harness.gateway.entropy import KeyedEntropy
from harness.gateway.memory_store import MemoryStore
from harness.sim.loop import run
from tests.gateway.pages import told

ROLES = ("primary", "second", "third")
SECRET = "ck_alice_0123456789abcdef"
OTHER_SECRET = "ck_alice_second_key_98765"
BOB_SECRET = "ck_bob_0123456789abcdef"
BOOKS_TOKEN = "books-token"
EPOCH_S = 1_767_225_600

MANAGED_CHAT = "/v1/managed/chat/completions"
MANAGED_MESSAGES = "/v1/managed/messages"
MANAGED_RESPONSES = "/v1/managed/responses"
GENERAL_CHAT = "/api/v1/chat/completions"


@dataclass(frozen=True)
class Reply:
    """What an upstream does with one attempt.

    ``parts``: bytes are sent, numbers are seconds of silence, exceptions are raised. ``refuse`` is raised instead of a
    head, after ``head_after_s``.
    """

    status: int = 200
    content_type: str = "application/json"
    parts: tuple[bytes | float | Exception, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    head_after_s: float = 0.0
    refuse: Exception | None = None


@dataclass
class Attempt:
    """An attempt as the upstream saw it, times in seconds of the run."""

    role: str
    request: httpx.Request
    start_s: float
    end_s: float = math.nan
    complete: bool = False

    @property
    def body(self) -> dict[str, Any]:
        value: dict[str, Any] = orjson.loads(self.request.content)
        return value


class Upstreams(httpx.AsyncBaseTransport):
    """Upstreams that answer by a script: the replies given per role, in order, the last one for ever."""

    def __init__(self, **scripts: Reply | Sequence[Reply]) -> None:
        self.scripts = {
            role: list(script) if isinstance(script, Sequence) else [script] for role, script in scripts.items()
        }
        self.attempts: list[Attempt] = []

    @property
    def roles(self) -> list[str]:
        """The roles that were tried, in order."""
        return [attempt.role for attempt in self.attempts]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        loop = asyncio.get_running_loop()
        role = request.url.host.partition(".")[0]
        script = self.scripts.get(role) or self.scripts["primary"]
        reply = script[0] if len(script) == 1 else script.pop(0)
        attempt = Attempt(role, request, loop.time())
        self.attempts.append(attempt)
        try:
            read_s = request.extensions["timeout"]["read"]
            await _silence(reply.head_after_s, read_s)
            if reply.refuse is not None:
                raise reply.refuse
        except BaseException:
            attempt.end_s = loop.time()
            raise
        headers = {"content-type": reply.content_type, **reply.headers}
        return httpx.Response(reply.status, headers=headers, stream=_Body(reply, attempt, read_s), request=request)


class _Body(httpx.AsyncByteStream):
    def __init__(self, reply: Reply, attempt: Attempt, read_s: float) -> None:
        self._reply = reply
        self._attempt = attempt
        self._read_s = read_s

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._reply.parts:
            if isinstance(part, bytes):
                yield part
            elif isinstance(part, Exception):
                raise part
            else:
                await _silence(part, self._read_s)
        self._attempt.complete = True

    async def aclose(self) -> None:
        self._attempt.end_s = asyncio.get_running_loop().time()


async def _silence(seconds: float, limit_s: float) -> None:
    if seconds > limit_s:
        await asyncio.sleep(limit_s)
        raise httpx.ReadTimeout("nothing came")
    if seconds:
        await asyncio.sleep(seconds)


@dataclass
class Heard:
    """What a client heard: status, headers, and each piece of the body with its time in seconds."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    pieces: list[tuple[float, bytes]] = field(default_factory=list)
    complete: bool = False

    @property
    def body(self) -> bytes:
        return b"".join(piece for _, piece in self.pieces)

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = self.json["error"]
        return error

    @property
    def events(self) -> list[str]:
        """The data of every event, pings and comments left out."""
        return [text for text in self.data if text != '{"type": "ping"}']

    @property
    def data(self) -> list[str]:
        return [line[6:].decode() for line in self.body.split(b"\n") if line.startswith(b"data: ")]


@dataclass
class Bench:
    """A gateway on its bench."""

    parts: Components
    app: Any
    upstreams: Upstreams
    store: MemoryStore
    lines: list[str]
    contract: Contract

    async def ask(
        self,
        path: str,
        body: Any = None,
        *,
        method: str = "POST",
        secret: str | None = SECRET,
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        leave_s: float | None = None,
        reads_slowly_s: float = 0.0,
        content_type: str | None = "application/json",
    ) -> Heard:
        """Send one request through raw ASGI; ``leave_s`` after it was sent its client goes away."""
        raw = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
        given = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
        if secret is not None:
            given.append(("authorization", f"Bearer {secret}"))
        if content_type is not None and method == "POST":
            given.append(("content-type", content_type))
        return await drive(self.app, path, raw, method, given, leave_s, reads_slowly_s)

    async def committed(self) -> None:
        """Wait until the books show all that happened."""
        await asyncio.sleep(1)

    def rows(self) -> list[Mapping[str, Any]]:
        return told(self.parts.usage_log.rows())

    def row(self) -> Mapping[str, Any]:
        """The one row of the usage log."""
        (row,) = self.rows()
        return row

    def entries(self, account: str | None = None) -> list[Mapping[str, Any]]:
        """The committed entries of the ledger."""
        return told(self.parts.ledger.entries(account))

    def kinds(self, account: str = "alice") -> list[str]:
        """The kinds of the account's ledger entries, the opening one left out."""
        return [entry["kind"] for entry in self.entries(account)][1:]

    def free_slots(self, model_id: str = "gpt-5-5") -> int:
        model = self.contract.model("enterprise", model_id)
        assert model is not None
        return self.parts.governor._slots_of(model).remaining


async def drive(
    app: Any,
    path: str,
    raw: bytes,
    method: str = "POST",
    headers: Sequence[tuple[str, str]] = (),
    leave_s: float | None = None,
    reads_slowly_s: float = 0.0,
) -> Heard:
    """Send one request to an ASGI app as uvicorn would, and return what its client heard."""
    loop = asyncio.get_running_loop()
    heard, left = Heard(), asyncio.Event()
    bare, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "path": bare,
        "raw_path": bare.encode(),
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
    }
    body = [{"type": "http.request", "body": raw, "more_body": False}]
    if leave_s is not None:
        loop.call_later(leave_s, left.set)

    async def receive() -> dict[str, Any]:
        if body:
            return body.pop()
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if left.is_set():
            return
        if reads_slowly_s:
            await asyncio.sleep(reads_slowly_s)
        if message["type"] == "http.response.start":
            assert not heard.status, "the head was sent twice"
            heard.status = message["status"]
            heard.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            assert heard.status, "the body came before the head"
            assert not heard.complete, "something came after the end"
            if message.get("body"):
                heard.pieces.append((loop.time(), message["body"]))
            heard.complete = not message.get("more_body", False)
            if heard.complete:
                left.set()  # uvicorn tells a handler of a disconnect as soon as its answer is complete

    await app(scope, receive, send)
    return heard


def bench(
    test: Callable[[Bench], Awaitable[Any]],
    upstreams: Upstreams,
    *,
    overlay: Mapping[str, Any] | None = None,
    credits: int = 100_000,
    change: Callable[[Components], Components] = lambda parts: parts,
    commit_s: float = 0.001,
    until_us: int = 10**10,
) -> Any:
    """Run ``test`` against a fresh gateway in virtual time and return what it returns."""
    contract = load_contract(overlays=[overlay] if overlay else [])

    async def main() -> Any:
        lines: list[str] = []
        store = MemoryStore(lambda n: commit_s)
        parts = change(
            build(
                contract,
                deployment(credits),
                store=store,
                entropy=KeyedEntropy(1),
                transport=upstreams,
                log=lines.append,
            )
        )
        await parts.start()
        made = Bench(parts, create_app(parts), upstreams, store, lines, contract)
        result = await test(made)
        await asyncio.sleep(60)
        return result

    return run(main(), until_us=until_us)


def deployment(credits: int = 100_000) -> Deployment:
    return Deployment(
        accounts=(
            AccountSeed(
                "alice",
                credits,
                (
                    KeySeed("alice-1", _digest(SECRET), "active"),
                    KeySeed("alice-2", _digest(OTHER_SECRET), "active"),
                    KeySeed("alice-off", _digest("ck_disabled_key"), "disabled"),
                    KeySeed("alice-old", _digest("ck_expired_key"), "expired"),
                    KeySeed("alice-bad", _digest("ck_suspended_key"), "suspended"),
                ),
            ),
            AccountSeed("bob", 100_000, (KeySeed("bob-1", _digest(BOB_SECRET), "active"),)),
        ),
        upstreams={
            role: UpstreamSeed(
                f"http://{role}.upstream/run/{role}/openai",
                f"http://{role}.upstream/run/{role}/anthropic",
                f"up-{role}-xyz",
            )
            for role in ROLES
        },
        books_token_sha256=_digest(BOOKS_TOKEN),
        zero_s=0.0,
        epoch_s=EPOCH_S,
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# What upstreams say.


def data(*values: Any) -> bytes:
    """Events of the OpenAI kind."""
    return b"".join(b"data: " + (v.encode() if isinstance(v, str) else orjson.dumps(v)) + b"\n\n" for v in values)


def named(*values: Mapping[str, Any]) -> bytes:
    """Events of the Anthropic kind: named by their type."""
    return b"".join(b"event: %s\ndata: %s\n\n" % (v["type"].encode(), orjson.dumps(v)) for v in values)


def chat_usage(prompt: int = 1_000, completion: int = 200, **more: Any) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion, **more}


def chat_answer(text: str = "hello", usage: Any = ..., **more: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-5-5:us-east",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": chat_usage() if usage is ... else usage,
        **more,
    }


def chat_chunk(
    text: str | None = None, *, finish: str | None = None, usage: Any = None, choices: Any = ..., **more: Any
) -> dict[str, Any]:
    if choices is ...:
        delta = {"role": "assistant", "content": ""} if text is None and finish is None else {}
        if text is not None:
            delta = {"content": text}
        choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "gpt-5-5:us-east",
        "choices": choices,
        "usage": usage,
        **more,
    }


def chat_events(*words: str, usage: Any = ...) -> list[bytes]:
    """A whole lawful chat stream, one event each."""
    values: list[Any] = [chat_chunk(), *(chat_chunk(word) for word in words), chat_chunk(finish="stop")]
    values += [chat_chunk(choices=[], usage=chat_usage() if usage is ... else usage), "[DONE]"]
    return [data(value) for value in values]


def message_answer(text: str = "hello", usage: Any = ...) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-7:us-east",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1_000, "output_tokens": 200} if usage is ... else usage,
    }


def message_events(*words: str, usage: Any = ...) -> list[bytes]:
    """A whole lawful messages stream, one event each."""
    start = {
        **message_answer(),
        "content": [],
        "stop_reason": None,
        "usage": {"input_tokens": 1_000, "output_tokens": 1},
    }
    values: list[dict[str, Any]] = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": w}} for w in words),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 200} if usage is ... else usage,
        },
        {"type": "message_stop"},
    ]
    return [named(value) for value in values]


def response_answer(text: str = "hello", usage: Any = ...) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "error": None,
        "model": "gpt-5-5:us-east",
        "output": [
            {"type": "message", "id": "m1", "role": "assistant", "content": [{"type": "output_text", "text": text}]}
        ],
        "usage": {"input_tokens": 1_000, "output_tokens": 200, "total_tokens": 1_200} if usage is ... else usage,
    }


def response_events(*words: str, usage: Any = ...) -> list[bytes]:
    """A whole lawful responses stream, one event each."""
    early = {**response_answer(), "status": "in_progress", "output": [], "usage": None}
    values: list[dict[str, Any]] = [
        {"type": "response.created", "response": early},
        {"type": "response.in_progress", "response": early},
        {"type": "response.output_item.added", "output_index": 0, "item": {"type": "message", "id": "m1"}},
        *({"type": "response.output_text.delta", "item_id": "m1", "delta": word} for word in words),
        {"type": "response.output_item.done", "output_index": 0, "item": response_answer("".join(words))["output"][0]},
        {"type": "response.completed", "response": response_answer("".join(words), usage)},
    ]
    return [named({**value, "sequence_number": number}) for number, value in enumerate(values)]


def ok(answer: Mapping[str, Any], *, after_s: float = 0.0, **more: Any) -> Reply:
    """A whole JSON answer."""
    return Reply(parts=(orjson.dumps(answer),), head_after_s=after_s, **more)


def stream(*parts: bytes | float | Exception, **more: Any) -> Reply:
    """A stream of events, silences and failures."""
    return Reply(content_type="text/event-stream", parts=parts, **more)


def gapped(events: Sequence[bytes], gap_s: float) -> list[bytes | float]:
    """The events with a silence before each."""
    return [part for event in events for part in (gap_s, event)]


def status(code: int, message: str = "upstream trouble", **headers: str) -> Reply:
    """An error answer of a provider."""
    body = orjson.dumps({"error": {"message": message, "type": "server_error"}})
    return Reply(status=code, parts=(body,), headers={name.replace("_", "-"): value for name, value in headers.items()})


CHAT = {"model": "gpt-5-5", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 100}
MESSAGE = {"model": "claude-sonnet-4-7", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 100}
RESPONSE = {"model": "gpt-5-5", "input": "hi", "max_output_tokens": 100}
