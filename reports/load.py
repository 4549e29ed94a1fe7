"""A load as a page, as Markdown and as tables: what was planned, sent and seen, over time; it finds nothing itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from markupsafe import Markup

from harness.checkers.load_ceilings import OVER
from reports.load_rows import Rows, read_rows
from reports.text import line

if TYPE_CHECKING:
    import pandas

CALLS, SECONDS, MEMORY = "load-calls", "load-seconds", "load-memory"


def render_load(run: Path, folder: Path) -> Mapping[str, Any]:
    """Write ``load.html``, ``load.md`` and ``load.json`` into ``run``, and its rows as CSV and Parquet.

    There is a row per call, per second, and per process and sample of its memory.

    ``folder`` holds the load's history, and ``run`` its ``verdict.json``. Returns the figures that ``load.json`` has.
    The same run renders to the same pages. Raises HistoryError, OSError.
    """
    from reports.figures.load import FIGURES, draw_load, per_bin, per_step
    from reports.templates import environment, html

    rows = read_rows(folder)
    verdict = orjson.loads((run / "verdict.json").read_bytes())
    context = _context(rows, verdict)
    drawn = draw_load(rows)
    drawings = [{"kind": {"name": name, "title": title}, "figure": drawn[name]} for name, (title, _) in FIGURES.items()]
    shown = [drawing for drawing in drawings if drawing["figure"] is not None]
    page = html("load.html.j2", {**context, "drawings": shown, "sections": _sections(shown)})
    (run / "load.html").write_text(page, encoding="utf-8", newline="\n")
    text = environment(markdown=True).get_template("load.md.j2").render(context).rstrip() + "\n"
    (run / "load.md").write_text(text, encoding="utf-8", newline="\n")
    tables = {CALLS: rows.calls, SECONDS: per_bin(rows).reset_index()}
    _tables(run, tables if rows.memory.empty else {**tables, MEMORY: rows.memory})
    told = {
        **context["told"],
        "memory": _memory(verdict),
        "windows": _windows(rows),
        "steps": per_step(rows),
    }
    (run / "load.json").write_bytes(orjson.dumps(told, option=orjson.OPT_INDENT_2))
    return told


def _tables(run: Path, frames: Mapping[str, pandas.DataFrame]) -> None:
    """Write each frame as CSV, and as Parquet for whoever goes on with it."""
    import duckdb

    with duckdb.connect() as db:
        for name, frame in frames.items():
            frame.to_csv(run / f"{name}.csv", index=False, lineterminator="\n")
            db.register("frame", frame)
            path = str(run / f"{name}.parquet").replace("'", "''")
            db.execute(f"COPY (SELECT * FROM frame) TO '{path}' (FORMAT parquet)")  # noqa: S608 - our own path, quoted
            db.unregister("frame")


def _sections(drawings: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [
        ("numbers", "Numbers"),
        *((f"fig-{one['kind']['name']}", one["kind"]["title"]) for one in drawings),
        ("method", "Method"),
    ]


def _context(rows: Rows, verdict: Mapping[str, Any]) -> dict[str, Any]:
    run = verdict["run"]
    told = summary(rows, run.get("load", {}).get("objective") or {})
    return {
        "head": {
            "verdict": verdict["verdict"],
            "word": str(verdict["verdict"]).upper(),
            "sentence": f"{told['shape']}: {told['ok']:,} of {told['planned']:,} calls answered",
            "tally": [
                ("sent", f"{told['sent']:,}", "sent"),
                ("ok", f"{told['ok']:,}", "answered"),
                ("refused", f"{told['refused']:,}", "refused"),
                ("failed", f"{told['failed']:,}", "failed"),
            ],
            "skip": ("numbers", "the numbers"),
            "command": line(verdict["scenarios"][0]["replay"], 400) if verdict["scenarios"] else "",
            "target": line(run["target"]),
            "facts": [
                ("target", line(run["target"])),
                ("mode", line(run["mode"])),
                ("seed", str(rows.plan["seed"])),
                ("workers", _senders(rows.load)),
                ("cores", "" if told["cores"] is None else f"{told['cores']:g}"),
                ("exit", str(verdict["exit"])),
            ],
            "notes": [line(f"Why: {why}.", 500) for why in verdict.get("why", ())],
            "exit": verdict["exit"],
            "footer": Markup("Rendered from <code>verdict.json</code> and the recorded load."),
        },
        "numbers": list(_numbers(told)),
        "surfaces": list(_surfaces(rows)),
        "memory": [
            (
                line(one["process"]),
                *("–" if one[name] is None else f"{one[name]:,.1f}" for name in ("at_start", "most")),
                "–" if one["slope"] is None else f"{one['slope']:,.2f} ({one['low']:,.2f} to {one['high']:,.2f})",
                *(one["outcome"], line(one["why"], 200) or "–"),
            )
            for one in _memory(verdict)
        ],
        "told": told,
        "windows": [
            (
                *(one["word"], one["account"], f"{one['answered']:,} of {one['requests']:,}"),
                f"{one['tokens_served']:,} of {one['tokens']:,}",
                f"{one['images_served']:,} of {one['images']:,}" if one["images"] else "–",
                "–" if one["span_s"] is None else f"{one['span_s']:.3f}",
                f"{one['over']}: {', '.join(one['beyond']) or 'not sent'}" if one["over"] else "–",
            )
            for one in _windows(rows)
        ],
    }


def _windows(rows: Rows) -> list[dict[str, Any]]:
    """Return each window that was to be filled, and what became of its calls: what is proved of it, checkers say.

    ``span_s`` is from the first call's send to the last one's; ``beyond`` how the calls beyond it ended.
    """
    words = rows.calls["tag"].str.split()
    beyond = words.map(lambda has: OVER in has)
    told = []
    for window in rows.load["windows"]:
        ours = rows.calls[words.map(lambda has, word=window["word"]: word in has)]
        calls = ours[~beyond[ours.index]]
        sent = ours["sent_us"].dropna()
        told.append(
            {
                **window,
                "answered": int((calls["outcome"] == "ok").sum()),
                "refused": int((calls["outcome"] == "refused").sum()),
                "tokens_served": int(calls["tokens"].fillna(0).sum()),
                "images_served": int(calls["images"].fillna(0).sum()),
                "span_s": round(int(sent.max() - sent.min()) / 1e6, 6) if len(sent) else None,
                "beyond": ours[beyond[ours.index]]["outcome"].tolist(),
            }
        )
    return told


def _memory(verdict: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return what the record says of each process's memory."""
    return [one for record in verdict["scenarios"] for one in record.get("memory", ())]


