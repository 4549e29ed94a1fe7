"""``harness audit``: compares the books of a recorded run, or of somebody else's gateway, and prints what disagrees."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from harness.cli.folder import recorded
from harness.cli.terminal import fail, say, status

EXIT_USAGE, EXIT_HARNESS = 64, 70
SHOWN = 3
"""Discrepancies of one class, and rows that were not read, that are printed; the files have all."""


def audit_command(
    folder: Path | None,
    files: Mapping[str, Sequence[Path]],
    prices: str,
    maps: Sequence[str],
    out: Path | None,
    tolerance: int,
    cutoff: int | None,
) -> int:
    """Audit a run folder or foreign books, write the record, print it, and return the exit code."""
    given = {book: paths for book, paths in files.items() if paths}
    _check(folder, given, prices, maps)
    histories = [] if folder is None else recorded(folder)
    out = out or (folder / "audit" if folder is not None else Path("audit"))
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(f"cannot write to {out}", cause=error.strerror or str(error), help="give another folder with --out")
        return EXIT_USAGE
    import duckdb

    from harness.audit import AuditError, audit, read_run
    from harness.audit.record import write_record
    from reports.audit import render

    try:
        with tempfile.TemporaryDirectory(prefix=".scratch-", dir=out) as scratch:
            if histories:
                books = read_run(histories, Path(scratch))
            else:
                books = _foreign(given, prices, maps, tolerance, cutoff, Path(scratch))
            with books:
                result = audit(books)
                write_record(result, books, out)
                render(result, books, out)
                _print(result, books, out)
    except AuditError as error:
        fail(str(error), cause=error.cause, help=error.help)
        return EXIT_USAGE
    except OSError as error:
        fail(f"cannot write to {out}", cause=error.strerror or str(error))
        return EXIT_USAGE
    except duckdb.OutOfMemoryException as error:
        fail(
            "the audit takes more memory than it may",
            cause=str(error).splitlines()[0],
            help="are millions of calls wrong? try the map and the prices on one day's books first",
        )
        return EXIT_HARNESS
    except duckdb.Error as error:
        fail("the audit broke off", cause=str(error).splitlines()[0], help="this is a fault of the harness: report it")
        return EXIT_HARNESS
    return result.exit_code


def _check(folder: Path | None, given: Mapping[str, Sequence[Path]], prices: str, maps: Sequence[str]) -> None:
    """Raise UsageError unless one run folder, or all of a foreign audit, was given."""
    if folder is not None:
        if given or prices or maps:
            raise click.UsageError("a run folder has books, prices and columns of its own: give DIR alone, or no DIR")
        return
    if not given:
        raise click.UsageError(
            "nothing to audit: give a run folder, or --upstream and --ledger with --prices and --map"
        )
    for book in ("upstream", "ledger"):
        if book not in given:
            raise click.UsageError(f"--{book} is missing: an audit compares what was served with what was booked")
    if not prices:
        raise click.UsageError("--prices is missing: a TOML price file, or the name of a contract such as hypereal")
    if not maps:
        from harness.audit.foreign import packaged

        raise click.UsageError(f"--map is missing: a TOML file, or one of {', '.join(packaged())}")


def _foreign(
    given: Mapping[str, Sequence[Path]],
    prices: str,
    maps: Sequence[str],
    tolerance: int,
    cutoff: int | None,
    scratch: Path,
) -> Any:
    from harness.audit.foreign import Order, read_foreign, read_maps, read_prices

    return read_foreign(Order(given, read_maps(maps, given), read_prices(prices), tolerance, cutoff), scratch)


def _print(result: Any, books: Any, out: Path) -> None:
    """Print the audit to standard output, the broken classes first."""
    for one in result.classes:
        if one.count:
            _print_class(one, books)
    for account in [account for account in result.accounts if account["unexplained"]][:SHOWN]:
        say(f"{status('fail')} account {_plain(account['account'])} does not roll forward")
        say(f"  unexplained  {_dollars(books, account['unexplained'])}")
    _print_unreadable(result, books)
    say()
    charged, due = (sum(model[name] for model in result.models) for name in ("charged", "priced"))
    say(f"  charged   {_dollars(books, charged)}   priced {_dollars(books, due)}")
    over, under = (sum(getattr(one, name) for one in result.classes) for name in ("over", "under"))
    say(f"  wrongly   {_dollars(books, over)} at the customers' cost, {_dollars(books, under)} at the provider's")
    if result.rounding:
        say(f"  rounding  {_rounding(result.rounding)}")
    for name, count in result.unmatched.items():
        if count:
            say(f"  unmatched {count} calls: {name}")
    for note in result.notes:
        say(f"  note      {note}")
    if result.doubt:
        say(f"{status('inconclusive')} {result.doubt}")
    say(
        f"\n{status(result.outcome)} {result.calls:,} calls, {result.clean:,} clean, "
        f"{result.discrepancies:,} discrepancies, {result.unreadable:,} rows not read  exit {result.exit_code}"
    )
    say(f"report  {out / 'audit.html'}")
    say(f"rows    {out / 'discrepancies.csv'}")


def _print_class(one: Any, books: Any) -> None:
    outcome = "inconclusive" if one.name == "CUTOFF" else "fail"
    say(f"\n{status(outcome)} {one.name}   {one.count:,} found")
    say(f"  meaning   {one.meaning}")
    if one.over or one.under:
        say(f"  harmed    customers {_dollars(books, one.over)}, provider {_dollars(books, one.under)}")
    rows = books.rows(
        "SELECT call, expected, observed, why, served, booked, told FROM discrepancies WHERE class = ? "
        "ORDER BY abs(delta) DESC, call LIMIT ?",
        [one.name, SHOWN],
    )
    for call, expected, observed, why, *places in rows:
        say(f"  call {_plain(call) or '-'}  {_plain(' '.join(place for place in places if place))}")
        say(f"    expected  {_dollars(books, expected)}")
        say(f"    actual    {_dollars(books, observed)}   {_plain(why or '')}")


def _print_unreadable(result: Any, books: Any) -> None:
    if not result.unreadable:
        return
    say(f"\n{status('inconclusive')} {result.unreadable:,} rows or cells could not be used; their calls were set aside")
    for source, row, column, value, problem in books.rows(
        "SELECT source, row, field, value, problem FROM unreadable ORDER BY source, row LIMIT ?", [2 * SHOWN]
    ):
        where = source if row is None else f"{source}:{row}"
        told = f"  {column}" if column else ""
        told += f" {value!r}" if value else ""
        say(_plain(f"  {where}{told}: {problem}"))
    if result.unreadable > 2 * SHOWN:
        say("  and so on: unreadable.csv has all of them")


def _rounding(rounding: Mapping[str, Any]) -> str:
    told = f"{rounding['mode']}"
    if rounding["mode"] != "none":
        told += f" to {rounding['quantum']}" + (f", once a {rounding['scope']}" if "scope" in rounding else "")
    told += f" ({rounding['source']}"
    if "share" in rounding:
        told += f": {rounding['share']} of {int(rounding['rows']):,} charges agree"
    return told + ")"


def _dollars(books: Any, units: int | None) -> str:
    """Return an amount in dollars and, where it is whole, in credits."""
    if units is None:
        return "-"
    dollars = books.unit.dollars(int(units))
    told = f"${dollars.normalize():,f}" if dollars else "$0"
    return (
        told
        if books.credit * 100 == books.unit.per_dollar and units % books.credit
        else f"{told} ({int(units) // books.credit:,} credits)"
    )


def _plain(text: str) -> str:
    """Return text of foreign books as it may go to a terminal: without anything that steers one."""
    return "".join(one if one.isprintable() else "?" for one in text)
