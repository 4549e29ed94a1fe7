"""A mapping that cannot be changed, yet copies, pickles and turns to JSON as any dict does; nothing more."""

from __future__ import annotations

from typing import Any, NoReturn, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class FrozenDict(dict[K, V]):
    """A dict whose mutators raise TypeError: ``dataclasses.asdict``, pickle, copy and json take it as it is."""

    __slots__ = ()

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("a contract's mappings are read-only; make an overlay instead")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[type[FrozenDict[K, V]], tuple[dict[K, V]]]:
        return FrozenDict, (dict(self),)

    def __hash__(self) -> int:  # type: ignore[override]  # dict has none because it can change; this cannot
        return hash(frozenset(self.items()))
