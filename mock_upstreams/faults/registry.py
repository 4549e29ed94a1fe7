"""How a fault becomes known, is named in a scenario, and is applied to a reply; it contains no fault itself.

A fault is a generator over parts: ``def name(reply: Reply, rng: Random, *, params) -> Iterator[Part]``. Decorated with
``@fault`` and called with its parameters alone it gives a ``FaultSpec``, which is what scenarios and injections carry.
"""

from __future__ import annotations

import difflib
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal, overload

from mock_upstreams.parts import Exchange, Part, Reply, Start

Target = Literal["any", "stream", "whole"]
"""Which replies a fault can act on: every one, streams, or unstreamed answers."""


@dataclass(frozen=True, slots=True)
class Unit:
    """What a parameter counts, how small and large it may be, and a value for examples; used inside ``Annotated``."""

    name: str
    least: float = 0
    most: float = 1e9
    sample: Any = 1


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a fault, as its signature says."""

    name: str
    type: str
    unit: str
    required: bool
    default: Any
    choices: tuple[Any, ...]
    least: float | None
    most: float | None
    sample: Any

    def problem(self, value: Any) -> str | None:
        """Return what is wrong with ``value``, or None."""
        if value is None:
            return None if not self.required and self.default is None else f"{self.name} must be given"
        if self.choices:
            return None if value in self.choices else f"{self.name}={value!r} is none of {list(self.choices)}"
        wanted: tuple[type, ...] = {"int": (int,), "float": (int, float), "bool": (bool,)}.get(self.type, (str,))
        if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
            return f"{self.name}={value!r} is not of type {self.type}"
        assert isinstance(value, int | float | str)
        if isinstance(value, str) or self.least is None or self.most is None:
            return None
        if not self.least <= value <= self.most:
            return f"{self.name}={value!r} is not between {self.least:g} and {self.most:g} {self.unit}"
        return None


FaultFunction = Callable[..., Iterator[Part]]


@dataclass(frozen=True, slots=True)
class Fault:
    """A registered fault. Call it with its parameters to get a spec; ``apply`` runs one.

    ``lawful``: what it leaves is still a whole answer, whose reading is what was sent. ``surfaces``: empty for all.
    ``replaces``: nothing of the reply is left, so that of the faults that struck it before none is seen.
    ``fragments``: it breaks chunks up, so that what acts on events must come before it.
    """

    name: str
    promise: str
    on: Target
    surfaces: tuple[str, ...]
    lawful: bool
    parameters: Mapping[str, Parameter]
    run: FaultFunction
    replaces: bool = False
    fragments: bool = False

    def __call__(self, **params: Any) -> FaultSpec:
        return FaultSpec(self.name, params)

    def fits(self, exchange: Exchange) -> bool:
        """Say whether the fault can act on the reply to ``exchange``."""
        if self.surfaces and exchange.surface not in self.surfaces:
            return False
        return self.on == "any" or (self.on == "stream") == exchange.stream

    def example(self) -> str:
        """Return a call of the fault with its required parameters."""
        given = ", ".join(f"{p.name}={p.sample!r}" for p in self.parameters.values() if p.required)
        return f"{self.name}({given})"


FAULTS: dict[str, Fault] = {}
"""All faults by name, filled by ``@fault`` as the modules of ``mock_upstreams.faults`` are imported."""


@dataclass(frozen=True, slots=True)
class FaultSpec:
    """A fault and its parameters, plain data; ValueError lists all that is wrong with them."""

    name: str
    params: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = FAULTS.get(self.name)
        if known is None:
            raise ValueError(f"no fault {self.name!r}{near(self.name, FAULTS)}")
        if not isinstance(self.params, Mapping):
            raise ValueError(f"fault {self.name}: params must be an object, not {self.params!r}")
        problems = [
            f"no parameter {name!r}{near(name, known.parameters)}"
            for name in self.params
            if name not in known.parameters
        ]
        for parameter in known.parameters.values():
            if parameter.name in self.params:
                problems.append(parameter.problem(self.params[parameter.name]) or "")
            elif parameter.required:
                problems.append(f"{parameter.name} must be given")
        if any(problems):
            raise ValueError(f"fault {self.name}: {'; '.join(filter(None, problems))}; for example {known.example()}")
        object.__setattr__(self, "params", dict(self.params))

    def __hash__(self) -> int:
        return hash((self.name, tuple(sorted(self.params.items()))))

    @property
    def fault(self) -> Fault:
        """The fault that the spec names."""
        return FAULTS[self.name]


def apply(spec: FaultSpec, reply: Reply, rng: Random) -> Reply:
    """Return ``reply`` as the fault leaves it; the very same where a fault of streams meets one that is none."""
    if not isinstance(reply.parts, tuple | list):
        reply = Reply(tuple(reply), reply.exchange)
    if spec.fault.on == "stream" and not is_event_stream(reply):
        return reply
    return Reply(tuple(spec.fault.run(reply, rng, **spec.params)), reply.exchange)


def is_event_stream(parts: Iterable[Part]) -> bool:
    """Say whether ``parts`` are server-sent events, as their content type has it."""
    starts = (part for part in parts if isinstance(part, Start))
    return any(
        b"text/event-stream" in value for start in starts for name, value in start.headers if name == b"content-type"
    )


@overload
def fault(function: FaultFunction) -> Fault: ...
@overload
def fault(
    *, on: Target = ..., surfaces: Sequence[str] = ..., lawful: bool = ..., replaces: bool = ..., fragments: bool = ...
) -> Callable[[FaultFunction], Fault]: ...
def fault(
    function: FaultFunction | None = None,
    *,
    on: Target = "any",
    surfaces: Sequence[str] = (),
    lawful: bool = False,
    replaces: bool = False,
    fragments: bool = False,
) -> Fault | Callable[[FaultFunction], Fault]:
    """Register a function ``(reply, rng, *, params) -> Iterator[Part]`` as a fault under its own name.

    Raises ValueError for a name used twice, or a parameter that is not keyword-only or has no known type.
    """

    def register(run: FaultFunction) -> Fault:
        if run.__name__ in FAULTS:
            raise ValueError(f"two faults are called {run.__name__}")
        promise = (run.__doc__ or "").strip().splitlines()
        said = promise[0] if promise else ""
        made = Fault(run.__name__, said, on, tuple(surfaces), lawful, _parameters(run), run, replaces, fragments)
        FAULTS[made.name] = made
        return made

    return register(function) if function is not None else register


def describe() -> list[dict[str, Any]]:
    """Return every fault as data: name, promise, where it acts, parameters with type, unit and default, an example."""
    return [
        {
            "name": known.name,
            "promise": known.promise,
            "on": known.on,
            "surfaces": list(known.surfaces),
            "lawful": known.lawful,
            "replaces": known.replaces,
            "parameters": [
                {
                    "name": p.name,
                    "type": p.type,
                    "unit": p.unit,
                    "required": p.required,
                    "default": p.default,
                    "choices": list(p.choices),
                }
                for p in known.parameters.values()
            ],
            "example": known.example(),
        }
        for known in sorted(FAULTS.values(), key=lambda known: known.name)
    ]


def near(name: str, known: Iterable[str]) -> str:
    """Return ``; near: ...; known: ...`` for a message about an unknown ``name``."""
    names = sorted(known)
    close = difflib.get_close_matches(str(name), names)
    hint = f"; near: {', '.join(close)}" if close else ""
    return f"{hint}; known: {', '.join(names) or 'none'}"


def _parameters(run: FaultFunction) -> dict[str, Parameter]:
    hints = typing.get_type_hints(run, include_extras=True)
    found: dict[str, Parameter] = {}
    for parameter in list(inspect.signature(run).parameters.values())[2:]:
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            raise ValueError(f"fault {run.__name__}: parameter {parameter.name} must be keyword-only")
        found[parameter.name] = _parameter(run.__name__, parameter, hints[parameter.name])
    return found


def _parameter(fault_name: str, parameter: inspect.Parameter, hint: Any) -> Parameter:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        hint = next(inner for inner in typing.get_args(hint) if inner is not type(None))
    unit = None
    if typing.get_origin(hint) is typing.Annotated:
        hint, unit = typing.get_args(hint)[:2]
    choices = typing.get_args(hint) if typing.get_origin(hint) is Literal else ()
    kind = "str" if choices else getattr(hint, "__name__", "")
    if kind not in ("int", "float", "str", "bool"):
        raise ValueError(f"fault {fault_name}: parameter {parameter.name} has no type that a scenario can give")
    required = parameter.default is inspect.Parameter.empty
    return Parameter(
        parameter.name,
        kind,
        unit.name if unit else "",
        required,
        None if required else parameter.default,
        choices,
        unit.least if unit else None,
        unit.most if unit else None,
        unit.sample if unit else (choices[0] if choices else "text"),
    )
