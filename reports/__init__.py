"""Renders a run folder's record for people and for CI; it decides no verdict and adds nothing that is not recorded."""

from __future__ import annotations

from pathlib import Path

from reports.record import ReportError

__all__ = ["ReportError", "render_all"]


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
    for name, text in rendered.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    return [folder / name for name in rendered]
