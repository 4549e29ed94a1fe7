"""Text of users as parts of SQL, where no parameter can stand; it knows no tables."""

from __future__ import annotations


def literal(text: str) -> str:
    """Return ``text`` as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """Return ``name`` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
