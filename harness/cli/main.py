"""The commands and what they take; each imports what it needs when it runs, so that ``--help`` stays quick."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from harness.cli.terminal import fail, hush

EXIT_USAGE = 64
EXIT_HARNESS = 70
click.UsageError.exit_code = EXIT_USAGE


class Commands(click.Group):
    """The group, which names the near commands for a misspelt one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            from harness.cli.terminal import near

            raise click.UsageError(
                f"no command {args[0]!r}{near(args[0], self.commands)}; there are {', '.join(sorted(self.commands))}"
            ) from None


class Seconds(click.FloatRange):
    """A number of seconds, at most a month. ``nan`` lies in every range, and is none."""

    def __init__(self, least: float, *, min_open: bool = False) -> None:
        super().__init__(least, 31 * 24 * 3600, min_open=min_open)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        made = super().convert(value, param, ctx)
        return self.fail(f"{value!r} is no number", param, ctx) if made != made else made


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="llm-gateway-harness", prog_name="harness")
def harness() -> None:
    """Prove an LLM gateway against its contract: simulated, on loopback, or where it runs.

    \b
    harness demo                    the reference gateway, then a broken one, in ten seconds
    harness run                     every scenario against the reference gateway, in virtual time
    harness run --mode local        the same on real sockets
    harness run --target URL        a gateway that is already there
    harness power                   gateways that are wrong on purpose: does the suite notice?
    harness swarm                   scenarios drawn at random, and what fails made small
    harness audit                   the books of a run, or your own, priced again call by call
    """


def _targets(function: Any) -> Any:
    for option in (
        click.option("--contract", "contract_path", default="", help="Contract of the target: a TOML file or folder."),
        click.option("--claims", "claims_path", default="", help="What a gateway of yours claims: a TOML file."),
        click.option("--upstreams", "upstreams_url", default="", help="Remote: mock upstreams behind the gateway."),
        click.option(
            "--key",
            "keys",
            multiple=True,
            metavar="ACCOUNT[=SECRET]",
            help="Remote: an account's key; without SECRET it is taken from HARNESS_KEY_ACCOUNT.",
        ),
        click.option(
            "--target",
            default="reference",
            show_default="reference; of a plan, its own",
            help="A name, MODULE:APP, or a URL.",
        ),
    ):
        function = option(function)
    return function


@harness.command()
@click.argument("names", nargs=-1, metavar="[SCENARIO]...")
@_targets
@click.option(
    "--mode", type=click.Choice(["sim", "local", "remote"]), help="Default: sim; remote for a URL; a plan's own."
)
@click.option("--profile", "profiles", multiple=True, help="Only requirements of this profile.")
@click.option("--requirement", "requirements", multiple=True, metavar="ID", help="Only this requirement.")
@click.option("--mutant", default="", help='Make the reference gateway wrong in this one way; "": in none.')
@click.option("--seed", type=click.IntRange(0), help="Default: 0; a plan's own.")
@click.option("--seeds", default="", metavar="A..B", help="Every seed from A to B, spread over the cores.")
@click.option("--last-failed", is_flag=True, help="Only what did not pass in the last run.")
@click.option("--list", "list_only", is_flag=True, help="Show what would run, and run nothing.")
@click.option("-x", "--exit-first", is_flag=True, help="Stop at the first scenario that does not pass.")
@click.option("--workers", type=click.IntRange(1), help="Processes; default: one per core.")
@click.option("--shard", default="", metavar="I/N", help="Only the i-th of n parts; harness merge joins them.")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder; default: runs/<n>.")
@click.option("-q", "--quiet", is_flag=True, help="Verdict and failures only.")
@click.pass_context
def run(ctx: click.Context, /, **options: Any) -> None:
    """Run scenarios and judge every requirement that they check.

    SCENARIO is a scenario's name, a scenario file's name for all in it, a pattern (failover.*), or a part of the
    suite: core, ceilings, chaos, durability, limiter. Without any: the whole suite but the last two (durability needs
    --mode local).

    Or it is a file: a plan that harness swarm saved, a history.jsonl, or the folder of a recorded scenario. It is run
    with the target, mode, seed and mutant that it names, where the command line names no other: --mutant "" and
    --target reference both take it to the reference gateway as it is, without the mutant.
    """
    from harness.cli.run import RunOptions, run_command

    said = frozenset(name for name in options if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE)
    ctx.exit(run_command(RunOptions(said=said, **options)))


