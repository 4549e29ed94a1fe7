"""Any gateway that speaks the documents' API, by its address; the harness can neither start it nor change its world."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from harness.contract import Contract, load_contract
from harness.contract.requirements import reference_claims
from harness.target import Mode, Overlay, Running, Unsupported, Wiring


class UrlTarget:
    """A gateway at ``base_url``; ``keys`` are the customers' secrets that it knows, by account name."""

    modes: tuple[Mode, ...] = ("remote",)

    def __init__(self, base_url: str, *, keys: Mapping[str, str], upstreams_url: str = "", contract: str = "") -> None:
        self.name = base_url
        self.claims = reference_claims().patterns
        self._base_url = base_url.rstrip("/")
        self._keys = keys
        self._upstreams_url = upstreams_url.rstrip("/")
        self._contract = contract

    def contract(self, overlays: Sequence[Overlay] = ()) -> Contract:
        """Return the contract that the gateway is held to, with overlays applied."""
        return load_contract(self._contract or None, overlays=overlays)

    @asynccontextmanager
    async def start(self, wiring: Wiring) -> AsyncIterator[Running]:
        """Give the address. Raises Unsupported for a world that the gateway would have to be configured for."""
        world = wiring.world
        if world.overlay:
            raise Unsupported("it changes the contract, and this gateway cannot be reconfigured from here")
        if world.listeners:
            raise Unsupported("it needs upstream listeners that refuse, and this gateway's are not the harness's")
        secrets = {f"{account}-key": secret for account, secret in self._keys.items()}
        for account in world.accounts:
            if account.id not in self._keys:
                raise Unsupported(f"it needs an account {account.id!r}: give its key with --key {account.id}=ck_...")
            if any(key.state != "active" for key in account.all_keys()):
                raise Unsupported("it needs keys in other states than active")
            secrets.update({key.id: self._keys[account.id] for key in account.all_keys()})
        yield Running(base_url=self._base_url, upstreams_url=self._upstreams_url, secrets=secrets)
