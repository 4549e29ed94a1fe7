"""Model lists: the Enterprise table to the digit, the general models in OpenAI's and Anthropic's shape."""

from __future__ import annotations

from dataclasses import replace

from harness.checkers.models import enterprise_models_are_listed_to_the_digit, general_models_are_listed
from harness.contract import Contract
from harness.scenario import Scenario, Workload, World, scenario
from scenarios.requests import on_every_path, spaced


@scenario
def lists_are_the_contracts(contract: Contract) -> Scenario:
    """Each model list holds exactly the models of its tier, in the shape that the client's headers ask for."""
    lists = list(on_every_path(contract, surfaces=("models",)))
    asked = [replace(call, headers={"anthropic-version": "2023-06-01"}) for call in lists if "managed" not in call.path]
    return Scenario(
        world=World(),
        workload=Workload(spaced([*lists, *asked])),
        bodies=True,
        checks=(enterprise_models_are_listed_to_the_digit, general_models_are_listed),
        recovers=False,
    )
