"""What every target has in common: the contract that it is held to and what it claims of the catalogue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.contract import Contract, contract_from_json, load_contract, reference_claims, with_overlays
from harness.target import Overlay
from harness.targets.registry import Spec


class Promised:
    """The half of a target that is the same for all.

    The spec's ``contract`` is a TOML file or folder, or a whole contract as data (a recorded one); without any it is
    the documents'. Its ``claims`` are patterns; without any the reference gateway's. Raises ContractError.
    """

    ours = False
    """Whether a fault inside it is the harness's own."""

    def __init__(self, spec: Spec) -> None:
        self.name = str(spec["name"])
        self.claims: tuple[str, ...] = tuple(spec.get("claims") or reference_claims().patterns)
        self._promise: str | Mapping[str, object] = spec.get("contract") or ""

    def contract(self, overlays: Sequence[Overlay] = ()) -> Contract:
        """Return the contract that the gateway is held to, with overlays applied."""
        if isinstance(self._promise, Mapping):
            return with_overlays(contract_from_json(self._promise), overlays)
        return load_contract(self._promise or None, overlays=overlays)

    def check(self) -> None:
        """Find nothing wrong: what can be known only when it starts is told then."""
