"""``harness bench``: measures what gateways cost, writes the record and its reports, and prints the table."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from time import perf_counter  # noqa: TID251 - how long the command took, for the person who waits
from typing import Any
from urllib.parse import urlsplit

import click
import orjson

from harness.cli.chosen import check_unsecret
from harness.cli.folder import command_line, environment, run_folder
from harness.cli.suite import target_spec
from harness.cli.terminal import fail, live, near, say, status
from harness.runner import EXIT_HARNESS, EXIT_USAGE
from harness.target import NotATarget, TargetError

EXIT_TARGET, EXIT_INTERRUPTED = 69, 130


def bench_command(
    targets: tuple[str, ...],
    measures: tuple[str, ...],
    pairs: int,
    blocks: int,
    seconds: float,
    seed: int,
    upstreams: str,
    model: str,
    keys: tuple[str, ...],
    out: Path | None,
    quiet: bool,
) -> int:
    """Measure, write ``bench.json`` and what is rendered from it, print it, and return the exit code."""
    import uvloop

    from harness.bench import MEASURES, Order, build_record, run_bench
    from harness.bench.machine import describe
    from harness.bench.plan import DEFAULT_TARGETS

    _check(targets, pairs, blocks)
    _check_addresses(targets, upstreams, model, keys)
    try:
        secrets = target_spec("", keys)["keys"]
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    order = Order(
        targets=tuple(dict.fromkeys(targets)) or DEFAULT_TARGETS,
        measures=tuple(name for name in MEASURES if name in measures) if measures else tuple(MEASURES),
        pairs=pairs,
        blocks=blocks,
        seconds=seconds,
        seed=seed,
        upstreams=upstreams,
        model=model,
        key=next(iter(secrets.values()), ""),
    )
    folder = run_folder(out)
    started = perf_counter()
    try:
        with _Told(quiet=quiet) as told:
            measured = uvloop.run(run_bench(order, told))
    except TargetError as error:
        fail(str(error), cause=error.cause, help=error.help)
        return EXIT_USAGE if isinstance(error, NotATarget) else EXIT_TARGET
    except (KeyboardInterrupt, asyncio.CancelledError):
        fail("interrupted", help="nothing is written of a bench that was not whole: interleaved parts alone compare")
        return EXIT_INTERRUPTED
    run = {
        "command": command_line(),
        "took_seconds": round(perf_counter() - started, 1),
        "version": version("llm-gateway-harness"),
        "machine": describe(),
    }
    return _finish(folder, build_record(order, measured, run))


def _check(targets: Sequence[str], pairs: int, blocks: int) -> None:
    """Raise UsageError for what cannot be measured."""
    from harness.bench.subjects import SUBJECTS

    for name in targets:
        if "://" not in name and name not in SUBJECTS:
            raise click.UsageError(
                f"no target {name!r}{near(name, SUBJECTS)}; there are {', '.join(SUBJECTS)}, or a URL"
            )
    if pairs < 2 * blocks:
        raise click.UsageError(f"--pairs {pairs}: each of the {blocks} blocks needs two at least")


def _check_addresses(targets: Sequence[str], upstreams: str, model: str, keys: Sequence[str]) -> None:
    """Raise UsageError for an address that cannot be called, and for what is given of one and would not be used."""
    urls = [name for name in targets if "://" in name]
    for url in urls:
        _check_address("--target", url, "http://HOST:PORT/PATH")
        if not upstreams:
            raise click.UsageError(
                f"--target {url}: what it adds can be told only against the mock upstreams behind it; serve them "
                "(harness serve upstreams), put the gateway before them, and give their address with --upstreams"
            )
    if upstreams:
        _check_address("--upstreams", upstreams, "http://HOST:PORT")
    if (model or keys) and not urls:
        raise click.UsageError("--model and --key go with --target URL alone")
    if len(keys) > 1:
        raise click.UsageError("--key: every call is made with one key; give one")


def _check_address(option: str, address: str, form: str) -> None:
    """Raise UsageError unless ``address`` is of that form, its port and path left out or not."""
    check_unsecret(option, address)
    wanted = f"{option}: give it as {form}: plain http, a port from 1 to 65535, visible ASCII, and nothing after that"
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError as error:
        raise click.UsageError(f"{wanted} ({error})") from None
    beyond = "?" in address or "#" in address or (not form.endswith("/PATH") and parts.path.strip("/"))
    if parts.scheme != "http" or not parts.hostname or port == 0 or beyond or not re.fullmatch("[!-~]+", address):
        raise click.UsageError(wanted)


def _finish(folder: Path, record: Mapping[str, Any]) -> int:
    from reports import render_bench

    try:
        (folder / "run.json").write_bytes(orjson.dumps(environment(), option=orjson.OPT_INDENT_2))
        (folder / "bench.json").write_bytes(orjson.dumps(record, option=orjson.OPT_INDENT_2))
        render_bench(folder)
    except OSError as error:
        fail(f"the record could not be written to {folder}", cause=error.strerror or str(error))
        return EXIT_HARNESS
    _print(record, folder)
    return int(record["exit"])


def _print(record: Mapping[str, Any], folder: Path) -> None:
    """Print the table, the goals, and what the figures are worth."""
    from reports.bench import columns, ratio, rows

    table = [("", *columns(record)), *rows(record)]
    first, *widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for name, *cells in table:
        say("  ".join([name.ljust(first), *(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))]))
    say("latencies in us, added by pairs; CPU in us; each with the half width of its 95 % interval")
    for goal in record["goals"]:
        say(
            f"\n{status(goal['outcome'])} {goal['of']}: {goal['goal']}\n"
            f"  ratio     {ratio(goal) or 'not measured: some block has no figure of both'}, {goal['bound']}"
        )
    for text in record["run"]["left_out"]:
        say(f"  left out  {text}")
    if record["doubts"]:
        say()
    for text in record["doubts"]:
        say(f"{status('inconclusive')} {text}")
    say(f"\n{status(record['verdict'])} {len(record['subjects'])} subjects, exit {record['exit']}")
    say(f"report  {folder / 'bench.html'}")
    say(f"record  {folder / 'bench.json'} (each figure with the command that measures it again)")


class _Told:
    """Says on standard error what is being done: one line that changes on a terminal, else one per kind of thing."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._live = live()
        self._last = ""

    def __enter__(self) -> _Told:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live and not self._quiet:
            say("\r\x1b[K", err=True, newline=False)

    def __call__(self, text: str) -> None:
        if self._quiet:
            return
        if self._live:
            say(f"\r\x1b[K{text}", err=True, newline=False)
            return
        kind = text.partition(" ")[0]
        if kind != self._last:
            say(f"  {text}", err=True)
        self._last = kind
