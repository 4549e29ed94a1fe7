"""An audit as a page and as Markdown: what its record and its tables say, the worst first; it finds nothing itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from reports.amounts import NONE, Amounts
from reports.text import line, plural

if TYPE_CHECKING:
    from harness.audit import Audit, Books

CAP = 64 << 10
"""Bytes that a job summary may have."""
_OF_A_CLASS, _ACCOUNTS, _UNREADABLE, _LISTED = 25, 100, 50, 200
"""Rows that a page shows: of one class, of accounts, of unreadable rows, of sources and notes."""
_BOOKS = {
    "served": "upstreams: what was served",
    "entries": "ledger: what was booked",
    "logged": "usage log",
    "told": "clients: what they were told",
}
_VERDICTS = {
    "pass": "all books agree",
    "fail": "the books do not agree",
    "inconclusive": "the books prove nothing",
}


def render(audit: Audit, books: Books, out: Path) -> None:
    """Write ``audit.html`` and ``audit.md`` into ``out`` from an audit and its books, still open.

    Sums are made by queries, so that it takes no more memory for a month than for a day. The same audit renders to
    the same bytes. Raises OSError if a file cannot be written.
    """
    from reports.figures.audit import draw_audit
    from reports.templates import environment, html

    amounts = Amounts(audit.digits, audit.credit)
    context = _context(audit, books, amounts)
    (out / "audit.html").write_text(
        html("audit.html.j2", {**context, "drawings": _drawings(draw_audit(audit, books, amounts))}),
        encoding="utf-8",
        newline="\n",
    )
    template = environment(markdown=True).get_template("audit.md.j2")
    for rows in (40, 20, 5, 0):
        text = template.render({**context, "rows": context["rows"][:rows]}).rstrip() + "\n"
        if len(text.encode()) < CAP:
            break
    (out / "audit.md").write_text(text, encoding="utf-8", newline="\n")


def _context(audit: Audit, books: Books, amounts: Amounts) -> dict[str, Any]:
    found = [one for one in audit.classes if one.count]
    context: dict[str, Any] = {
        "head": _head(audit, amounts),
        "found": [
            (one.name, one.meaning, f"{one.count:,}", amounts.both(one.over), amounts.both(one.under)) for one in found
        ],
        "total": (
            f"{audit.discrepancies:,}",
            amounts.both(sum(one.over for one in found)),
            amounts.both(sum(one.under for one in found)),
        ),
        "not_found": [(one.name, one.meaning) for one in audit.classes if not one.count],
        "rows": list(_worst(books, amounts)),
        "shown": "",
        "accounts": [_account(one, amounts) for one in audit.accounts[:_ACCOUNTS]],
        "more_accounts": int(books.value("SELECT count(*) FROM rolled")) - min(_ACCOUNTS, len(audit.accounts)),
        "unexplained": audit.unexplained,
        "unmatched": [(_told(name), f"{count:,}") for name, count in audit.unmatched.items() if count],
        "unreadable": [
            tuple(line(NONE if value is None else value) for value in row)
            for row in books.rows(
                "SELECT source, row, field, value, problem FROM unreadable ORDER BY source, row LIMIT ?", [_UNREADABLE]
            )
        ],
        "more_unreadable": max(0, audit.unreadable - _UNREADABLE),
        "books": [(_BOOKS[book], f"{count:,}") for book, count in audit.books.items()],
        "rounding": [(line(name), line(value)) for name, value in audit.rounding.items()],
        "notes": [line(note, 500) for note in audit.notes[:_LISTED]],
        "sources": [line(source) for source in audit.sources[:_LISTED]],
        "unit": f"1e-{audit.digits} dollars",
        "a_credit": amounts.dollars(audit.credit),
        "schema": audit.schema,
    }
    if len(context["rows"]) < audit.discrepancies:
        context["shown"] = (
            f"The {len(context['rows']):,} largest of {audit.discrepancies:,}, {_OF_A_CLASS} of a class at most; "
            "discrepancies.csv and discrepancies.parquet have them all."
        )
    context["sections"] = list(_sections(context))
    return context


def _head(audit: Audit, amounts: Amounts) -> dict[str, Any]:
    over, under = sum(one.over for one in audit.classes), sum(one.under for one in audit.classes)
    sentence = f"{_VERDICTS[audit.outcome]}: {plural(audit.calls, 'call')}"
    if audit.discrepancies:
        wrong = audit.discrepancies
        sentence += f", {wrong:,} {'discrepancy' if wrong == 1 else 'discrepancies'}"
    if audit.unexplained:
        sentence += (
            f", {plural(audit.unexplained, 'account')} that {'do' if audit.unexplained > 1 else 'does'} not add up"
        )
    facts = [(_BOOKS[book].partition(":")[0], f"{count:,} rows") for book, count in audit.books.items()]
    facts += [("unreadable", f"{audit.unreadable:,} rows"), ("exit", str(audit.exit_code))]
    return {
        "verdict": audit.outcome,
        "word": audit.outcome.upper(),
        "sentence": sentence,
        "tally": [
            ("clean", f"{audit.clean:,}", f"of {plural(audit.calls, 'call')} clean"),
            ("over", amounts.both(over), "lost by customers"),
            ("under", amounts.both(under), "lost by the provider"),
        ],
        "command": "",
        "target": "audit",
        "skip": ("classes", "the classes"),
        "facts": facts,
        "notes": [audit.doubt] if audit.doubt else [],
        "exit": audit.exit_code,
        "footer": Markup("Rendered from <code>audit.json</code> and the audited books."),
    }


def _sections(context: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "classes", "Discrepancies by class"
    if context["rows"]:
        yield "checks", "Worst discrepancies"
    yield "money", "Charges and payouts"
    yield "accounts", "Roll-forward"
    yield "matching", "Matching"
    yield "method", "Method"


def _worst(books: Books, amounts: Amounts) -> Iterator[dict[str, str]]:
    """Yield the largest discrepancies of each class: first those that harm somebody, the largest first."""
    rows = books.rows(
        """SELECT class, call, account, model, expected, observed, delta, harmed, why, served, booked, told
            FROM discrepancies
            QUALIFY row_number() OVER (
                PARTITION BY class ORDER BY abs(coalesce(delta, 0)) DESC, call, account, why) <= ?
            ORDER BY harmed = 'nobody', abs(coalesce(delta, 0)) DESC, class, call, account, why""",
        [_OF_A_CLASS],
    )
    for name, call, account, model, expected, observed, delta, harmed, why, served, booked, told in rows:
        yield {
            "class": name,
            "call": line(call or NONE),
            "account": line(account or NONE),
            "model": line(model or ""),
            "expected": amounts.credits(expected),
            "observed": amounts.credits(observed),
            "delta": amounts.both(delta, signed=True),
            "harmed": harmed,
            "why": line(why or "", 300),
            "places": line(", ".join(_few(places) for places in (served, booked, told) if places), 400),
        }


def _few(places: str) -> str:
    every = places.split(" ")
    return " ".join(every[:3]) + (f" and {len(every) - 3} more" if len(every) > 3 else "")


def _account(account: dict[str, Any], amounts: Amounts) -> tuple[str, ...]:
    names = ("opening", "top_ups", "charges", "payouts", "refunds", "closing")
    off = account["unexplained"]
    told = NONE if off is None else amounts.both(off, signed=True)
    return (line(account["account"] or NONE), *(amounts.credits(account[name]) for name in names), told)


def _told(unmatched: str) -> str:
    one, _, other = unmatched.partition(" without ")
    short = {"served": "the upstreams' journal", "entries": "the ledger", "told": "what clients saw"}
    return f"in {short.get(one, one)}, not in {short.get(other, other)}"


def _drawings(drawn: dict[str, Any]) -> list[dict[str, Any]]:
    from reports.figures.audit import FIGURES

    return [{"kind": {"name": name, "title": FIGURES[name][0]}, "figure": figure} for name, figure in drawn.items()]
