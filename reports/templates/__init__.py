"""The templates and how they are read; what they show is decided elsewhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

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

        made.filters.update(cell=summary.cell, code=summary.code, brief=summary.brief)
    return made


def html(template: str, context: Mapping[str, Any]) -> str:
    """Return a page from ``template``, with the style and the script that all pages share, which nothing else may run.

    ``context`` has a ``head`` (see ``base.html.j2``) and ``sections``, the anchors and titles of its navigation.
    """
    script = asset("report.js").strip()
    dress = {
        "script": Markup(script),  # noqa: S704 - our own file
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "css": Markup(asset("report.css")),  # noqa: S704 - our own file
    }
    return environment().get_template(template).render({**context, **dress}).lstrip()


def asset(name: str) -> str:
    """Return the text of a file beside the templates."""
    return (_FOLDER / name).read_text(encoding="utf-8")
