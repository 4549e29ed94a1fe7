"""How the gateway says no: one exception that names a row of the contract's error table; it knows no status."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Refusal(Exception):  # noqa: N818 - an answer, not a failure
    """A call is answered with the contract's error row ``name``.

    ``headers`` (lower case) go with the answer, ``fields`` into its error object.
    """

    def __init__(
        self,
        name: str,
        message: str,
        *,
        headers: Mapping[str, str] = _NOTHING,
        fields: Mapping[str, Any] = _NOTHING,
    ) -> None:
        super().__init__(message)
        self.name = name
        self.message = message
        self.headers = headers
        self.fields = fields

    def __repr__(self) -> str:
        return f"Refusal({self.name!r}, {self.message!r})"
