"""Fixtures of the tests on loopback."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.local.served import Served, serving


@pytest.fixture(scope="session")
def served() -> Iterator[Served]:
    with serving() as one:
        yield one


@pytest.fixture
def gateway(served: Served) -> Iterator[Served]:
    """The served gateway with healthy upstreams, before and after."""
    served.inject()
    yield served
    served.inject()
