"""Column maps: which columns of a foreign file hold what an audit needs, out of a TOML file; it reads no books."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from harness.audit.books import AuditError
from harness.audit.foreign.given import check_keys, near, read_toml
from harness.audit.units import PriceError, decimal

PACKAGED = Path(__file__).parent / "maps"
BOOKS = ("upstream", "ledger", "client")
KINDS = ("post", "hold", "void", "payout", "refund", "top_up", "opening")

TEXT, TOKENS, AMOUNT, COUNT, MILLIS, STAMP = "text", "tokens", "amount", "count", "millis", "stamp"
_TOKENS = {"input": TOKENS, "cache_read": TOKENS, "cache_write": TOKENS, "output": TOKENS}
FIELDS: Mapping[str, Mapping[str, str]] = {
    "upstream": {
        "call": TEXT, "account": TEXT, "model": TEXT, "attempt": TEXT, "status": TEXT, **_TOKENS,
        "started": STAMP, "ended": STAMP,
    },
    "ledger": {
        "call": TEXT, "account": TEXT, "model": TEXT, "kind": TEXT, "amount": AMOUNT, "paid": AMOUNT,
        "balance": AMOUNT, "entry": COUNT, **_TOKENS, "at": STAMP,
    },
    "client": {
        "call": TEXT, "account": TEXT, "model": TEXT, "status": TEXT, "charged": AMOUNT, "before": AMOUNT,
        "after": AMOUNT, "insurance": TEXT, "paid": AMOUNT, "latency_ms": MILLIS, "elapsed_ms": MILLIS, "at": STAMP,
    },
}  # fmt: skip
"""What a book's columns may be, and how each is read."""
REQUIRED = {"upstream": ("call", "model", "input", "output"), "ledger": ("call", "amount"), "client": ("call",)}
_SETTINGS = ("columns", "table", "delimiter", "cached", "money", "zone", "time", "ok", "unknown", "kinds")
TIMES = {"s": 1_000_000, "ms": 1000, "us": 1}
"""Microseconds in what a time given as a number counts."""


@dataclass(frozen=True, slots=True)
class BookMap:
    """How the files of one book are read; a field's columns are tried in order, row by row, until one has a value."""

    book: str
    origin: str
    columns: Mapping[str, tuple[str, ...]]
    table: str = ""
    """Of a SQLite file; empty: the only one."""
    delimiter: str = ""
    """Of a CSV file; empty: whichever of , ; tab and | finds the columns."""
    cached_inside: bool = True
    """The input count includes cache reads and writes (OpenAI), or stands beside them (Anthropic)."""
    money: str = "dollars"
    """What an amount of 1 is: dollars, credits, or so many dollars as a decimal number."""
    zone: str = ""
    """What a time without a zone is in: an offset such as +02:00; empty: UTC, and never beside times with a zone."""
    time: str = ""
    """What a time given as a number counts: s, ms or us since 1970; empty: told by its size."""
    ok: tuple[str, ...] = ()
    """Values of ``status`` that mean success; empty: every row is one."""
    unknown: tuple[str, ...] = ()
    """Values of the client's ``status`` after which nobody can tell whether the answer counts."""
    kinds: Mapping[str, str] = field(default_factory=dict)
    """What the ledger's own kinds of entry are called here; empty: every row is a charge."""

    @property
    def has_payouts(self) -> bool:
        """Whether the ledger that is read so shows payouts."""
        return "paid" in self.columns or "payout" in self.kinds.values()

    def names(self) -> dict[str, None]:
        """Return every name that a column of a file may have and be wanted for, in order."""
        paths = [path for paths in self.columns.values() for path in paths]
        return dict.fromkeys(name for path in paths for name in (path, *prefixes(path)))


def prefixes(path: str) -> list[str]:
    """Return what may be the column of a dotted path, the longest first: columns have dots in their names too."""
    steps = path.split(".")
    return [".".join(steps[:n]) for n in range(len(steps) - 1, 0, -1)]


def packaged() -> list[str]:
    """Return the names of the maps that come with the harness."""
    return sorted(path.stem for path in PACKAGED.glob("*.toml"))


