"""What of a plan's scenario only the contract can tell: whether its calls and faults can be played; it plays none."""

from __future__ import annotations

from harness.clients import build
from harness.contract import Contract
from harness.environment.plan import default_key, injections_of
from harness.environment.planned import PlanError, one_of
from harness.environment.secrets import made_up_secrets
from harness.scenario import ROLES, Scenario
from mock_upstreams.injections import read_injections


def check_playable(made: Scenario, contract: Contract) -> None:
    """Raise PlanError for what of a plan's scenario cannot be played under ``contract``, its own overlay included."""
    secrets = made_up_secrets(made.world, made.name)
    roles = {*ROLES, *(target.role for model in contract.models for target in model.chain)}
    for number, injection in enumerate(made.injections):
        one_of(injection.role, {"*", *roles}, f"options.injections[{number}].role")
    for number, crash in enumerate(made.crashes):
        if crash.after_appends is not None and crash.after_appends < 1:
            raise PlanError(
                f"options.crashes[{number}].after_appends: cannot be {crash.after_appends}; it is 1 or more"
            )
    try:
        read_injections(injections_of(made, made.workload.calls))
    except ValueError as error:
        raise PlanError(f"options.injections: {error}") from None
    for role in made.world.listeners:
        one_of(role, roles, "options.world.listeners")
    for call in made.workload.calls:
        try:
            key = call.key or default_key(made.world, call.account)
            build(call, secret=secrets[key], contract=contract, other_secret=secrets.get(call.other_key, ""))
        except (ValueError, TypeError) as error:
            raise PlanError(f"calls: {error}") from None
