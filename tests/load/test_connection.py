"""The generator's HTTP client over real sockets: what arrives when and how it ends, whatever the server does."""

from __future__ import annotations

import errno
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import count
from typing import Any

import pytest

from harness.clients import Request, build
from harness.clients.exchange import Exchange
from harness.contract import load_contract
from harness.load.connection import Connection, Pool
from harness.scenario import Call, chat

BODY = (
    b'{"id":"x","object":"chat.completion","model":"m","choices":[{"index":0,"finish_reason":"stop","message":'
    b'{"role":"assistant","content":"hi"}}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}'
)
JSON = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
WHOLE = JSON + b"content-length: %d\r\n\r\n" % len(BODY) + BODY
EVENT = b'data: {"model":"m","choices":[{"index":0,"delta":{"content":"\xe2\x80\x82hi"}}]}\n\n'
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


@contextmanager
def answering(*answers: Sequence[bytes], reset: bool = False) -> Iterator[tuple[str, list[int]]]:
    """Serve one answer after the other, piece by piece; yield the address, and which connection took each request.

    A connection is closed after an answer that ends in an empty piece, or reset.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    taken: list[int] = []
    left = list(answers)

    def serve() -> None:
        for number in count():
            if not left:
                return
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                while left:
                    request = b""
                    while not request.endswith(b"}"):
                        data = connection.recv(1 << 16)
                        if not data:
                            break
                        request += data
                    if not request:
                        break
                    taken.append(number)
                    pieces = left.pop(0)
                    for piece in pieces:
                        connection.sendall(piece)
                    if pieces and not pieces[-1]:
                        if reset:
                            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        break

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", taken
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # whoever was not asked waits no more
        listener.close()
        thread.join(5)


def asked_once(call: Call, url: str) -> dict[str, Any]:
    with closing(Pool(url)) as pool:
        return asked(call, pool)


def asked(call: Call, pool: Pool) -> dict[str, Any]:
    request = build(call, secret="ck_secretsecret", contract=load_contract())
    clock = count(0, 10)
    exchange = Exchange(call, lambda: next(clock))
    pool.perform(request, exchange)
    return exchange.finished("a-key", len(request.body), request.credentials)[0]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ([WHOLE], "ok"),
        ([WHOLE[n : n + 1] for n in range(len(WHOLE))], "ok"),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", WHOLE], "ok"),
        ([JSON + b"\r\n" + BODY, b""], "ok"),  # no framing: it ends where the connection does
        ([JSON + b"transfer-encoding: chunked\r\n\r\n" + chunk(BODY[:9]), chunk(BODY[9:]) + chunk(b"")], "ok"),
        ([WHOLE[:-5], b""], "cut"),
        ([b""], "cut"),
        ([b"SSH-2.0-OpenSSH\r\n", b""], "cut"),
        ([b"HTTP/1.1 429 Too Many\r\nretry-after: 3\r\ncontent-length: 0\r\n\r\n"], "refused"),
        ([b"HTTP/1.1 500 Oops\r\ncontent-length: 2\r\n\r\n{}"], "error"),
        ([STREAM + chunk(EVENT) + chunk(b"data: [DONE]\n\n") + chunk(b"")], "ok"),
        ([STREAM + chunk(EVENT) + chunk(b""), b""], "cut"),  # a clean end without the terminal event
        ([STREAM + chunk(EVENT), b""], "cut"),
    ],
)
def test_an_answer_is_told_as_what_it_is(answer: list[bytes], outcome: str) -> None:
    with answering(answer) as (url, _):
        assert asked_once(chat("m", id="s1"), url)["outcome"] == outcome


def test_a_reset_is_a_cut_and_says_after_what() -> None:
    with answering([STREAM + chunk(EVENT), b""], reset=True) as (url, _):
        span = asked_once(chat("m", id="s1", stream=True), url)
    assert span["outcome"] == "cut"
    assert "after 1 chunks" in span["detail"] or "before the head" in span["detail"]


def test_the_first_token_has_the_instant_at_which_it_came_whatever_is_split() -> None:
    half = EVENT.index(b"\x80")
    pieces = [STREAM, chunk(EVENT[:half]), chunk(EVENT[half:]), chunk(b"data: [DONE]\n\n") + chunk(b"")]
    with answering(pieces) as (url, _):
        span = asked_once(chat("m", id="s1", stream=True), url)
    assert span["reading"]["text"] == "\u2002hi"
    assert span["first_byte"] < span["first_content"] < span["end"]
    assert span["first_content"] == span["chunks"][1]


def test_a_connection_is_used_again_after_a_whole_answer_and_never_after_another() -> None:
    closing = JSON + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY
    with answering([WHOLE], [WHOLE], [WHOLE[:-5], b""], [closing, b""], [WHOLE]) as (url, taken):
        pool = Pool(url)
        outcomes = [asked(chat("m", id="s1"), pool)["outcome"] for _ in range(5)]
        pool.close()
    assert outcomes == ["ok", "ok", "cut", "ok", "ok"]
    assert taken == [0, 0, 0, 1, 2]


@pytest.mark.parametrize("behind", [WHOLE, WHOLE[:9], JSON + b"content-length: 0\r\n\r\n" + WHOLE, b"garbage\r\n\r\n"])
def test_what_comes_behind_an_answer_is_no_part_of_any_call_and_ends_the_connection(behind: bytes) -> None:
    with answering([WHOLE + behind], [WHOLE]) as (url, taken), closing(Pool(url)) as pool:
        spans = [asked(chat("m", id=name), pool) for name in ("s1", "s2")]
        assert [(span["outcome"], span["answer_bytes"]) for span in spans] == [("ok", len(BODY))] * 2
    assert taken == [0, 1]


@pytest.mark.parametrize("late", [WHOLE, b""])
def test_what_comes_after_an_answer_was_read_ends_the_connection_too(late: bytes) -> None:
    ours, theirs = socket.socketpair()
    with theirs, closing(Connection(ours)) as connection:
        for _ in range(2):
            theirs.sendall(WHOLE)
            exchange = Exchange(chat("m", id="s1"), lambda: 0)
            assert connection.read(exchange)
            assert exchange.raw == [BODY]
            assert connection.quiet()
        theirs.sendall(late)
        theirs.shutdown(socket.SHUT_WR)
        assert not connection.quiet()


def test_each_address_of_a_name_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        nobody = listener.getsockname()
    told = socket.getaddrinfo

    def two(host: str, port: int, **more: Any) -> list[Any]:
        ((*how, there),) = told(host, port, **more)
        return [(*how, nobody), (*how, there)]

    monkeypatch.setattr(socket, "getaddrinfo", two)
    with answering([WHOLE]) as (url, _):
        assert asked_once(chat("m", id="s1"), url)["outcome"] == "ok"


def test_a_credential_that_comes_back_is_in_no_span() -> None:
    body = BODY.replace(b"hi", b"ck_secretsecret")
    with answering([JSON + b"content-length: %d\r\n\r\n" % len(body) + body]) as (url, _):
        span = asked_once(chat("m", id="s1"), url)
    assert "ck_secretsecret" not in str(span)
    assert span["claims"]["leaked"] is True


def test_nobody_there_is_a_cut_before_the_head() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    span = asked_once(chat("m", id="s1"), f"http://127.0.0.1:{port}")
    assert (span["outcome"], span["detail"]) == ("cut", "ConnectionRefusedError before the head")


def test_a_machine_without_sockets_is_the_generators_own_shortcoming(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object) -> socket.socket:
        raise OSError(errno.EMFILE, "Too many open files")

    with closing(Pool("http://127.0.0.1:9")) as pool:
        monkeypatch.setattr(socket, "socket", none_left)
        span = asked(chat("m", id="s1"), pool)
        assert (span["outcome"], pool.starved) == ("cut", 1)


@pytest.mark.parametrize("address", ["ftp://x", "http://", "gateway"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="no address"):
        Pool(address)


def test_the_request_goes_out_below_the_address_as_it_was_built() -> None:
    pool = Pool("http://127.0.0.1:9/base/")
    sent = pool._message(Request("POST", "/v1/x", "a=1", [("x-client-request-id", "s1")], b"{}"))
    assert sent == (
        b"POST /base/v1/x?a=1 HTTP/1.1\r\nhost: 127.0.0.1:9\r\nx-client-request-id: s1\r\ncontent-length: 2\r\n\r\n{}"
    )
