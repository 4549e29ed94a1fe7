"""A gateway given as an import string: an ASGI app, or a function that makes it, run in sim."""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

from harness.contract.problems import near
from harness.target import Mode, NotATarget, Running, TargetError, Wiring
from harness.targets.promised import Promised
from harness.targets.registry import IMPORT, Spec, target

Shape = Literal["app", "factory", "wired"]
ACCEPTED = (
    "give MODULE:APP, an ASGI app (scope, receive, send); or MODULE:FUNCTION, which makes one and takes nothing, "
    "or one argument called wiring; see docs/targets.md"
)
_ASGI = ("scope", "receive", "send")


@target(IMPORT, modes=("sim",), use="harness run --target mygateway:app")
class ImportedTarget(Promised):
    """An ASGI app of yours in virtual time: the app, or a function (of nothing, or of wiring) that makes it.

    An app that takes no wiring finds it in the lifespan's state under ``harness``. Raises NotATarget for what is not
    there or is no such thing, TargetError for a module that cannot be imported.
    """

    modes: tuple[Mode, ...] = ("sim",)

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self._made = _imported(self.name)
        self._shape = _shape(self.name, self._made)

    @asynccontextmanager
    async def start(self, wiring: Wiring) -> AsyncIterator[Running]:
        """Give the app, made anew if a function makes it. Raises TargetError if that fails or makes something else."""
        yield Running(app=self._made if self._shape == "app" else await self._app(wiring))

    async def _app(self, wiring: Wiring) -> Any:
        try:
            app = self._made(wiring) if self._shape == "wired" else self._made()
            if inspect.isawaitable(app):
                app = await app
        except (Exception, SystemExit) as error:
            cause = "".join(traceback.format_exception_only(error)).strip()
            raise TargetError(f"{self.name} could not be made", cause=cause) from error
        if not callable(app):
            raise TargetError(f"{self.name} made a {type(app).__name__}, which is no ASGI app", help=ACCEPTED)
        return app


def _imported(name: str) -> Any:
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # as a person expects; last, so that nothing of the harness's is shadowed
    module, _, attribute = name.partition(":")
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if not error.name or not (module == error.name or module.startswith(f"{error.name}.")):
            raise TargetError(f"cannot import {module}", cause=str(error)) from error
        cause = f"Python looked in {', '.join(path or '.' for path in sys.path if not path.endswith('.zip'))}"
        raise NotATarget(f"no module {error.name!r}{_near_modules(error.name)}", cause=cause, help=ACCEPTED) from error
    except (ValueError, TypeError) as error:
        raise NotATarget(f"{name!r} names no module", cause=str(error), help=ACCEPTED) from error
    except (Exception, SystemExit) as error:  # whatever a module of somebody else's raises as it is imported
        cause = "".join(traceback.format_exception_only(error)).strip()
        raise TargetError(f"cannot import {module}", cause=cause) from error
    for part in attribute.split("."):
        if not part or not hasattr(found, part):
            public = [word for word in dir(found) if not word.startswith("_")]
            raise NotATarget(f"{module} has no attribute {attribute!r}{near(part, public)}", help=ACCEPTED)
        found = getattr(found, part)
    return found


def _near_modules(name: str) -> str:
    parent, _, last = name.rpartition(".")
    folders = [Path.cwd()] if not parent else [Path(path) for path in getattr(sys.modules.get(parent), "__path__", ())]
    known = [path.stem for folder in folders for path in folder.iterdir() if path.suffix == ".py" or path.is_dir()]
    return near(last, [word for word in known if word.isidentifier()])


def _shape(name: str, made: Any) -> Shape:
    """Return how ``made`` gives an app. Raises NotATarget if it does not."""
    try:
        signature = inspect.signature(made)
    except (TypeError, ValueError):
        raise NotATarget(f"{name} is a {type(made).__name__}, no ASGI app", help=ACCEPTED) from None
    asynchronous = inspect.iscoroutinefunction(made) or inspect.iscoroutinefunction(getattr(made, "__call__", None))  # noqa: B004 - its type is asked, not whether it has one
    if _takes(signature, 3) and (asynchronous or tuple(signature.parameters)[:3] == _ASGI):
        return "app"
    needed = [one for one in signature.parameters.values() if one.default is one.empty and one.kind not in _OPTIONAL]
    if not needed:
        return "factory"
    if len(needed) == 1 and _takes(signature, 1) and (needed[0].name == "wiring" or _is_wiring(needed[0].annotation)):
        return "wired"
    raise NotATarget(f"{name}{signature} is no ASGI app, and makes none", help=ACCEPTED)


_OPTIONAL = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


def _is_wiring(annotation: Any) -> bool:
    return annotation is Wiring or (isinstance(annotation, str) and annotation.rpartition(".")[2] == Wiring.__name__)
