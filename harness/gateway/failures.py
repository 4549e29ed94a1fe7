"""What went wrong with an upstream, told by its cause, and what follows from it; it retries nothing itself."""

from __future__ import annotations

import math
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import httpx
import orjson

from harness.contract import Contract
from harness.gateway.errors import Refusal

TRANSPORT_ERRORS = (httpx.HTTPError, httpx.StreamError, OSError)
"""What a transport raises when the upstream fails. Anything else is an error of ours, and not caught as one of its."""

TIMEOUTS = ("connect_timeout", "read_timeout", "write_timeout", "pool_timeout")

Move = Literal["retry", "leave", "return"]
"""What follows: another try of this target, the next target at once, or the answer goes back to the client."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed attempt. ``kind`` is its cause in a word; ``counts`` says whether the path's circuit hears of it."""

    kind: str
    move: Move = "retry"
    counts: bool = True
    status: int | None = None
    retry_after_s: float | None = None
    message: str = ""

    @property
    def timed_out(self) -> bool:
        """Whether the upstream took too long."""
        return self.kind in TIMEOUTS


class AttemptFailed(Exception):  # noqa: N818 - carries a failure, is none of ours
    """An attempt ended with ``failure``."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.kind)
        self.failure = failure


class UpstreamRefusal(Refusal):
    """An upstream's answer that the request is the client's own fault: it comes back with the status it had."""

    def __init__(self, name: str, message: str, status: int, type_: str) -> None:
        super().__init__(name, message)
        self.status = status
        self.type = type_


_BAD_REQUEST = ("bad_request", "invalid_request_error")
_CLIENT_FAULTS: Mapping[int, tuple[str, str]] = {
    409: ("conflict", "conflict_error"),
    413: ("too_large", "request_too_large"),
}
"""Code and type of a client's fault by its status; any other is a bad request."""


def failure_of(error: BaseException) -> str:
    """Return the cause of a transport's exception: refused, tls, unreachable, reset, cut, protocol, or a timeout."""
    match error:
        case httpx.ConnectTimeout():
            return "connect_timeout"
        case httpx.ReadTimeout():
            return "read_timeout"
        case httpx.WriteTimeout():
            return "write_timeout"
        case httpx.PoolTimeout():
            return "pool_timeout"
        case httpx.TimeoutException() | TimeoutError():
            return "read_timeout"
        case httpx.RemoteProtocolError():
            return "cut"
        case httpx.ConnectError():
            causes = tuple(_causes(error))
            if any(isinstance(cause, ssl.SSLError) for cause in causes):
                return "tls"
            if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
                return "refused"
            if any(isinstance(cause, ConnectionResetError) for cause in causes):
                return "reset"
            return "unreachable"
        case ssl.SSLError():
            return "tls"
        case ConnectionRefusedError():
            return "refused"
        case httpx.NetworkError() | ConnectionError():
            return "reset"
        case OSError():
            return "unreachable"
    return "protocol"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


class FailureClassifier:
    """Says of each way an attempt can fail what follows from it, by the contract's failover rules."""

    def __init__(self, contract: Contract) -> None:
        self._client_faults = frozenset(contract.failover.client_fault_statuses)
        self._target_faults = frozenset(contract.failover.target_fault_statuses)
        self._types = frozenset(row.type for row in contract.errors)

    def of_exception(self, error: BaseException) -> Failure:
        """Return what a transport's exception means: the target is tried again."""
        return Failure(failure_of(error), counts=not isinstance(error, httpx.PoolTimeout))

    def of_status(self, status: int, headers: Mapping[str, str], body: bytes, wall_s: float) -> Failure:
        """Return what an answer that is no success means, by its status."""
        if status in self._client_faults:
            return Failure("client_fault", "return", counts=False, status=status, message=message_in(body))
        if status in self._target_faults:
            return Failure("target_fault", "leave", status=status)
        if status in (408, 429) or status >= 500:
            return Failure("status", status=status, retry_after_s=retry_after_s(headers, wall_s))
        return Failure("unexpected_status", "leave", status=status)

    def of_answer(self, kind: str) -> Failure:
        """Return what a success means that is none: empty, cut, malformed, wrong_type, error_object, error_event."""
        return Failure(kind)

    def refusal_of(self, failure: Failure) -> Refusal:
        """Return the client's answer to a failure that is its own fault."""
        status = failure.status or 400
        name, type_ = _CLIENT_FAULTS.get(status, _BAD_REQUEST)
        if type_ not in self._types:  # every error type is one of the contract's
            type_ = _BAD_REQUEST[1]
        return UpstreamRefusal(name, failure.message or "the provider refused the request as invalid", status, type_)


def message_in(body: bytes) -> str:
    """Return the message of a provider's error body, or the empty string."""
    try:
        value: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    error = value.get("error") if isinstance(value, dict) else None
    message = error.get("message") if isinstance(error, dict) else error
    return message if isinstance(message, str) else ""


def retry_after_s(headers: Mapping[str, str], wall_s: float) -> float | None:
    """Return how long an upstream asks to wait: retry-after-ms, or retry-after in seconds or as an HTTP date."""
    for name, unit_s in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        text = headers.get(name, "").strip()
        if not text:
            continue
        try:
            seconds = float(text) * unit_s
        except ValueError:
            try:
                seconds = parsedate_to_datetime(text).timestamp() - wall_s
            except (ValueError, TypeError):
                continue
        if math.isfinite(seconds):
            return max(seconds, 0.0)
    return None
