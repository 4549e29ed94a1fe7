"""How a foreign cell is read, in SQL: its value in whole numbers, and what is wrong with it; it knows no books."""

from __future__ import annotations

from dataclasses import dataclass

from harness.audit.foreign.column_map import TIMES
from harness.audit.sql import literal

MOST_UNITS = 4 * 10**18
"""An amount beyond it does not fit 64 bits once it is rounded."""
MOST_TOKENS = 10**9
"""More tokens than any call has."""

_DECIMAL = r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?"
_THOUSANDS = r"[+-]?[0-9]{1,3}([,'’ _][0-9]{3})+(\.[0-9]+)?"
_ZONED = r".*:[0-9]{2}(\.[0-9]+)?\s*([zZ]|UTC|GMT|[+-][0-9]{2}(:?[0-9]{2})?)"
_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
CREDENTIAL = (
    r"(?i)(\b(sk|pk|rk|ck|key|token)[-_][a-z0-9_-]{8,}|aiza[a-z0-9_-]{20,}|akia[a-z0-9]{12,}|eyj[a-z0-9_-]{10,}"
    r"|gh[pousr]_[a-z0-9]{10,}|xox[a-z]-[a-z0-9-]{8,}|bearer\s+\S{4,}|basic\s+\S{8,}|\b[0-9a-f]{32,}\b)"
)
"""What looks like a credential, or like the digest of one."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A column or a value in one, as SQL, with its type in DuckDB's words."""

    sql: str
    type: str = "VARCHAR"

    @property
    def text(self) -> str:
        return self.sql if self.type == "VARCHAR" else f"({self.sql})::VARCHAR"

    @property
    def whole(self) -> bool:
        return self.type.removeprefix("U") in _INTEGERS


@dataclass(frozen=True, slots=True)
class Read:
    """A cell that was read: the SQL of its value (NULL: none), of what is wrong ('': never), and of it as written."""

    value: str
    problem: str = ""
    written: str = "NULL"
    wrong: str = ""
    """The SQL of whether there is a problem, where that is quicker than to say which; never NULL."""
    absent: str = ""
    """The SQL of whether there is no value, where that is quicker: of bare columns a file's statistics can tell."""


def first(cells: list[Cell]) -> Cell:
    """Return the first of several cells that has a value."""
    if len(cells) == 1:
        return cells[0]
    if len({cell.type for cell in cells}) == 1 and cells[0].type != "VARCHAR":
        return Cell(f"coalesce({', '.join(cell.sql for cell in cells)})", cells[0].type)
    return Cell(f"coalesce({', '.join(f'''nullif({cell.text}, '')''' for cell in cells)})")


def as_text(cell: Cell) -> Read:
    """Return a name or an id; an empty one is none."""
    return Read(f"nullif({cell.text}, '')", written=cell.text, absent=f"({cell.text} IS NULL OR {cell.text} = '')")


def as_count(cell: Cell, most: int) -> Read:
    """Return a whole number that is not negative and not more than ``most``; 12.0 is one, 1.2e1 and 1,200 are not."""
    if cell.whole:
        problem = f"CASE WHEN {cell.sql} < 0 THEN 'negative' WHEN {cell.sql} > {most} THEN 'more than {most:,}' END"
        value = cell.sql if cell.type in _INTEGERS[:4] else f"try_cast({cell.sql} AS BIGINT)"
        return Read(value, problem, cell.text, f"coalesce({cell.sql} < 0 OR {cell.sql} > {most}, false)")
    text = f"trim({cell.text})"
    problem = (
        f"CASE WHEN {text} IS NULL OR {text} = '' THEN NULL "
        rf"WHEN regexp_full_match({text}, '[0-9]{{1,18}}(\.0*)?') THEN "
        f"CASE WHEN split_part({text}, '.', 1)::BIGINT > {most} THEN 'more than {most:,}' END "
        rf"WHEN regexp_full_match({text}, '-[0-9]+(\.[0-9]*)?') THEN 'negative' "
        f"WHEN regexp_full_match({text}, {literal(_THOUSANDS)}) THEN 'thousands separators' "
        f"WHEN regexp_full_match({text}, '.*[0-9.][eE][+-]?[0-9]+') THEN 'scientific notation' "
        f"ELSE 'no whole number' END"
    )
    return Read(f"try_cast(split_part({text}, '.', 1) AS BIGINT)", problem, cell.text)