def good(calls: pandas.DataFrame, objective: Mapping[str, float]) -> pandas.Series[bool]:
    """Say of each call whether it was answered whole and met all of ``objective`` (ms): at most so long is met.

    ``latency`` and ``ttft`` count from the scheduled time, ``per-token`` is the time per token after the first. What
    was not measured is not met.
    """
    tokens = calls["output_tokens"].where(calls["output_tokens"] > 1)
    first = calls["first_content_us"].where(calls["stream"].astype(bool))  # an answer all at once has no first token
    measured = {
        "latency": calls["end_us"] - calls["planned_us"],
        "ttft": first - calls["planned_us"],
        "per-token": (calls["end_us"] - first) / (tokens - 1),
    }
    met = calls["outcome"] == "ok"
    for name, bound_ms in objective.items():
        met &= (measured[name] <= bound_ms * 1e3).fillna(False).astype(bool)
    return met


def summary(rows: Rows, objective: Mapping[str, float]) -> dict[str, Any]:
    """Return what a load came to in numbers: counts, rates, cores, goodput, lateness and latencies (ms)."""
    calls = rows.calls
    sent = calls[calls["sent_us"].notna()]
    ok = sent[sent["outcome"] == "ok"]
    counts = sent["outcome"].value_counts()
    late = ((sent["sent_us"] - sent["planned_us"]) / 1e3).clip(lower=0).astype(float)
    span_s = max(float(sent["sent_us"].max() - sent["sent_us"].min()) / 1e6, 1e-6) if len(sent) else 0.0
    used = rows.notes.get("generators", {}).get("cores", {})
    told: dict[str, Any] = {
        "shape": rows.load["shape"],
        "planned": len(calls),
        "sent": len(sent),
        "ok": len(ok),
        "refused": int(counts.get("refused", 0)),
        "failed": int(sum(counts.get(name, 0) for name in ("error", "cut", "open", "aborted"))),
        "admitted": int(sent["upstream_us"].notna().sum()),
        "tokens": int(calls["tokens"].fillna(0).sum()),
        "rate": round(len(sent) / span_s, 1) if span_s else 0.0,
        "objective": ", ".join(f"{name} at most {bound:g} ms" for name, bound in objective.items()),
        "good": int(good(sent, objective).sum()) if objective else 0,
        "workers_lost": int(rows.notes.get("generators", {}).get("lost", 0)),
        "cores_of": dict(used),
        "cores": round(sum(used.values()), 3) if used else None,
    }
    told["goodput"] = round(told["good"] / span_s, 1) if span_s else 0.0
    for name, values in (
        ("late", late),
        ("response", (ok["end_us"] - ok["planned_us"]) / 1e3),
        ("service", (ok["end_us"] - ok["sent_us"]) / 1e3),
        ("ttft", ((ok["first_content_us"] - ok["planned_us"]) / 1e3)[ok["stream"].astype(bool)]),
        ("queue", (ok["upstream_us"] - ok["sent_us"]) / 1e3),
    ):
        known = values.dropna().astype(float)
        told[name] = [round(float(known.quantile(share)), 2) for share in (0.5, 0.95, 0.99, 1.0)] if len(known) else []
    return told


