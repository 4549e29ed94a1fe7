"""Renders a run folder's record for people and for CI; it decides no verdict and adds nothing that is not recorded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from reports.record import ReportError

__all__ = ["ReportError", "render_all", "render_bench", "render_limiter", "render_power"]


def render_all(folder: Path) -> list[Path]:
    """Write ``junit.xml``, ``summary.md`` and ``report.html`` into ``folder`` from its ``verdict.json``; return them.

    Histories below the folder feed the report's timelines and figures, and are named as not recorded where they are
    missing. The same folder renders to the same bytes. Raises ReportError if ``verdict.json`` is missing or is no
    record of a judgement, OSError if a file cannot be written.
    """
    from reports.histories import Histories
    from reports.junit import junit
    from reports.page import page
    from reports.record import load
    from reports.summary import summary

    record = load(folder)
    rendered = {
        "junit.xml": junit(record),
        "summary.md": summary(record),
        "report.html": page(record, Histories(record)),
    }
    return _write(folder, rendered)


def render_power(folder: Path) -> list[Path]:
    """Write ``power.md``, ``power.svg`` and ``power.html`` into ``folder`` from its ``power.json``; return them.

    The same record renders to the same bytes. Raises ReportError if ``power.json`` is missing or is no such record,
    OSError if a file cannot be written.
    """
    from reports.power import load_power, power_markdown, power_page
    from reports.power_figure import kill_matrix, standalone

    record = load_power(folder)
    figure = kill_matrix(record)
    return _write(
        folder,
        {
            "power.md": power_markdown(record),
            "power.svg": standalone(figure),
            "power.html": power_page(record, figure),
        },
    )


def render_bench(folder: Path) -> list[Path]:
    """Write ``bench.md`` and ``bench.html`` into ``folder`` from its ``bench.json``; return them.

    The same record renders to the same bytes. Raises ReportError if ``bench.json`` is missing or is no such record,
    OSError if a file cannot be written.
    """
    from reports.bench import bench_markdown, bench_page, load_bench

    record = load_bench(folder)
    return _write(folder, {"bench.md": bench_markdown(record), "bench.html": bench_page(record)})


def render_limiter(folder: Path) -> list[Path]:
    """Write ``limiter.html`` into ``folder`` from its ``limiter.json``; return it, and what tells of it besides.

    That is the report of a run whose ``verdict.json`` is there too. The same record renders to the same bytes. Raises
    ReportError if ``limiter.json`` is missing or is no such record, OSError if a file cannot be written.
    """
    from reports.limiter import limiter_page, load_limiter

    page = _write(folder, {"limiter.html": limiter_page(load_limiter(folder))})
    return [*page, *(render_all(folder) if (folder / "verdict.json").is_file() else ())]


def _write(folder: Path, rendered: Mapping[str, str]) -> list[Path]:
    for name, text in rendered.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    return [folder / name for name in rendered]
