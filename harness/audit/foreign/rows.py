"""What a row of each foreign book says, as SQL of the book's columns; lists no row itself, but says which must be."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from harness.audit.foreign.book_file import POLICY, BookFile
from harness.audit.prices import CLASSES
from harness.audit.sql import literal


def upstream(file: BookFile) -> dict[str, str]:
    status = file.value("status")
    serves = "true"
    if file.map.ok and "status" in file.reads:
        serves = f"coalesce({status} IN ({', '.join(map(literal, file.map.ok))}), false)"
    missing = f"({file.value('input')} IS NULL AND {file.value('output')} IS NULL)"
    file.needs("call")
    file.needs("model", serves)
    for name in ("input", "output"):
        file.needs(name, f"{serves} AND NOT {missing}")
    tokens = {name: f"coalesce({file.value(name)}, 0)" for name in CLASSES}
    cached = " + ".join(tokens[one] for one in ("cache_read", "cache_write") if one in file.reads)
    if file.map.cached_inside and cached:
        tokens["input"] = f"{tokens['input']} - ({cached})"
        file.doubt("input", f"{file.value('input')} < {cached}", "less than the cached tokens in it")
    return {
        **file.common(),
        "policy": str(POLICY),
        "model": file.model(f"{serves} AND NOT {missing}", priced=True),
        "attempt": file.value("attempt"),
        "serves": serves,
        "flaw": f"CASE WHEN {missing} THEN 'missing' ELSE '' END",
        **tokens,
        "started": file.value("started"),
        "ended": file.value("ended"),
    }


def ledger(file: BookFile) -> dict[str, str]:
    kind = "'post'"
    amount = file.value("amount")
    file.needs("amount")
    if file.map.kinds:
        word = file.value("kind")
        cases = " ".join(f"WHEN {literal(one)} THEN {literal(ours)}" for one, ours in file.map.kinds.items())
        kind = f"(CASE {word} {cases} END)"
        amount = f"abs({amount})"
        file.doubt("kind", f"{kind} IS NULL", "a kind of entry that the map does not name")
        file.needs("call", f"{kind} NOT IN ('top_up', 'opening')")
    else:
        file.doubt("amount", f"{amount} < 0", "negative")
        file.needs("call")
    if "paid" in file.reads:
        file.doubt("paid", f"{file.value('paid')} < 0", "negative")
    change = (
        f"CASE WHEN {kind} = 'post' THEN -{amount} WHEN {kind} IN ('hold', 'void') THEN 0 ELSE {amount} END"
        if file.map.kinds
        else f"-{amount}"
    )
    tokens = {name: file.value(name) for name in CLASSES}
    cached = " + ".join(f"coalesce({file.value(one)}, 0)" for one in ("cache_read", "cache_write") if one in file.reads)
    if file.map.cached_inside and cached and "input" in file.reads:
        tokens["input"] = f"{tokens['input']} - ({cached})"
    if "input" in file.reads:
        tokens.update({name: f"coalesce({tokens[name]}, 0)" for name in CLASSES if name in file.reads})
    return {
        **file.common(),
        "model": file.model("true", priced=False),
        "kind": kind,
        "amount": amount,
        "change": change,
        "balance": file.value("balance"),
        **tokens,
        "seq": file.value("entry") if "entry" in file.reads else "line",
        "stamp": file.value("at"),
    }


def client(file: BookFile) -> dict[str, str]:
    status = file.value("status")
    outcome = "'ok'"
    if "status" in file.reads and file.map.ok:
        outcome = (
            f"CASE WHEN {status} IN ({', '.join(map(literal, file.map.ok))}) THEN 'ok' "
            f"WHEN {status} IN ({', '.join(map(literal, ('', *file.map.unknown)))}) OR {status} IS NULL THEN 'unknown' "
            "ELSE 'failed' END"
        )
    file.needs("call")
    timed = "latency_ms" in file.reads or "elapsed_ms" in file.reads
    insurance = file.value("insurance") if file.payouts else "NULL"
    paid = file.value("paid") if file.payouts else "NULL"
    return {
        **file.common(),
        "policy": str(POLICY),
        "model": file.model("true", priced=False),
        "outcome": outcome,
        "charged": file.value("charged"),
        "before": file.value("before"),
        "after": file.value("after"),
        "insured": str(file.prices.insurance is not None and timed and file.payouts).lower(),
        "status": insurance,
        "paid": f"CASE WHEN {insurance} = 'pending' THEN NULL ELSE {paid} END",
        # Latency is measured in whole milliseconds.
        "latency_ms": f"{file.value('latency_ms')} // 1000" if "latency_ms" in file.reads else "NULL",
        "slowest": file.value("elapsed_ms"),
        "stamp": file.value("at"),
    }


ROWS: Mapping[str, Callable[[BookFile], dict[str, str]]] = {"upstream": upstream, "ledger": ledger, "client": client}