def _senders(load: Mapping[str, Any]) -> str:
    """Return how many workers sent the load, and what that is to whoever reads its times."""
    apart = ", on clocks that do not compare: times are each one's own"
    return f"{load['workers']}{apart if any(load.get('clocks', ())) else ''}"


def _numbers(told: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield rows: what, and its median, p95, p99 and most."""
    for name, words in (
        ("response", "whole answer, from the scheduled time (ms)"),
        ("service", "whole answer, from the send (ms)"),
        ("ttft", "first token of a stream, from the scheduled time (ms)"),
        ("queue", "from the send to the upstream: gateway and queue (ms)"),
        ("late", "lateness of the generator (ms)"),
    ):
        if told[name]:
            yield (words, *(f"{value:,.2f}" for value in told[name]))


def _surfaces(rows: Rows) -> Iterator[tuple[str, ...]]:
    """Yield what streams and whole answers of each surface came to: ends, first token, time per token, tokens a second.

    Time per token is (end - first token) / (tokens - 1), of answers with two or more, as AIPerf and vLLM have it.
    """
    sent = rows.calls[rows.calls["sent_us"].notna()]
    for (surface, stream), own in sent.groupby(["surface", "stream"], sort=True):
        ok = own[own["outcome"] == "ok"]
        first = ((ok["first_content_us"] - ok["sent_us"]) / 1e3).dropna().astype(float) if stream else ok["status"][:0]
        long = ok[(ok["output_tokens"] > 1) & ok["first_content_us"].notna()]
        each = ((long["end_us"] - long["first_content_us"]) / 1e3 / (long["output_tokens"] - 1)).astype(float)
        gap = (ok["longest_gap_us"] / 1e3).dropna().astype(float)
        speed = (ok["output_tokens"] / ((ok["end_us"] - ok["sent_us"]) / 1e6)).dropna().astype(float)
        yield (
            f"{surface}, streamed" if stream else str(surface),
            f"{len(own):,}",
            f"{len(ok):,}",
            f"{int((own['outcome'] == 'cut').sum()):,}",
            f"{int((own['outcome'] == 'error').sum()):,}",
            *(_quantiles(values) if stream else "–" for values in (first, each, gap)),
            _quantiles(speed),
        )


def _quantiles(values: pandas.Series[Any]) -> str:
    return " / ".join(_short(float(values.quantile(share))) for share in (0.5, 0.95, 0.99)) if len(values) else "–"


def _short(value: float) -> str:
    """Return ``value`` to four places that matter, and never fewer than the whole."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