def as_amount(cell: Cell, units: int) -> Read:
    """Return an amount of which 1 is ``units``, as the nearest whole number of units: exactly, as decimal numbers."""
    factor, places = units, 0
    while factor % 10 == 0:
        factor, places = factor // 10, places + 1
    bound = MOST_UNITS // units
    if cell.whole:
        problem = f"CASE WHEN abs({cell.sql}::HUGEINT) > {bound} THEN 'more than any amount here' END"
        wrong = f"coalesce({cell.sql} < -{bound} OR {cell.sql} > {bound}, false)"
        return Read(f"({cell.sql}::BIGINT * {units})", problem, cell.text, wrong)
    text = f"trim({cell.text})"
    number = f"try_cast({text} AS DECIMAL(38, {places}))"
    problem = (
        f"CASE WHEN {text} IS NULL OR {text} = '' THEN NULL "
        f"WHEN regexp_full_match({text}, {literal(_DECIMAL)}) THEN "
        f"CASE WHEN {number} IS NULL OR abs({number}) > {bound} THEN 'more than any amount here' END "
        f"WHEN regexp_full_match({text}, {literal(_THOUSANDS)}) THEN 'thousands separators' "
        f"ELSE 'no decimal number' END"
    )
    scaled = f"(CASE WHEN abs({number}) <= {bound} THEN {number} END * {10**places}::BIGINT)::BIGINT"
    return Read(f"({scaled} * {factor})" if factor > 1 else scaled, problem, cell.text)


def finer(cell: Cell, units: int) -> str:
    """Return the SQL of whether an amount is no whole number of units."""
    if cell.whole:
        return "false"
    places = len(str(units)) - len(str(units).rstrip("0"))
    finest = f"DECIMAL(38, {min(places + 18, 28)})"
    text = f"trim({cell.text})"
    nearest = f"try_cast(try_cast({text} AS DECIMAL(38, {places})) AS {finest})"
    return f"coalesce(try_cast({text} AS {finest}) <> {nearest}, false)"


def as_stamp(cell: Cell, zone: str, time: str, zoned: bool) -> Read:
    """Return a time in microseconds since 1970, from a timestamp, an ISO 8601 text or a number.

    ``zone`` is what a time without one is in. Empty: it is UTC, unless other rows have one (``zoned``).
    """
    if cell.type.startswith(("TIMESTAMP", "DATE")):
        value = f"epoch_us({cell.sql})"
        return Read(_shifted(value, zone) if "TIME ZONE" not in cell.type else value, "", cell.text)
    if cell.whole:
        value = _micros(cell.sql, time)
        return Read(value, f"CASE WHEN {cell.sql} IS NOT NULL AND {value} IS NULL THEN 'no time' END", cell.text)
    text = f"trim({cell.text})"
    empty = f"{text} IS NULL OR {text} = ''"
    whole = f"regexp_full_match({text}, '[0-9]{{1,18}}')"
    number = f"regexp_full_match({text}, {literal(_DECIMAL)})"
    with_zone = f"regexp_full_match({text}, {literal(_ZONED)})"
    dated = f"epoch_us(try_cast({text} AS TIMESTAMPTZ))"
    value = (
        f"CASE WHEN {empty} THEN NULL WHEN {whole} THEN {_micros(f'try_cast({text} AS BIGINT)', time)} "
        f"WHEN {number} THEN {_micros(f'try_cast({text} AS DECIMAL(38, 6))', time)} "
        f"WHEN {with_zone} THEN {dated} ELSE {_shifted(dated, zone)} END"
    )
    naive = ""
    if zoned and not zone:
        naive = f"WHEN NOT {number} AND NOT {with_zone} THEN 'no time zone, where other rows have one'"
    problem = f"CASE WHEN {empty} THEN NULL WHEN ({value}) IS NULL THEN 'no time' {naive} END"
    return Read(f"({value})", problem, cell.text)


def _micros(number: str, time: str) -> str:
    """Return the SQL of a number as microseconds: of ``time``, or else of what its size tells; NULL if too large."""
    if time:
        steps = f"WHEN abs({number}) < {10**17 // TIMES[time]} THEN {number} * {TIMES[time]} "
    else:
        sizes = ((11, TIMES["s"]), (14, TIMES["ms"]), (17, TIMES["us"]))
        steps = "".join(f"WHEN abs({number}) < {10**size} THEN {number} * {factor} " for size, factor in sizes)
    return f"(CASE {steps}END)::BIGINT"


def has_zone(cell: Cell) -> str:
    """Return the SQL of whether a time names its zone: NULL for none and for numbers."""
    text = f"trim({cell.text})"
    return (
        f"CASE WHEN {text} IS NULL OR {text} = '' OR regexp_full_match({text}, {literal(_DECIMAL)}) THEN NULL "
        f"ELSE regexp_full_match({text}, {literal(_ZONED)}) END"
    )


def shown(text: str) -> str:
    """Return the SQL of ``text`` as it may be shown: short, and without what looks like a credential."""
    return f"regexp_replace(left({text}, 80), {literal(CREDENTIAL)}, '(secret)', 'g')"


def blotted(text: str) -> str:
    """Return the SQL of a name, in whose place stands a digest if it looks like a credential: still one name each."""
    secret = f"regexp_matches({text}, {literal(CREDENTIAL)})"
    return f"CASE WHEN {secret} THEN 'key-' || left(sha256({text}), 12) ELSE {text} END"


def _shifted(value: str, zone: str) -> str:
    if not zone:
        return value
    minutes = int(zone[1:3]) * 60 + int(zone[4:6])
    return f"({value} - {(-1 if zone[0] == '-' else 1) * minutes * 60_000_000})"
