"""Mutants that take bad input for good, good input for bad, or take harm from it (ERR-05)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from harness.contract import Contract
from harness.gateway.asgi import Client
from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.errors import Refusal
from harness.gateway.pipeline import Pipeline
from harness.gateway.reader import RequestReader
from harness.gateway.redact import Redactor
from harness.gateway.surfaces.chat import Chat
from harness.mutants.registry import mutant
from harness.mutants.swaps import with_surface


@mutant(breaks="ERR-05")
def fails_on_a_body_that_is_no_json(parts: Components) -> Components:
    """Answers 500 to a body that it cannot parse."""

    class Fragile(RequestReader):
        def parse(self, raw: bytes) -> dict[str, Any]:
            try:
                return super().parse(raw)
            except Refusal as refusal:
                raise Refusal("internal", refusal.message) from None

    return _with_reader(parts, Fragile)


@mutant(breaks="ERR-05")
def repairs_bad_utf8(parts: Components) -> Components:
    """Puts a replacement character where a body is not UTF-8, and goes on."""

    class Mending(RequestReader):
        def parse(self, raw: bytes) -> dict[str, Any]:
            return super().parse(raw.decode("utf-8", "replace").encode())

    return _with_reader(parts, Mending)


@mutant(breaks="ERR-05")
def reads_json_under_any_content_type(parts: Components) -> Components:
    """Takes a body for JSON whatever it says of itself."""

    class Lax(RequestReader):
        def check_media(self, client: Client) -> None:
            pass

    return _with_reader(parts, Lax)


@mutant(breaks="ERR-05")
def reads_forms_as_json(parts: Components) -> Components:
    """Takes what command line tools send by default, a form, for JSON."""

    class Lax(RequestReader):
        def check_media(self, client: Client) -> None:
            if client.header("content-type") != "application/x-www-form-urlencoded":
                super().check_media(client)

    return _with_reader(parts, Lax)


@mutant(breaks="ERR-05")
def takes_a_bound_of_any_type(parts: Components) -> Components:
    """Leaves it to the upstream what to make of a bound on the output that is no number, on chat."""

    class Lax(Chat):
        def check(self, body: Mapping[str, Any]) -> None:
            super().check({name: field for name, field in body.items() if name not in self.output_fields})

        def output_tokens(self, body: Mapping[str, Any]) -> int | None:
            bound = super().output_tokens(body)
            return bound if type(bound) is int and bound > 0 else None

    return with_surface(parts, Lax())


@mutant(breaks="ERR-05")
def takes_one_byte_too_many(parts: Components) -> Components:
    """Lets a body of one byte more than the limit in."""
    return _with_sizes(parts, lambda sizes: replace(sizes, body_bytes=sizes.body_bytes + 1))


@mutant(breaks="ERR-05")
def takes_one_byte_too_few(parts: Components) -> Components:
    """Refuses a body of exactly the limit."""
    return _with_sizes(parts, lambda sizes: replace(sizes, body_bytes=sizes.body_bytes - 1))


@mutant(breaks="ERR-05")
def takes_one_level_too_many(parts: Components) -> Components:
    """Lets a body in that nests one level deeper than the limit."""
    return _with_sizes(parts, lambda sizes: replace(sizes, nesting=sizes.nesting + 1))


@mutant(breaks="ERR-05")
def takes_its_time_over_bad_input(parts: Components) -> Components:
    """Lets whoever sends a bad body wait before it says so."""

    class Slow(Pipeline):
        async def refuse(self, parts: Components, call: Call, refusal: Refusal) -> None:
            if refusal.name == "bad_request":
                await asyncio.sleep(parts.contract.timeouts.bad_input_ms / 1e3 + 0.001)
            await super().refuse(parts, call, refusal)

    return replace(parts, pipeline=Slow())


@mutant(breaks="ERR-05")
def keeps_a_broken_body_for_the_next_call(parts: Components) -> Components:
    """Leaves what it could not parse in its buffer, in front of the next request."""

    class Sticky(RequestReader):
        def __init__(self, contract: Contract, redactor: Redactor) -> None:
            super().__init__(contract, redactor)
            self._left = b""

        async def receive(self, client: Client) -> bytes:
            left, self._left = self._left, b""
            return left + await super().receive(client)

        def parse(self, raw: bytes) -> dict[str, Any]:
            try:
                return super().parse(raw)
            except Refusal as refusal:
                self._left = raw[:1] if "is not JSON" in refusal.message else b""
                raise

    return _with_reader(parts, Sticky)


def _with_reader(parts: Components, reader: type[RequestReader]) -> Components:
    return replace(parts, reader=reader(parts.contract, parts.redactor))


def _with_sizes(parts: Components, change: Callable[[Any], Any]) -> Components:
    other = replace(parts.contract, sizes=change(parts.contract.sizes))
    return replace(parts, reader=RequestReader(other, parts.redactor))
