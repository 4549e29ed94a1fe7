"""HTTP as uvicorn shows it to an ASGI application and writes it for one; nothing here waits or sends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

import httpx

Scope = dict[str, Any]
Event = dict[str, Any]
Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[object]]
Headers = list[tuple[bytes, bytes]]

PHRASES = dict.fromkeys(range(100, 600), b"") | {status.value: status.phrase.encode() for status in HTTPStatus}

# Bytes that may not occur, as bytes.translate takes them: a tenth of the cost of a regular expression's search.
_CONTROLS = bytes((*range(0x20), 0x7F))
_NOT_IN_REQUEST_VALUES = b"\x00\n\x0b\x0c\r"
_NOT_IN_NAMES = _CONTROLS + b'()<>@,;:[]={} \\"'
_NOT_IN_VALUES = _CONTROLS.replace(b"\t", b"")


class WireHeaders(httpx.Headers):
    """Headers that are bytes already: httpx would look at each name and value again, at the cost of the whole hop."""

    def __init__(self, pairs: Headers) -> None:
        self._list = [(name, name.lower(), value) for name, value in pairs]
        self._encoding = None


def request_headers(request: httpx.Request) -> Headers:
    """Return the headers with lower-case names. Raises httpx.LocalProtocolError for a value that h11 does not send."""
    headers = [(name, value) for _, name, value in request.headers._list]
    values = b"".join([value for _, value in headers])
    legal = values.translate(None, _NOT_IN_REQUEST_VALUES) == values  # all at once: a call costs more than the bytes
    for _, value in headers:
        if value.strip(b" \t") != value or not (legal or value.translate(None, _NOT_IN_REQUEST_VALUES) == value):
            raise httpx.LocalProtocolError(f"Illegal header value {value!r}", request=request)
    return headers


def http_scope(
    request: httpx.Request, headers: Headers, client_port: int, state: dict[str, Any], connection: object
) -> Scope:
    """Return the scope that uvicorn makes of ``request`` on loopback, and the connection as an extension."""
    url = request.url
    scheme = url.scheme
    raw_path, _, query = url.raw_path.partition(b"?")
    path = raw_path.decode("ascii")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": scheme,
        "path": unquote(path) if "%" in path else path,
        "raw_path": raw_path,
        "query_string": query,
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", client_port),
        "server": ("127.0.0.1", url.port or (443 if scheme == "https" else 80)),
        "state": state.copy(),
        "extensions": {"harness.connection": connection},
    }


def check_response_headers(headers: Headers) -> None:
    """Raise RuntimeError for a header that uvicorn does not write."""
    names = b"".join([name for name, _ in headers])
    if names.translate(None, _NOT_IN_NAMES) != names:
        raise RuntimeError("Invalid HTTP header name.")
    values = b"".join([value for _, value in headers])
    if values.translate(None, _NOT_IN_VALUES) != values:
        raise RuntimeError("Invalid HTTP header value.")
