"""HTTP as uvicorn shows it to an ASGI application and writes it for one; nothing here waits or sends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import lru_cache
from http import HTTPStatus
from operator import itemgetter
from typing import Any, NamedTuple
from urllib.parse import unquote

import httpx

Scope = dict[str, Any]
Event = dict[str, Any]
Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[object]]
Headers = list[tuple[bytes, bytes]]

_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection"})
PHRASES = dict.fromkeys(range(100, 600), b"") | {status.value: status.phrase.encode() for status in HTTPStatus}

_name, _value, _name_and_value = itemgetter(0), itemgetter(1), itemgetter(1, 2)
_CONTROLS = bytes((*range(0x20), 0x7F))


def _changing(unlawful: bytes) -> bytes:
    """Return a table for bytes.translate that leaves only texts without ``unlawful`` bytes as they are.

    That takes a tenth of the time of a regular expression's search.
    """
    return bytes.maketrans(unlawful, b"\xff" * len(unlawful))


_REQUEST_VALUES = _changing(b"\x00\n\x0b\x0c\r")
_NAMES = _changing(_CONTROLS + b'()<>@,;:[]={} \\"')
_VALUES = _changing(_CONTROLS.replace(b"\t", b""))


class WireHeaders(httpx.Headers):
    """Headers that are bytes already, names in lower case: httpx would look at each again, at the cost of the hop.

    Most are read as they are, ``raw``: the form in which httpx holds them is made when something asks for it.
    """

    def __init__(self, pairs: Headers) -> None:
        self._pairs = pairs
        self._encoding = None

    def __getattr__(self, name: str) -> Any:
        if name != "_list":
            raise AttributeError(name)
        made = self._list = [(name, name, value) for name, value in self._pairs]
        return made

    @property
    def raw(self) -> Headers:
        return super().raw if "_list" in self.__dict__ else self._pairs.copy()


class WireResponse(httpx.Response):
    """A response as httpx has it whose body is to be read straight from ``answer``, and closed there."""

    def __init__(self, status: int, headers: Headers, answer: httpx.AsyncByteStream, request: httpx.Request) -> None:
        # What httpx's own constructor leaves behind for these arguments, which it would look at and copy.
        self.status_code = status
        self.headers = WireHeaders(headers)
        self.stream = answer
        self.extensions = {"http_version": b"HTTP/1.1", "reason_phrase": PHRASES[status]}
        self.history = []
        self.next_request = None
        self.is_closed = False
        self.is_stream_consumed = False
        self.default_encoding = "utf-8"
        self._request = request
        self._num_bytes_downloaded = 0

    async def aclose(self) -> None:
        """Close the body, which does not fail when it is closed."""
        if not self.is_closed:
            self.is_closed = True
            assert isinstance(self.stream, httpx.AsyncByteStream)
            await self.stream.aclose()


def request_headers(request: httpx.Request) -> Headers:
    """Return the headers with lower-case names. Raises httpx.LocalProtocolError for a value that h11 does not send."""
    headers = list(map(_name_and_value, request.headers._list))
    values = list(map(_value, headers))
    joined = b"".join(values)
    # All at once, and one by one only to find the culprit: a call costs more than the bytes.
    if joined.translate(_REQUEST_VALUES) != joined or b"".join(map(bytes.strip, values)) != joined:
        for value in values:
            if value.strip(b" \t").translate(_REQUEST_VALUES) != value:
                raise httpx.LocalProtocolError(f"Illegal header value {value!r}", request=request)
    return headers


class Target(NamedTuple):
    """What a URL asks of whom, as uvicorn shows it."""

    scheme: str
    address: str
    path: str
    raw_path: bytes
    query: bytes
    server: tuple[str, int]


@lru_cache(maxsize=1024)
def target_of(reference: Any) -> Target:
    """Return the target of a URL, given by what httpx holds in it: to look a URL itself up costs more than this."""
    url = httpx.URL()
    url._uri_reference = reference
    scheme = url.scheme
    raw_path, _, query = url.raw_path.partition(b"?")
    path = raw_path.decode("ascii")
    server = ("127.0.0.1", url.port or (443 if scheme == "https" else 80))
    return Target(scheme, url.host, unquote(path) if "%" in path else path, raw_path, query, server)


def http_scope(
    method: str, target: Target, headers: Headers, client_port: int, state: dict[str, Any], connection: object
) -> Scope:
    """Return the scope that uvicorn makes of a request on loopback, and the connection as an extension."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": target.scheme,
        "path": target.path,
        "raw_path": target.raw_path,
        "query_string": target.query,
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", client_port),
        "server": target.server,
        "state": state.copy(),
        "extensions": {"harness.connection": connection},
    }


def response_headers(headers: Iterable[tuple[bytes, bytes]]) -> tuple[Headers, tuple[int, ...]]:
    """Return the headers with lower-case names, and where those stand that decide how the body is framed.

    Raises RuntimeError for a header that uvicorn does not write.
    """
    pairs = list(headers)
    values = b"".join(map(_value, pairs))
    if values.translate(_VALUES) != values:
        raise RuntimeError("Invalid HTTP header value.")
    names = tuple(map(_name, pairs))
    lower, framing = _response_names(names)
    if lower != names:
        pairs = [(name, value) for name, (_, value) in zip(lower, pairs, strict=True)]
    return pairs, framing


@lru_cache(maxsize=1024)
def _response_names(names: tuple[bytes, ...]) -> tuple[tuple[bytes, ...], tuple[int, ...]]:
    """Return ``names`` in lower case, and the places of the framing ones: the same names come with every answer."""
    joined = b"".join(names)
    if joined.translate(_NAMES) != joined:
        raise RuntimeError("Invalid HTTP header name.")
    lower = tuple(name.lower() for name in names)
    return lower, tuple(place for place, name in enumerate(lower) if name in _FRAMING)
