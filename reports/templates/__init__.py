"""The templates and how they are read; what they show is decided elsewhere."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jinja2

_FOLDER = Path(__file__).parent


@lru_cache(maxsize=2)
def environment(*, markdown: bool = False) -> jinja2.Environment:
    """Return the templates' environment: HTML escaped throughout, or Markdown with its own filters."""
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER, encoding="utf-8"),
        autoescape=not markdown,  # noqa: S701 - Markdown is escaped by its own filters
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    if markdown:
        from reports import summary

        made.filters.update(cell=summary.cell, code=summary.code)
    return made


def asset(name: str) -> str:
    """Return the text of a file beside the templates."""
    return (_FOLDER / name).read_text(encoding="utf-8")
