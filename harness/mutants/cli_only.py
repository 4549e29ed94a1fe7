"""Mutants that open the CLI-only models to others, close them to the official client, or punish wrongly (MSG-07)."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from harness.gateway.asgi import Client
from harness.gateway.call import Call
from harness.gateway.cli_gate import CliGate
from harness.gateway.components import Components
from harness.gateway.errors import Refusal
from harness.gateway.keys import KeyRing
from harness.gateway.pipeline import Pipeline
from harness.mutants.furniture import with_keys
from harness.mutants.registry import mutant
from harness.mutants.swaps import ask_in_vain


@mutant(breaks="MSG-07")
def serves_max_models_to_everybody(parts: Components) -> Components:
    """Asks nobody for the marks of the official client."""

    class Open(CliGate):
        def is_official(self, client: Client, body: dict[str, Any]) -> bool:
            return True

    return _with_gate(parts, Open)


@mutant(breaks="MSG-07")
def believes_the_user_agent(parts: Components) -> Components:
    """Takes whoever says that it is the official client for it, other marks or none."""

    class Trusting(CliGate):
        def is_official(self, client: Client, body: dict[str, Any]) -> bool:
            return self._user_agent.search(client.header("user-agent")) is not None

    return _with_gate(parts, Trusting)


@mutant(breaks="MSG-07")
def finds_the_official_name_anywhere(parts: Components) -> Components:
    """Looks for the official client's name in the middle of a user agent, too."""

    class Loose(CliGate):
        def is_official(self, client: Client, body: dict[str, Any]) -> bool:
            self._user_agent = re.compile(self._marks.user_agent.removeprefix("^"))
            return super().is_official(client, body)

    return _with_gate(parts, Loose)


@mutant(breaks="MSG-07")
def compares_no_sessions(parts: Components) -> Components:
    """Asks for a session header, and not whether it is the session of the body."""

    class Careless(CliGate):
        def is_official(self, client: Client, body: dict[str, Any]) -> bool:
            return super().is_official(client, {})

    return _with_gate(parts, Careless)


@mutant(breaks="MSG-07")
def knows_the_interactive_client_alone(parts: Components) -> Components:
    """Knows the official client by the system prompt that it has when it runs in a terminal."""

    class Interactive(CliGate):
        def is_official(self, client: Client, body: dict[str, Any]) -> bool:
            system = str(body.get("system"))
            return super().is_official(client, body) and "You are Claude Code" in system

    return _with_gate(parts, Interactive)


@mutant(breaks="MSG-07")
def knows_the_headless_client_alone(parts: Components) -> Components:
    """Knows the official client by the name that it has when it runs without a terminal."""

    class Headless(CliGate):
        def is_official(self, client: Client, body: dict[str, Any]) -> bool:
            return super().is_official(client, body) and "sdk-cli" in client.header("user-agent")

    return _with_gate(parts, Headless)


@mutant(breaks="MSG-07")
def serves_the_official_client_on_every_path(parts: Components) -> Components:
    """Looks at the client, and not at the path that it asks."""

    class Anywhere(CliGate):
        def require(self, parts: Components, call: Call) -> None:
            if not self.is_official(call.client, call.body):
                super().require(parts, call)

    return _with_gate(parts, Anywhere)


@mutant(breaks="MSG-07")
def takes_every_max_model_for_claude(parts: Components) -> Components:
    """Closes every model whose id ends in -max, Claude or not."""

    class Broad(CliGate):
        def require(self, parts: Components, call: Call) -> None:
            assert call.model is not None
            if call.model.id.endswith("-max") and not call.model.cli_only:
                raise Refusal("cli_only", f"{call.model.id} is served to the official command line client alone")
            super().require(parts, call)

    return _with_gate(parts, Broad)


@mutant(breaks="MSG-07")
def blocks_but_never_suspends(parts: Components) -> Components:
    """Refuses a CLI-only model to other clients, but leaves their key as it was."""

    class Lenient(KeyRing):
        def suspend(self, key: str) -> None:
            return None

    return with_keys(parts, Lenient)


@mutant(breaks="MSG-07")
def suspends_at_the_second_offence(parts: Components) -> Components:
    """Refuses a key's first use of a CLI-only model with a warning."""
    warned: set[str] = set()

    class Patient(KeyRing):
        def suspend(self, key: str) -> None:
            if key in warned:
                super().suspend(key)
            warned.add(key)

    return with_keys(parts, Patient)


@mutant(breaks="MSG-07")
def forgets_suspensions_at_a_restart(parts: Components) -> Components:
    """Keeps in memory alone which keys it suspended."""

    class Forgetful(KeyRing):
        def suspend(self, key: str) -> None:
            self._keys[key].state = "suspended"

    return with_keys(parts, Forgetful)


@mutant(breaks="MSG-07")
def suspends_every_key_of_the_account(parts: Components) -> Components:
    """Suspends the other keys of the account as well."""

    class Sweeping(KeyRing):
        def suspend(self, key: str) -> None:
            account = self._keys[key].identity.account
            for other in self._keys.values():
                if other.identity.account == account:
                    super().suspend(other.identity.key)

    return with_keys(parts, Sweeping)


@mutant(breaks="MSG-07")
def pays_back_when_it_suspends(parts: Components) -> Components:
    """Gives a credit back to the account whose key it suspends."""

    class Kind(Pipeline):
        async def refuse(self, parts: Components, call: Call, refusal: Refusal) -> None:
            if refusal.name == "cli_only":
                await parts.ledger.payout(call.account, call.label, 1)
            await super().refuse(parts, call, refusal)

    return replace(parts, pipeline=Kind())


@mutant(breaks="MSG-07")
def suspends_before_it_looks_at_the_fields(parts: Components) -> Components:
    """Suspends the key of a wrong client whose request is refused as a bad one."""

    class Eager(Pipeline):
        def understand(self, parts: Components, call: Call) -> None:
            try:
                super().understand(parts, call)
            except Refusal as refusal:
                if refusal.name == "bad_request" and call.model is not None and call.model.cli_only:
                    assert call.identity is not None
                    parts.keys.suspend(call.identity.key)
                raise

    return replace(parts, pipeline=Eager())


@mutant(breaks="MSG-07")
def asks_the_upstream_before_the_client(parts: Components) -> Components:
    """Sends the call of a wrong client upstream, and drops the answer."""

    class Hasty(Pipeline):
        async def refuse(self, parts: Components, call: Call, refusal: Refusal) -> None:
            if refusal.name == "cli_only" and call.model is not None:
                await ask_in_vain(parts, call)
            await super().refuse(parts, call, refusal)

    return replace(parts, pipeline=Hasty())


def _with_gate(parts: Components, gate: type[CliGate]) -> Components:
    return replace(parts, cli_gate=gate(parts.contract))
