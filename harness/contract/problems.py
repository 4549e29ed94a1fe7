"""The error of bad data and the near names it offers; it knows nothing of contracts."""

from __future__ import annotations

from collections.abc import Iterable


class ContractError(ValueError):
    """Data that is no lawful contract, overlay or claim; ``problems`` lists every fault, with file and key."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type[ContractError], tuple[tuple[str, ...]]]:
        return ContractError, (self.problems,)


def near(name: str, known: Iterable[str]) -> str:
    """Return a clause to append to an error: the names near ``name``, or all of them if none is near and few exist."""
    import difflib  # only an error needs it, and every command's start would pay for it

    names = sorted(set(known))
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if close:
        return f"; near: {', '.join(close)}"
    return f"; known: {', '.join(names)}" if 0 < len(names) <= 24 else ""
