"""The reader's limit of nesting: it counts levels, whatever brackets there are beside them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from gw_support import CONTRACT

from harness.gateway.deployment import Deployment
from harness.gateway.errors import Refusal
from harness.gateway.reader import RequestReader
from harness.gateway.redact import Redactor

LEVELS = 6


def reader() -> RequestReader:
    contract = replace(CONTRACT, sizes=replace(CONTRACT.sizes, nesting=LEVELS))
    return RequestReader(contract, Redactor(Deployment((), {}, "", 0.0, 0)))


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": %s1%s}' % (b"[" * (LEVELS - 1), b"]" * (LEVELS - 1)),
        b'{"a": [{"b": [{"c": [1]}]}]}',
        b'{"a": "%s"}' % (b"[{" * 500),
        b'{"a": [%s], "b": [%s]}' % (b", ".join([b"[]"] * 50), b", ".join([b"{}"] * 50)),
    ],
)
def test_a_body_within_the_limit_is_read_whatever_else_it_has_of_brackets(body: bytes) -> None:
    assert reader().parse(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": %s1%s}' % (b"[" * LEVELS, b"]" * LEVELS),
        b'{"a": ' * LEVELS + b"{}" + b"}" * LEVELS,
        b'{"a": [{"b": [{"c": [{}]}]}]}',
        b'{"z": "%s", "a": [{"b": [{"c": [[]]}]}]}' % (b"{" * 500),
    ],
)
def test_a_body_of_one_level_more_is_refused(body: bytes) -> None:
    with pytest.raises(Refusal, match=f"deeper than {LEVELS}"):
        reader().parse(body)
