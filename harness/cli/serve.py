"""The serve commands: mock upstreams and the reference gateway on real sockets, for people and for local runs."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import signal
import time  # noqa: TID251 - what is served lives in wall time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from harness.cli.scratch import scratch
from harness.cli.settings import HELP, STDIN, read_settings, refuse, shape_problems, watch_input
from harness.cli.suite import mutate
from harness.cli.terminal import fail, near
from harness.contract import ContractError, load_contract
from harness.environment.secrets import random_secrets
from harness.environment.sim import roles_of
from harness.runner import EXIT_HARNESS, EXIT_USAGE
from harness.scenario import Account, Key, World
from harness.target import UpstreamAddress, Wiring
from mock_upstreams.sockets import serving

ROLES = ("primary", "second", "third")


def upstreams_command(port: int, host: str, config: str) -> None:
    """Serve until interrupted (or, with ``--config -``, until standard input ends)."""
    settings = read_settings(config)
    refuse(shape_problems(settings, ["listeners"]))
    listeners = settings.get("listeners") or dict.fromkeys(ROLES, "open")
    _run(lambda stop: _upstreams(listeners, host, port, stop), watched=config == STDIN)


async def _upstreams(listeners: Mapping[str, str], host: str, port: int, stop: asyncio.Event) -> None:
    async with serving(tuple(listeners), listeners, host, port) as addresses:
        control = addresses.pop("control")
        click.echo(f"ready {control} {' '.join(f'{role}={url}' for role, url in addresses.items())}")
        await stop.wait()


def gateway_command(port: int, host: str, database: str, mutant: str, overlay: str, config: str) -> None:
    """Serve until interrupted (or, with ``--config -``, until standard input ends)."""
    from harness.mutants import MUTANTS

    if mutant and mutant not in MUTANTS:
        raise click.UsageError(f"no mutant {mutant!r}{near(mutant, MUTANTS)}; harness list mutants shows them")
    change = mutate(mutant) if mutant else None
    settings = read_settings(config)
    if database and not Path(database).absolute().parent.is_dir():
        raise click.UsageError(f"--database {database}: there is no folder {Path(database).parent}")
    if config:
        _check_gateway(settings, overlay)
    with scratch() as folder:
        path = Path(database) if database else folder / "ledger.sqlite"
        if settings:
            _run(lambda stop: _gateway(settings, path, change, host, port, stop), watched=config == STDIN)
        else:
            _run(lambda stop: _gateway_with_upstreams(path, change, overlay, host, port, stop), watched=False)


def _check_gateway(settings: Mapping[str, Any], overlay: str) -> None:
    """Refuse a configuration of the gateway with everything that is wrong with it."""
    from harness.targets.reference import problems_of

    if overlay:
        raise click.UsageError("--overlay changes the built-in contract, and --config brings one of its own")
    needed = ("contract", "deployment")
    problems = shape_problems(settings, (*needed, "stub"), needed)
    sound = {name: settings[name] for name in needed if isinstance(settings.get(name), dict)}
    refuse([*problems, *problems_of(**sound)])


async def _gateway(
    settings: Mapping[str, Any], database: Path, change: Any, host: str, port: int, stop: asyncio.Event
) -> None:
    from harness.bench.stub import StubTransport
    from harness.targets.reference import serve

    async with serve(
        settings["contract"],
        settings["deployment"],
        database=database,
        mutate=change,
        host=host,
        port=port,
        transport=StubTransport.from_json(settings["stub"]) if "stub" in settings else None,
    ) as url:
        click.echo(f"ready {url}")
        await stop.wait()


async def _gateway_with_upstreams(
    database: Path, change: Any, overlay: str, host: str, port: int, stop: asyncio.Event
) -> None:
    """Serve a gateway with one customer and mock upstreams of its own, for curl and SDKs."""
    from harness.contract.loader import contract_to_json
    from harness.targets.reference import deployment, serve

    contract = load_contract(overlays=[overlay] if overlay else [])
    world = World(accounts=(Account("you", keys=(Key("you-key"),)),))
    secrets = random_secrets(world)
    async with serving(roles_of(contract)) as mocks:
        control = mocks.pop("control")
        wiring = Wiring(
            mode="local",
            contract=contract,
            world=world,
            secrets=secrets,
            upstreams={
                role: UpstreamAddress(f"{url}/serve/{role}/openai", f"{url}/serve/{role}/anthropic", f"up-{role}")
                for role, url in mocks.items()
            },
            seed=0,
            zero_s=asyncio.get_running_loop().time(),
            epoch_s=int(time.time()),
        )
        token = hashlib.sha256(secrets["you-key"].encode()).hexdigest()
        async with serve(
            contract_to_json(contract),
            deployment(wiring, token),
            database=database,
            mutate=change,
            host=host,
            port=port,
        ) as url:
            click.echo(f"ready {url} key={secrets['you-key']} upstreams={control}")
            await stop.wait()


def _run(serve: Callable[[asyncio.Event], Any], *, watched: bool) -> None:
    """Run a server until SIGINT or SIGTERM, or until standard input ends when a parent holds it."""
    import uvloop

    async def main() -> None:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        if watched:
            watch_input(loop, stop.set)  # a child must not outlive the harness that started it
        # A call leaves hardly a ring behind: looking for garbage at every turn is an eighth of what it costs.
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        await serve(stop)

    try:
        with suppress(KeyboardInterrupt):
            uvloop.run(main())
    except ContractError as error:
        fail("the contract cannot be used", cause="\n".join(error.problems), help="see docs/contract.md")
        raise SystemExit(EXIT_USAGE) from None
    except ValueError as error:
        fail("the configuration cannot be used", cause=str(error), help=HELP)
        raise SystemExit(EXIT_USAGE) from None
    except OSError as error:
        fail("the server did not start", cause=str(error), help="is the port free, and the host one of this machine?")
        raise SystemExit(EXIT_USAGE) from None
    except Exception as error:
        fail("the server did not start", cause=str(error), help="is the file a ledger of this version?")
        raise SystemExit(EXIT_HARNESS) from None
