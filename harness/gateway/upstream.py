"""Builds what goes to an upstream, and reads its answer piece by piece; it neither sends nor judges."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from functools import lru_cache
from typing import Any

import httpx

from harness.contract import ChainTarget, Contract
from harness.gateway.asgi import Headers
from harness.gateway.call import Call
from harness.gateway.deployment import Deployment
from harness.gateway.failures import TRANSPORT_ERRORS
from harness.gateway.surfaces import Surface

ANTHROPIC_VERSION = b"2023-06-01"
"""What an Anthropic upstream is told when the client names no version: it serves nobody without one."""
_BETA_QUERY = b"beta=true"
_CREDENTIALS = (("anthropic", b"x-api-key", b""), ("openai", b"authorization", b"Bearer "))
"""The header that carries the gateway's credential in each dialect, and what goes before it there."""


class UpstreamRequests:
    """The client's request made the gateway's own: another model id, other credentials, nothing else changed."""

    def __init__(self, contract: Contract, deployment: Deployment, surfaces: Mapping[str, Surface]) -> None:
        dropped = contract.lawful.dropped_headers
        self._dropped = frozenset(name.encode() for name in dropped if not name.endswith("*"))
        self._dropped_prefixes = tuple(name[:-1].encode() for name in dropped if name.endswith("*"))
        seeds = deployment.upstreams
        self._urls = {
            (role, surface.name): getattr(seed, surface.dialect) + surface.upstream_path
            for role, seed in seeds.items()
            for surface in surfaces.values()
        }
        self._credentials = {
            (role, dialect): (name, scheme + seed.credential.encode())
            for role, seed in seeds.items()
            for dialect, name, scheme in _CREDENTIALS
        }
        times = contract.timeouts
        silence_s = times.silence_ms / 1e3
        self._timeouts = {
            "connect": times.connect_ms / 1e3,
            "read": silence_s,
            "write": silence_s,
            "pool": times.connect_ms / 1e3,
        }

    def build(self, call: Call, target: ChainTarget) -> httpx.Request:
        """Return the request of ``call`` to ``target``. KeyError for a role that the deployment does not have."""
        url, body = self.url(call, target), self.body(call, target)
        headers = self.headers(call, target)
        headers += (_host(self._urls[target.role, call.surface.name]), (b"content-length", b"%d" % len(body)))
        return _Request(url, headers, body, {"timeout": self._timeouts})

    def url(self, call: Call, target: ChainTarget) -> httpx.URL:
        """Return where the call goes. Of the client's query only the Anthropic clients' ``beta=true`` goes with it."""
        url = _url(self._urls[target.role, call.surface.name])
        if call.client.query == _BETA_QUERY and call.surface.dialect == "anthropic":
            return url.copy_with(query=_BETA_QUERY)
        return url

    def body(self, call: Call, target: ChainTarget) -> bytes:
        """Return the body as the upstream gets it, made once per upstream model."""
        model = target.upstream_model
        if call.sent[0] != model:
            call.sent = (model, call.surface.upstream_body(call.body, model))
        return call.sent[1]

    def headers(self, call: Call, target: ChainTarget) -> Headers:
        """Return the client's headers without what must not go upstream, and with the gateway's own credential."""
        own = self.credential(call, target)
        dropped, prefixes = self._dropped, self._dropped_prefixes
        if b"connection" in call.client.headers:
            dropped |= self._hop_by_hop(call)
        kept = [
            (name, value)
            for name, value in call.client.raw_headers
            if name not in dropped and not name.startswith(prefixes)
        ]
        values = b"\n".join([value for _, value in kept])
        for secret in call.secrets:
            if secret in values:
                kept = [(name, value) for name, value in kept if secret not in value]
        kept.append(own)
        if call.surface.dialect == "anthropic" and b"anthropic-version" not in call.client.headers:
            kept.append((b"anthropic-version", ANTHROPIC_VERSION))
        return kept

    def credential(self, call: Call, target: ChainTarget) -> tuple[bytes, bytes]:
        """Return the header that tells the upstream who the gateway is."""
        return self._credentials[target.role, call.surface.dialect]

    def _hop_by_hop(self, call: Call) -> frozenset[bytes]:
        """Return the headers that the client's Connection header names as meant for this hop alone."""
        named = call.client.headers.get(b"connection", b"")
        return frozenset(name.strip().lower() for name in named.split(b","))


@lru_cache(maxsize=1024)
def _url(text: str) -> httpx.URL:
    return httpx.URL(text)


@lru_cache(maxsize=1024)
def _host(url: str) -> tuple[bytes, bytes]:
    return (b"host", _url(url).netloc)


@lru_cache(maxsize=1024)
def _media_type(content_type: bytes) -> str:
    return content_type.partition(b";")[0].strip().lower().decode("latin-1")


class _Headers(httpx.Headers):
    """Headers that are bytes with names in lower case already: httpx would look at each again."""

    def __init__(self, pairs: Headers) -> None:
        self._list = [(name, name, value) for name, value in pairs]
        self._encoding = None


class _Request(httpx.Request):
    """A POST with all its parts given: httpx would find nothing to add, and take longer than all that builds them."""

    def __init__(self, url: httpx.URL, headers: Headers, body: bytes, extensions: dict[str, Any]) -> None:
        self.method = "POST"
        self.url = url
        self.headers = _Headers(headers)
        self.extensions = extensions
        self.stream = httpx.ByteStream(body)
        self._content = body


class UpstreamAnswer:
    """An upstream's answer whose head is there."""

    __slots__ = ("_encoded", "_response", "media_type", "status")

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.status = response.status_code
        self.media_type = ""
        self._encoded = False
        for _, name, value in response.headers._list:  # the name as it came, in lower case, and the value
            if name == b"content-type":
                self.media_type = _media_type(value)
            elif name == b"content-encoding":
                self._encoded = True

    @property
    def headers(self) -> Mapping[str, str]:
        """The head's headers, by name."""
        return self._response.headers

    @property
    def is_events(self) -> bool:
        """Whether the body says that it is a stream of events."""
        return self.media_type == "text/event-stream"

    @property
    def is_json(self) -> bool:
        """Whether the body says that it is JSON."""
        return self.media_type == "application/json" or self.media_type.endswith("+json")

    def chunks(self) -> AsyncGenerator[bytes, None]:
        """Return the body as it arrives. It raises what the transport raises, httpx.DecodingError for a bad encoding.

        Straight from the transport, where nothing is to be decoded: httpx's own iteration adds two layers to each
        chunk. Whatever iterates there can be closed, be it a generator or the stream itself.
        """
        response: Any = self._response
        chunks: AsyncGenerator[bytes, None] = response.aiter_bytes() if self._encoded else aiter(response.stream)
        return chunks

    async def body(self, limit: int) -> bytes | None:
        """Return the whole body, or None if it is longer than ``limit`` bytes."""
        parts: list[bytes] = []
        size = 0
        chunks = self.chunks()
        try:
            async for chunk in chunks:
                size += len(chunk)
                if size > limit:
                    return None
                parts.append(chunk)
        finally:
            await chunks.aclose()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def close(self) -> None:
        """End the exchange: the connection goes back to its pool, or is closed if there is more to come."""
        stream: Any = self._response.stream
        try:
            await stream.aclose()  # the response's own way there would name its request in an error, which nobody reads
        except TRANSPORT_ERRORS:
            return  # how a connection dies after it was of use is nobody's concern
