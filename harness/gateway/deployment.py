"""What a running gateway is given besides the contract, parsed strictly; of secrets it holds digests."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar
from urllib.parse import urlsplit

KEY_STATES = ("active", "disabled", "expired", "suspended")


@dataclass(frozen=True)
class KeySeed:
    """An API key: its id, the sha256 of its secret in hex, and its state."""

    id: str
    sha256: str
    state: str


@dataclass(frozen=True)
class AccountSeed:
    """A customer: the credits it opens with, and its keys."""

    id: str
    credits: int
    keys: tuple[KeySeed, ...]


@dataclass(frozen=True)
class UpstreamSeed:
    """Where a role of the chains is reached, by dialect, and the gateway's own credential there."""

    openai: str
    anthropic: str
    credential: str


@dataclass(frozen=True)
class Deployment:
    """Accounts, upstreams by role, the digest of the books' token, and the run's zero (loop clock and wall time)."""

    accounts: tuple[AccountSeed, ...]
    upstreams: Mapping[str, UpstreamSeed]
    books_token_sha256: str
    zero_s: float
    epoch_s: int

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Deployment:
        """Return the deployment that ``data`` describes. Raises ValueError, which lists every problem."""
        problems: list[str] = []
        at = _Reader("", data, cls, problems)
        made = cls(
            accounts=tuple(_account(item) for item in at.each("accounts", AccountSeed)),
            upstreams={role: _upstream(item) for role, item in at.named("upstreams", UpstreamSeed).items()},
            books_token_sha256=at.sha256("books_token_sha256"),
            zero_s=at.seconds("zero_s"),
            epoch_s=at.whole("epoch_s"),
        )
        problems += _repeated("account id", [account.id for account in made.accounts])
        problems += _repeated("key id", [key.id for account in made.accounts for key in account.keys])
        problems += _repeated("key digest", [key.sha256 for account in made.accounts for key in account.keys])
        if problems:
            raise ValueError("\n  ".join(["the deployment has problems:", *problems]))
        return made


def _account(at: _Reader) -> AccountSeed:
    return AccountSeed(at.text("id"), at.whole("credits"), tuple(_key(item) for item in at.each("keys", KeySeed)))


def _key(at: _Reader) -> KeySeed:
    return KeySeed(at.text("id"), at.sha256("sha256"), at.one_of("state", KEY_STATES))


def _upstream(at: _Reader) -> UpstreamSeed:
    return UpstreamSeed(at.url("openai"), at.url("anthropic"), at.text("credential"))


def _repeated(what: str, values: list[str]) -> list[str]:
    return [f"{what} {value!r} is used twice" for value in dict.fromkeys(values) if value and values.count(value) > 1]


T = TypeVar("T")


class _Reader:
    """One JSON object with the fields of ``cls``: notes what is wrong and reads on with an empty value."""

    def __init__(self, path: str, data: object, cls: type[Any], problems: list[str]) -> None:
        self._path = path
        self._problems = problems
        names = [field.name for field in fields(cls)]
        self._values: Mapping[str, Any] = data if isinstance(data, Mapping) else {}
        if not isinstance(data, Mapping):
            problems.append(f"{path or 'the whole'}: expected an object, found {_shown(data)}")
            return
        problems += [f"{self._at(name)}: missing" for name in names if name not in data]
        problems += [f"{self._at(name)}: unknown; known are {', '.join(names)}" for name in data if name not in names]

    def text(self, name: str) -> str:
        return self._checked(name, "a non-empty string", lambda value: isinstance(value, str) and value != "", "")

    def one_of(self, name: str, choices: tuple[str, ...]) -> str:
        return self._checked(name, f"one of {', '.join(choices)}", lambda value: value in choices, "")

    def sha256(self, name: str) -> str:
        def is_digest(value: object) -> bool:
            return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None

        return self._checked(name, "a sha256 in 64 lower-case hex digits", is_digest, "")

    def url(self, name: str) -> str:
        return self._checked(name, "an http or https URL without a final slash", _is_base_url, "")

    def whole(self, name: str) -> int:
        return self._checked(name, "a whole number", lambda value: type(value) is int, 0)

    def seconds(self, name: str) -> float:
        def is_finite(value: object) -> bool:
            return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type] # numbers by now

        return self._checked(name, "a number of seconds", is_finite, 0.0)

    def each(self, name: str, cls: type[Any]) -> list[_Reader]:
        """Return a reader for each element of a list of ``cls`` objects."""
        values: Any = self._checked(name, "a list", lambda value: isinstance(value, list | tuple), [])
        return [_Reader(f"{self._at(name)}[{index}]", value, cls, self._problems) for index, value in enumerate(values)]

    def named(self, name: str, cls: type[Any]) -> dict[str, _Reader]:
        """Return a reader for each value of an object whose values are ``cls`` objects."""
        values: Any = self._checked(name, "an object", lambda value: isinstance(value, Mapping), {})
        return {key: _Reader(f"{self._at(name)}.{key}", value, cls, self._problems) for key, value in values.items()}

    def _checked(self, name: str, wanted: str, ok: Callable[[Any], bool], empty: T) -> T:
        if name not in self._values:
            return empty
        value: T = self._values[name]
        if ok(value):
            return value
        self._problems.append(f"{self._at(name)}: expected {wanted}, found {_shown(value)}")
        return empty

    def _at(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name


def _is_base_url(value: object) -> bool:
    if not isinstance(value, str) or value.endswith("/"):
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query and not parts.fragment


def _shown(value: object) -> str:
    # Only numbers are quoted: a secret in the wrong place must not end up in an error message.
    return repr(value) if value is None or isinstance(value, int | float) else f"a {type(value).__name__}"
