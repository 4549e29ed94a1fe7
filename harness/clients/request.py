"""Builds the HTTP request of a planned call, marker and credentials in their places; it sends nothing.

The marker (``[call:c17 chunks=50 ttft=0.05]``) stands at the start of the user's text: prompts survive every gateway,
headers and unknown fields do not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import orjson

from harness.clients import chat, images, messages, responses
from harness.contract import Contract
from harness.scenario import Auth, Call, Reply

USER_AGENT = "llm-gateway-harness"
ANTHROPIC_VERSION = "2023-06-01"
_ID = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_FILLER = "lorem ipsum dolor sit amet consectetur adipiscing elit "
_DEFAULT_PROMPT = "Say something short."
_PATHS: Mapping[tuple[str, str], str] = {
    ("chat", "managed"): "/v1/managed/chat/completions",
    ("chat", "general"): "/api/v1/chat/completions",
    ("messages", "managed"): "/v1/managed/messages",
    ("messages", "general"): "/api/v1/messages",
    ("responses", "managed"): "/v1/managed/responses",
    ("responses", "general"): "/api/v1/responses",
    ("images", "managed"): "/v1/managed/images/generations",
    ("images", "general"): "/api/v1/images/generations",
    ("count_tokens", "managed"): "/v1/managed/messages/count_tokens",
    ("count_tokens", "general"): "/api/v1/messages/count_tokens",
    ("models", "managed"): "/v1/managed/models",
    ("models", "general"): "/api/v1/models",
}
_BODIES: Mapping[str, tuple[Callable[[Call, str, Contract], dict[str, Any]], str]] = {
    "chat": (chat.body, "messages"),
    "messages": (messages.body, "messages"),
    "count_tokens": (messages.count_body, "messages"),
    "responses": (responses.body, "input"),
    "images": (images.body, "prompt"),
}
_FIRST_HEADERS = (("accept", "application/json"), ("accept-encoding", "identity"), ("user-agent", USER_AGENT))
_KEY_PREFIX = "ck_"
_CREDENTIAL_HEADERS = frozenset({"authorization", "x-api-key", "anthropic-api-key", "x-goog-api-key", "cookie"})


@dataclass(slots=True)  # not frozen: to make a frozen one costs three times as much, and each call has one
class Request:
    """One request, ready to send. ``credentials`` are the secrets in it, which no record may hold."""

    method: str
    path: str
    query: str
    headers: list[tuple[str, str]] = field(repr=False)
    body: bytes = field(repr=False)
    credentials: tuple[str, ...] = field(default=(), repr=False)


class Requests:
    """Builds requests under one contract. Most calls of a load differ in their ids alone: the rest is made once."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._around = lru_cache(maxsize=64)(self._body_around)

    def build(self, call: Call, secret: str, other_secret: str = "") -> Request:
        """Build the request of ``call`` with its key's ``secret``, and that of its ``other_key`` if it has one.

        ``call.fields`` replace the built ones; the value ``...`` leaves a field out. Raises ValueError for a surface or
        tier without a path, for ``prompt_bytes`` that are too few, or that find no prompt to pad.
        """
        path, _, query = path_of(call).partition("?")
        headers, credentials = _headers(call, secret, other_secret)
        return Request(call.method, path, query, headers, self._body(call), credentials)

    def _body(self, call: Call) -> bytes:
        if call.fields or call.body is not None or call.surface not in _BODIES:
            return _body(call, self._contract)
        name = _name(call)
        try:
            before, after = self._around(
                call.surface, call.tier, call.model, call.stream, call.max_tokens, call.prompt, call.prompt_bytes,
                call.reply, len(name),
            )  # fmt: skip
        except ValueError:
            return _body(call, self._contract)  # which raises it for this very call
        return b"".join((before, name.encode(), after))

    def _body_around(
        self,
        surface: str,
        tier: Literal["managed", "general"],
        model: str,
        stream: bool,
        max_tokens: int | None,
        prompt: str,
        prompt_bytes: int,
        reply: Reply,
        length: int,
    ) -> tuple[bytes, bytes]:
        """Return what is before and behind the name in the marker of a call whose name has this ``length``."""
        name = "c" * length
        call = Call(
            surface, model, id=name, tier=tier, stream=stream, max_tokens=max_tokens, prompt=prompt,
            prompt_bytes=prompt_bytes, reply=reply,
        )  # fmt: skip
        before, opened, after = _body(call, self._contract).partition(b"[call:")
        return before + opened, after.removeprefix(name.encode())


def build(call: Call, *, secret: str, contract: Contract, other_secret: str = "") -> Request:
    """Build a single request, as ``Requests`` does."""
    return Requests(contract).build(call, secret, other_secret)


def credentials_of(call: Call, secret: str, other_secret: str = "") -> tuple[str, ...]:
    """Return the secrets in the request of ``call``, as ``build`` makes it."""
    return _headers(call, secret, other_secret)[1]


def path_of(call: Call) -> str:
    """Return the path that ``call`` asks, with its query if it has one. Raises ValueError if it has none."""
    path = call.path or _PATHS.get((call.surface, call.tier), "")
    if not path.startswith("/"):
        raise ValueError(f"call {call.id}: no path for surface {call.surface!r} of tier {call.tier!r}, path {path!r}")
    return path


def marker(call: Call) -> str:
    """Return the marker of ``call`` with the directives of its reply that differ from the upstream's own defaults.

    Cache reads and writes are told where they are asked for, or where ``input`` fixes what is counted; else the
    upstream's own prompt cache decides. Raises ValueError for an id that no marker can carry.
    """
    return f"[call:{_name(call)}{_directives(call.reply)}]"