@harness.command()
@click.argument("shape")
@_targets
@click.option("--mode", type=click.Choice(["sim", "local", "remote"]), help="Default: local; remote for a URL.")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), default=None, help="Default: the shape's own.")
@click.option("--arrivals", type=click.Choice(["constant", "poisson", "gamma"]), help="Default: the shape's own.")
@click.option("--trace", type=click.Path(path_type=Path), help="For the shape trace: an arrival trace, CSV or JSONL.")
@click.option("--overlay", default="", help="A named overlay of the contract, or a TOML file of one.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Locust processes.")
@click.option("--expect-workers", type=click.IntRange(1, 64), help="Wait for so many of harness load-worker instead.")
@click.option("--expect-workers-max-wait", type=Seconds(1), default=300, show_default=True, metavar="SECONDS")
@click.option("--master-bind-host", default="127.0.0.1", show_default=True, help="Where they come to.")
@click.option("--master-bind-port", type=click.IntRange(0, 65535), default=5557, show_default=True, help="0: any.")
@click.option("--apart", is_flag=True, help="Take their clocks for ones that do not compare, as of several machines.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--mutant", default="", help="Make the reference gateway wrong in this one way.")
@click.option(
    "--objective", "objectives", multiple=True, metavar="WHAT=MS", help="latency, ttft or per-token: goodput."
)
@click.option(
    "--starve",
    type=click.IntRange(0, 900),
    default=0,
    metavar="MS",
    help="Hold the generator up for so much of a second.",
)
@click.option("--web", type=click.IntRange(1, 65535), metavar="PORT", help="Locust's own page, beside the load.")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder; default: runs/<n>.")
@click.option("-q", "--quiet", is_flag=True, help="Verdict and failures only.")
@click.pass_context
def load(ctx: click.Context, /, **options: Any) -> None:
    """Load a gateway with Locust, or in virtual time, and prove what it held.

    SHAPE is a shape of load, such as ceiling-text, probe-rpm, storm or agents: harness list shapes, docs/load.md.
    """
    from harness.cli.load import LoadOptions, load_command

    options["minutes"] = options["minutes"] or 0
    options["arrivals"] = options["arrivals"] or ""
    ctx.exit(load_command(LoadOptions(**options)))


@harness.command("load-worker")
@click.argument("master", metavar="HOST:PORT")
@click.option("--max-wait", type=Seconds(0), default=300, show_default=True, metavar="SECONDS")
@click.pass_context
def load_worker(ctx: click.Context, /, master: str, max_wait: float) -> None:
    """Send a share of the load that ``harness load --expect-workers`` makes from HOST:PORT.

    It waits for the harness, sends what it is told, and ends with it. A machine may have several.
    """
    from harness.cli.load_worker import load_worker_command

    ctx.exit(load_worker_command(master, max_wait))


@harness.command()
@click.argument("names", nargs=-1, metavar="[MUTANT]...")
@click.option("--full", is_flag=True, help="Every mutant through the whole core, not only to its first kill.")
@click.option("--load", "under_load", is_flag=True, help="Those that load alone can catch, on sockets: minutes.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--clean",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A run of the reference gateway (harness run core --seeds A..B) that counts against false alarms.",
)
@click.option("--workers", type=click.IntRange(1), help="Processes; default: one per core.")
@click.option("--shard", default="", metavar="I/N", help="Only the i-th of n parts; harness merge joins them.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the record; default: runs/<n>.")
@click.option("-q", "--quiet", is_flag=True, help="Verdict and what was missed only.")
@click.pass_context
def power(ctx: click.Context, /, **options: Any) -> None:
    """Show that the suite notices: run gateways that are wrong in one way each, and see every one of them caught.

    MUTANT is a mutant's name, or a pattern (bills_*). Without any: all of them, and every requirement that the
    reference gateway claims must have one. Some take a load to be seen: --load is for them alone.
    """
    if options.pop("under_load"):
        from harness.cli.power_load import power_load_command

        taken = {name: options.pop(name) for name in ("names", "seed", "out", "quiet")}
        if given := [name for name, value in options.items() if value]:
            raise click.UsageError(f"--load takes no --{given[0]}: the loads run one after the other, each whole")
        ctx.exit(power_load_command(**taken))
    from harness.cli.power import power_command

    ctx.exit(power_command(**options))


