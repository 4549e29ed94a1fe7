"""A gateway given as an import string: an ASGI app, or a function from the harness's wiring to one, run in sim."""

from __future__ import annotations

import importlib
import inspect
import traceback
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from harness.contract import Contract, load_contract
from harness.contract.requirements import reference_claims
from harness.target import Mode, Overlay, Running, TargetError, Wiring


class ImportedTarget:
    """``module:attribute``; the attribute takes (scope, receive, send), or one argument: the ``Wiring``.

    An app that takes no wiring finds it in the lifespan's state under ``harness``.
    """

    modes: tuple[Mode, ...] = ("sim",)

    def __init__(self, name: str, *, contract: str = "") -> None:
        self.name = name
        self.claims = reference_claims().patterns
        self._contract = contract
        self._made = _imported(name)

    def contract(self, overlays: Sequence[Overlay] = ()) -> Contract:
        """Return the contract that the gateway is held to, with overlays applied."""
        return load_contract(self._contract or None, overlays=overlays)

    @asynccontextmanager
    async def start(self, wiring: Wiring) -> AsyncIterator[Running]:
        """Build the app. Raises TargetError if what was imported is no ASGI app and makes none."""
        app = self._made
        if _is_factory(app):
            try:
                app = app(wiring)
                if inspect.isawaitable(app):
                    app = await app
            except Exception as error:
                cause = "".join(traceback.format_exception_only(error)).strip()
                raise TargetError(f"{self.name} could not be made", cause=cause) from error
        if not callable(app):
            raise TargetError(f"{self.name} is no ASGI app", help="give MODULE:APP, or MODULE:FUNCTION(wiring) -> app")
        yield Running(app=app)


def _imported(name: str) -> Any:
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:  # whatever a module of somebody else's raises as it is imported
        raise TargetError(
            f"cannot import {name}", cause=str(error), help="give MODULE:APP as Python imports it"
        ) from error


def _is_factory(app: Any) -> bool:
    try:
        parameters = inspect.signature(app).parameters
    except (TypeError, ValueError):
        return False
    return len(parameters) == 1
