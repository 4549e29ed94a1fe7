"""Fixtures of the audit's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.audit.foreign import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)