@harness.command()
@click.argument("folders", nargs=-1, required=True, metavar="DIR...", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the whole.")
@click.pass_context
def merge(ctx: click.Context, /, folders: tuple[Path, ...], out: Path) -> None:
    """Join the shards of a run, or of a power run, into one folder, and exit as the whole would have."""
    from harness.cli.merge import merge_command

    ctx.exit(merge_command(folders, out))


@harness.command()
@click.option("--out", type=click.Path(path_type=Path), help="Run folder; default: runs/<n>.")
@click.pass_context
def demo(ctx: click.Context, /, out: Path | None) -> None:
    """Run the core on the reference gateway, then break it on purpose and show what that looks like."""
    from harness.cli.run import demo_command

    ctx.exit(demo_command(out))


@harness.command()
@click.option("--contract", "contract_path", default="", help="Contract of the target: a TOML file or folder.")
@click.option("--target", default="reference", show_default=True, help="reference, or MODULE:APP.")
@click.option("--mutant", default="", help="Make the reference gateway wrong in this one way; stop when it is found.")
@click.option("--seconds", type=Seconds(0, min_open=True), default=60.0, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Draws the same scenarios again.")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder; default: runs/<n>.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@click.pass_context
def swarm(ctx: click.Context, /, **options: Any) -> None:
    """Draw scenarios at random, judge each by every checker, and make what fails small.

    A failure is saved as a file that harness run FILE runs again.
    """
    from harness.cli.swarm import swarm_command

    ctx.exit(swarm_command(**options))


@harness.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.pass_context
def judge(ctx: click.Context, /, folder: Path) -> None:
    """Judge and render a recorded run again, whoever recorded it."""
    from harness.cli.recorded import judge_command

    ctx.exit(judge_command(folder))


@harness.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.pass_context
def replay(ctx: click.Context, /, folder: Path) -> None:
    """Run a run that was recorded in sim again, and compare it bit for bit."""
    from harness.cli.recorded import replay_command

    ctx.exit(replay_command(folder))


@harness.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path), metavar="[DIR]")
@click.option("--upstream", multiple=True, type=click.Path(path_type=Path), help="What providers served, file by file.")
@click.option("--ledger", multiple=True, type=click.Path(path_type=Path), help="What the gateway charged.")
@click.option("--client", multiple=True, type=click.Path(path_type=Path), help="What callers were told.")
@click.option("--prices", default="", metavar="FILE|CONTRACT", help="The printed prices (see docs/audit.md).")
@click.option("--map", "maps", multiple=True, metavar="[BOOK=|FILE=]MAP", help="Which columns hold what.")
@click.option("--tolerance", type=click.IntRange(0), default=0, show_default=True, help="In quanta of the rounding.")
@click.option("--cutoff", type=click.IntRange(0), metavar="SECONDS", help="How near its edge a period may lack a call.")
@click.option("--out", type=click.Path(path_type=Path), help="Default: DIR/audit, or audit.")
@click.pass_context
def audit(ctx: click.Context, /, folder: Path | None, **options: Any) -> None:
    """Match what was served, booked and told, call by call, and price it again: a recorded run's books, or your own."""
    from harness.cli.audit import audit_command

    files = {book: options.pop(book) for book in ("upstream", "ledger", "client")}
    ctx.exit(audit_command(folder, files, **options))


@harness.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path), metavar="[DIR]")
@_targets
@click.option("--mode", type=click.Choice(["sim", "local", "remote"]), help="Default: sim; remote for a URL.")
@click.option("--tier", type=click.Choice(["managed", "general"]), default="managed", show_default=True)
@click.option("--path", default="", help="Remote: where chat completions are, such as /v1/chat/completions.")
@click.option("--model", default="", help="The model to ask; default: one of the contract's.")
@click.option("--other-model", default="", help="Another one, to tell whether models share a limit.")
@click.option("--limit", type=click.IntRange(2), help="About how many it lets in; sim and local: what it is set to.")
@click.option("--window", type=Seconds(0, min_open=True), metavar="SECONDS", help="In about how long.")
@click.option("--mutant", default="", help="Make the reference gateway wrong in this one way.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Run folder; default: runs/<n>.")
@click.pass_context
def limiter(ctx: click.Context, /, **options: Any) -> None:
    """Tell from what a gateway lets in which limiter it has, its figures and its scope, and what rules others out.

    With DIR, and no option: from a recorded run in which one was asked.
    """
    from harness.cli.limiter import LimiterOptions, limiter_command

    said = frozenset(name for name in options if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE)
    ctx.exit(limiter_command(LimiterOptions(said=said, **options)))