def read_maps(given: Iterable[str], files: Mapping[str, Sequence[Path]]) -> dict[str, tuple[BookMap, ...]]:
    """Return the map of each of a book's files, in their order. Raises AuditError.

    ``given`` are ``NAME-or-FILE``s, whose sections are for the books that they name; ``BOOK=`` before one says that it
    is for that book alone, and the name of one of ``files`` that it is for that file alone.
    """
    paths = [path for one in files.values() for path in one]
    found: dict[str | Path, BookMap] = {}
    for one in given:
        only, name = _target(one, paths)
        sections = _read(name)
        targets: dict[str | Path, str] = {book: book for book in files if book in sections}
        if isinstance(only, Path):
            targets = {only: next(book for book in files if only in files[book])}
        elif only:
            targets = {only: only}
        for target, book in targets.items():
            if book not in sections:
                raise AuditError(f"map {name} has no section [{book}]")
            if target in found:
                raise AuditError(
                    f"maps {found[target].origin} and {name} both have a section [{book}]",
                    help=f"say which one is meant: --map {target}={name}",
                )
            found[target] = _book(book, name, sections[book])
    for book in files:
        if any(path not in found for path in files[book]) and book not in found:
            raise AuditError(
                f"no map has a section [{book}]", help=f"packaged: {', '.join(packaged())}; docs/audit.md has how"
            )
    return {book: tuple(found[path] if path in found else found[book] for path in files[book]) for book in files}


def _target(given: str, paths: Sequence[Path]) -> tuple[str | Path, str]:
    """Return which book or which file a map is given for, '' for whatever it has sections of, and the map."""
    for path in paths:
        for name in (str(path), path.name):
            if given.startswith(f"{name}="):
                return path, given[len(name) + 1 :]
    prefix, _, rest = given.partition("=")
    return (prefix, rest) if prefix in BOOKS and rest else ("", given)


def _read(name: str) -> dict[str, Any]:
    path = PACKAGED / f"{name}.toml" if name in packaged() else Path(name)
    if not path.is_file():
        raise AuditError(
            f"{name}: no map of that name and no such file{near(name, packaged())}",
            help=f"packaged: {', '.join(packaged())}",
        )
    data = check_keys(name, "the map", read_toml(path), ("about", *BOOKS))
    return {book: section for book, section in data.items() if book in BOOKS}


def _book(book: str, name: str, section: Any) -> BookMap:
    check_keys(name, f"[{book}]", section, _SETTINGS)
    given = check_keys(name, f"[{book}.columns]", section.get("columns"), FIELDS[book])
    columns = {key: _texts(name, f"{book}.columns.{key}", value) for key, value in given.items()}
    absent = [key for key in REQUIRED[book] if key not in columns]
    if absent:
        raise AuditError(f"{name}: [{book}.columns] lacks {', '.join(absent)}")
    kinds = section.get("kinds", {})
    if not isinstance(kinds, dict) or any(kind not in KINDS for kind in kinds.values()):
        raise AuditError(f"{name}: [{book}.kinds] maps the file's words to {', '.join(KINDS)}")
    if "balance" in columns and "entry" not in columns:
        raise AuditError(f"{name}: balances need the column entry too: the ledger's own order, as numbers")
    if bool(kinds) != ("kind" in columns):
        raise AuditError(f"{name}: the column kind and [{book}.kinds] go together")
    cached = section.get("cached", "inside")
    if cached not in ("inside", "beside"):
        raise AuditError(f"{name}: cached is inside or beside (the input count), not {cached!r}")
    if section.get("time", "") not in ("", *TIMES):
        raise AuditError(f"{name}: time is one of {', '.join(TIMES)}, not {section['time']!r}")
    return BookMap(
        book=book,
        origin=name,
        columns=columns,
        table=str(section.get("table", "")),
        delimiter=str(section.get("delimiter", "")),
        cached_inside=cached == "inside",
        money=_money(name, section.get("money", "dollars")),
        zone=_zone(name, section.get("zone", "")),
        time=section.get("time", ""),
        ok=_texts(name, "ok", section.get("ok", [])),
        unknown=_texts(name, "unknown", section.get("unknown", [])),
        kinds=dict(kinds),
    )


def _texts(name: str, key: str, value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(one, str) and one and '"' not in one for one in values):
        raise AuditError(f"{name}: {key} is a text or a list of texts, without double quotes")
    return tuple(values)


def _money(name: str, value: Any) -> str:
    if value in ("dollars", "credits"):
        return str(value)
    try:
        if isinstance(value, str) and decimal(value) > Decimal(0):
            return value
    except PriceError:
        pass
    raise AuditError(f"{name}: money is dollars, credits, or the dollars that 1 stands for as a text such as '0.001'")


def _zone(name: str, value: Any) -> str:
    text = "+00:00" if value == "UTC" else str(value)
    sign, hours, colon, minutes = text[:1], text[1:3], text[3:4], text[4:]
    if text and not (sign in "+-" and hours.isdigit() and colon == ":" and len(minutes) == 2 and minutes.isdigit()):
        raise AuditError(f"{name}: zone is UTC or an offset such as +02:00, not {value!r}")
    return text
