"""What an error tells whoever runs the harness: what happened, why, and what to do. It knows nothing of the rest."""

from __future__ import annotations


class HelpfulError(Exception):
    """An error whose message says what happened, ``cause`` why, and ``help`` what to do about it."""

    def __init__(self, message: str, *, cause: str = "", help: str = "") -> None:  # noqa: A002 - the word users see
        super().__init__(message)
        self.cause = cause
        self.help = help