@harness.command()
@click.option(
    "--target", "targets", multiple=True, help="Repeatable: a name, or a URL; default: reference, stub, nginx."
)
@click.option(
    "--measure",
    "measures",
    multiple=True,
    type=click.Choice(["latency", "streams", "calls", "chunks"]),
    help="Only this.",
)
@click.option("--pairs", type=click.IntRange(4), default=400, show_default=True, help="Rounds of calls.")
@click.option(
    "--blocks", type=click.IntRange(2, 100), default=8, show_default=True, help="Values behind each interval."
)
@click.option("--seconds", type=Seconds(0, min_open=True), default=1.0, show_default=True, help="Of each closed loop.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Draws the order of the turns.")
@click.option("--upstreams", default="", metavar="URL", help="Mock upstreams that are served already, behind a URL.")
@click.option("--model", default="", help="Of a target by URL: the model that is asked.")
@click.option("--key", "keys", multiple=True, metavar="ACCOUNT[=SECRET]", help="Of a target by URL, as for run.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the record; default: runs/<n>.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@click.pass_context
def bench(ctx: click.Context, /, **options: Any) -> None:
    """Measure what gateways add to a call and what CPU it takes, side by side: a mock, a floor, a peer, yours.

    Targets are reference, stub (its pipeline alone), nginx, litellm, portkey, aimock, and any by URL.
    """
    from harness.cli.bench import bench_command

    ctx.exit(bench_command(**options))


@harness.command()
@click.argument("requirement", metavar="ID")
def explain(requirement: str) -> None:
    """Say what a requirement asks, where it stands, what checks it, and what would break it."""
    from harness.cli.catalogue import explain_command

    explain_command(requirement)


@harness.command("list")
@click.argument(
    "what",
    type=click.Choice(["scenarios", "checkers", "branches", "faults", "requirements", "targets", "mutants", "shapes"]),
)
def list_(what: str) -> None:
    """List what there is."""
    from harness.cli.catalogue import list_command

    list_command(what)


@harness.group(cls=Commands)
def serve() -> None:
    """Serve the mock upstreams, or the reference gateway, for curl and SDKs."""


@serve.command("upstreams")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Default: a free one.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--config", default="", help="A JSON object, or - for one line of standard input (see docs/serving.md).")
def serve_upstreams(port: int, host: str, config: str) -> None:
    """Serve mock model providers; the first line on standard output is the ready line with the real ports."""
    from harness.cli.serve import upstreams_command

    upstreams_command(port, host, config)


@serve.command("gateway")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Default: a free one.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--database", default="", help="SQLite file of the ledger; default: a temporary one.")
@click.option("--mutant", default="", help="Make the gateway wrong in this one way.")
@click.option("--overlay", default="", help="A named overlay of the contract, such as short.")
@click.option("--config", default="", help="A JSON object, or - for one line of standard input (see docs/serving.md).")
def serve_gateway(port: int, host: str, database: str, mutant: str, overlay: str, config: str) -> None:
    """Serve the reference gateway; without --config with mock upstreams of its own and a fresh key."""
    from harness.cli.serve import gateway_command

    gateway_command(port, host, database, mutant, overlay, config)


def main() -> None:
    """Run the command line; every error is said once, in the same form, with the exit codes of docs/exit-codes.md."""
    try:
        code = harness.main(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as shown:
        click.echo(shown.ctx.get_help() if shown.ctx else "")
        code = EXIT_USAGE
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "harness"
        fail(error.format_message(), help=f"{where} --help")
        code = EXIT_USAGE
    except (click.Abort, KeyboardInterrupt):
        fail("interrupted")
        code = 130
    except click.ClickException as error:
        fail(error.format_message())
        code = error.exit_code
    except BrokenPipeError:
        hush(sys.stdout)  # whoever read our output went away (head, less): nothing is left to say
        code = 0
    except Exception:
        import traceback

        fail("the harness failed", cause=traceback.format_exc(limit=-6), help="this is a fault of the harness itself")
        code = EXIT_HARNESS
    sys.exit(code if isinstance(code, int) else 0)
