"""The realistic run folder, rendered once for all tests that only read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from reports import render_all
from tests.reports.folders import write_run
from tests.reports.parsed import Element, parse


@pytest.fixture(scope="package")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with every outcome and two histories, rendered."""
    folder = write_run(tmp_path_factory.mktemp("run") / "1")
    render_all(folder)
    return folder


@pytest.fixture(scope="package")
def html(rendered: Path) -> str:
    return (rendered / "report.html").read_text("utf-8")


@pytest.fixture(scope="package")
def page(html: str) -> Element:
    return parse(html)
