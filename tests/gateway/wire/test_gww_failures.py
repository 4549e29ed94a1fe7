"""What a failed attempt was and what follows from it, by exception and by status."""

from __future__ import annotations

import ssl
from typing import Any

import httpx
import pytest
from gww_bench import EPOCH_S

from harness.contract.loader import load_contract
from harness.gateway.failures import FailureClassifier, failure_of, message_in, retry_after_s


def caused(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (httpx.ConnectTimeout("x"), "connect_timeout"),
        (httpx.ReadTimeout("x"), "read_timeout"),
        (httpx.WriteTimeout("x"), "write_timeout"),
        (httpx.PoolTimeout("x"), "pool_timeout"),
        (TimeoutError(), "read_timeout"),
        (httpx.ConnectError("x"), "unreachable"),
        (caused(httpx.ConnectError("x"), ConnectionRefusedError()), "refused"),
        (caused(httpx.ConnectError("x"), caused(OSError(), ConnectionRefusedError())), "refused"),
        (caused(httpx.ConnectError("x"), ssl.SSLError()), "tls"),
        (caused(httpx.ConnectError("x"), ConnectionResetError()), "reset"),
        (httpx.ReadError("x"), "reset"),
        (httpx.WriteError("x"), "reset"),
        (httpx.RemoteProtocolError("x"), "cut"),
        (httpx.LocalProtocolError("x"), "protocol"),
        (httpx.UnsupportedProtocol("x"), "protocol"),
        (httpx.DecodingError("x"), "protocol"),
        (ConnectionRefusedError(), "refused"),
        (ConnectionResetError(), "reset"),
        (ssl.SSLError(), "tls"),
        (OSError("no route"), "unreachable"),
    ],
)
def test_a_transports_exception_is_told_by_its_cause(error: Exception, kind: str) -> None:
    assert failure_of(error) == kind


@pytest.mark.parametrize(
    ("status", "kind", "move", "counts"),
    [
        (400, "client_fault", "return", False),
        (409, "client_fault", "return", False),
        (413, "client_fault", "return", False),
        (422, "client_fault", "return", False),
        (401, "target_fault", "leave", True),
        (402, "target_fault", "leave", True),
        (403, "target_fault", "leave", True),
        (404, "target_fault", "leave", True),
        (408, "status", "retry", True),
        (429, "status", "retry", True),
        (500, "status", "retry", True),
        (503, "status", "retry", True),
        (529, "status", "retry", True),
        (302, "unexpected_status", "leave", True),
        (418, "unexpected_status", "leave", True),
    ],
)
def test_a_status_says_what_follows(status: int, kind: str, move: str, counts: bool) -> None:
    failure = FailureClassifier(load_contract()).of_status(status, {}, b"", EPOCH_S)
    assert (failure.kind, failure.move, failure.counts, failure.status) == (kind, move, counts, status)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "Thu, 01 Jan 2026 00:01:00 GMT"}, 60.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "?", "retry-after": "7"}, 7.0),
    ],
)
def test_retry_after_is_read_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, EPOCH_S) == seconds


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error": {"message": "no"}}', "no"),
        (b'{"error": "no"}', "no"),
        (b'{"error": {"message": 7}}', ""),
        (b"[]", ""),
        (b"<html>", ""),
        (b"", ""),
    ],
)
def test_a_providers_message_is_found_or_missing(body: bytes, message: str) -> None:
    assert message_in(body) == message


@pytest.mark.parametrize(
    ("status", "type_"), [(400, "invalid_request_error"), (413, "request_too_large"), (422, "invalid_request_error")]
)
def test_a_clients_fault_comes_back_with_its_status(status: int, type_: str) -> None:
    classifier = FailureClassifier(load_contract())
    refusal: Any = classifier.refusal_of(classifier.of_status(status, {}, b'{"error":{"message":"too odd"}}', 0))
    assert (refusal.status, refusal.type, refusal.message) == (status, type_, "too odd")


def test_every_type_of_a_returned_error_is_one_of_the_contracts() -> None:
    contract = load_contract()
    classifier = FailureClassifier(contract)
    for status in contract.failover.client_fault_statuses:
        refusal: Any = classifier.refusal_of(classifier.of_status(status, {}, b"", 0))
        assert refusal.type in {row.type for row in contract.errors}
        assert refusal.message