def _name(call: Call) -> str:
    name = call.marks or call.id
    if not _ID.fullmatch(name):
        raise ValueError(f"call id {name!r}: an id is 1 to 128 letters, digits, '.', '_' and '-'")
    return name


@lru_cache(maxsize=4096)
def _directives(reply: Reply) -> str:
    counted = reply.input is not None
    said = {
        "chunks": None if reply.chunks == 4 else reply.chunks,
        "ttft": _seconds(reply.ttft_ms) if reply.ttft_ms else None,
        "gap": _seconds(reply.gap_ms) if reply.gap_ms else None,
        "in": reply.input,
        "cached": reply.cached if counted or reply.cached else None,
        "written": reply.written if counted or reply.written else None,
        "out": reply.output,
        "reasoning": reply.reasoning or None,
        "shape": None if reply.shape == "text" else reply.shape,
    }
    return "".join(f" {name}={value}" for name, value in said.items() if value is not None)


def _seconds(value_ms: float) -> str:
    return f"{value_ms / 1e3:.6f}".rstrip("0").rstrip(".")


def _body(call: Call, contract: Contract) -> bytes:
    if call.body is not None:
        if call.prompt_bytes:
            raise ValueError(f"call {call.id}: prompt_bytes says how long a built body is, and its body is given")
        return call.body
    if call.surface not in _BODIES:
        return b""
    make, prompt_field = _BODIES[call.surface]
    lead = f"{marker(call)} "
    value = make(call, lead + (call.prompt or _DEFAULT_PROMPT), contract)
    marked = True
    if call.fields:
        for name, given in call.fields.items():
            if given is ...:
                value.pop(name, None)
            else:
                value[name] = given
        if prompt_field in call.fields:
            bare = value.get(prompt_field)
            led = _led(bare, lead)
            marked = led is not bare
            if marked:
                value[prompt_field] = led
    body = orjson.dumps(value)
    if not call.prompt_bytes:
        return body
    missing = call.prompt_bytes - len(body)
    if missing < 0 or not marked:
        why = f"it has {len(body)} bytes before any padding" if marked else "its body has no prompt text"
        raise ValueError(f"call {call.id}: cannot pad to {call.prompt_bytes} bytes: {why}")
    # Nothing in marker and filler is written otherwise in JSON: the filler goes in where the text goes on.
    before, found, after = body.partition(lead.encode())
    assert found
    return b"".join((before, found, _filler(missing), after))


@lru_cache(maxsize=64)
def _filler(length: int) -> bytes:
    return (_FILLER * (length // len(_FILLER) + 1))[:length].encode()


def _led(prompt: Any, lead: str) -> Any:
    """Return ``prompt`` with ``lead`` before the text of its last user turn (of its last turn with text, if no user).

    Nothing is changed in place; what has no text comes back as the very same object.
    """
    if isinstance(prompt, str):
        return lead + prompt
    if not isinstance(prompt, list | tuple):
        return prompt
    turns = list(prompt)
    last_first = range(len(turns) - 1, -1, -1)
    users = [n for n in last_first if isinstance(turns[n], Mapping) and turns[n].get("role") == "user"]
    for n in (*users, *last_first):
        if isinstance(turns[n], Mapping):
            for name in ("content", "text", "output", "input"):
                inner = turns[n].get(name)
                led = _led(inner, lead)
                if led is not inner:
                    turns[n] = {**turns[n], name: led}
                    return turns
    return prompt


def _headers(call: Call, secret: str, other_secret: str) -> tuple[list[tuple[str, str]], tuple[str, ...]]:
    """Return the headers of ``call``, and the secrets in them."""
    if call.secret is not None:
        secret = call.secret
    elif call.bare_key:
        secret = secret.removeprefix(_KEY_PREFIX)
    content_type = "" if call.method in ("GET", "HEAD") else call.content_type
    last, credentials = _last_headers(content_type, call.surface, call.auth, secret, other_secret)
    headers = [*_FIRST_HEADERS, ("x-client-request-id", call.id), *last]
    if call.headers:
        given = {name.lower() for name in call.headers}
        headers = [header for header in headers if header[0] not in given]
        headers.extend(call.headers.items())
        credentials = _credentials(headers)
    return headers, credentials


@lru_cache(maxsize=1024)
def _last_headers(
    content_type: str, surface: str, auth: Auth | tuple[Auth, ...], secret: str, other_secret: str
) -> tuple[list[tuple[str, str]], tuple[str, ...]]:
    headers = [("content-type", content_type)] if content_type else []
    if surface in ("messages", "count_tokens"):
        headers.append(("anthropic-version", ANTHROPIC_VERSION))
    forms = (auth,) if isinstance(auth, str) else auth
    for n, form in enumerate(forms, 1):
        carried = other_secret if other_secret and n == len(forms) > 1 else secret
        if form == "bearer":
            headers.append(("authorization", f"Bearer {carried}"))
        elif form != "none":
            headers.append((form, carried))
    return headers, _credentials(headers)


def _credentials(headers: list[tuple[str, str]]) -> tuple[str, ...]:
    found: list[str] = []
    for name, value in headers:
        if name.lower() in _CREDENTIAL_HEADERS:
            secret = value.removeprefix("Bearer ")
            if secret and secret not in found:
                found.append(secret)
    return tuple(found)
