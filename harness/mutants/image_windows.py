"""Mutants that count images wrongly: too many or few let in, other things counted, or settled otherwise (GOV-06)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from harness.contract import Limits, Model
from harness.gateway.admission import Admission
from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.governor import Governor, Windows
from harness.gateway.relay import Answer
from harness.gateway.settlement import Settler
from harness.gateway.windows import Entry, SlidingLog
from harness.mutants.furniture import FixedWindow, MakeLog, StaleLog
from harness.mutants.registry import mutant
from harness.mutants.tokens import Lenient


def _with_images(parts: Components, make: MakeLog) -> Components:
    """Return a gateway whose governor counts images in what ``make`` returns."""

    class Other(Governor):
        def _new_windows(self, limits: Limits) -> Windows:
            made = super()._new_windows(limits)
            made.images = None if limits.images is None else make(limits.images, limits.window_ms * 1000)
            return made

    return replace(parts, governor=Other(parts.contract, parts.clock))


def _asking(parts: Components, images: Callable[[Call, int], int]) -> Components:
    """Return a gateway that takes as many images at admission as ``images`` makes of a call and its own number."""

    class Other(Admission):
        def images(self, call: Call) -> int:
            return images(call, super().images(call))

    return replace(parts, admission=Other(parts.contract))


def _settling(parts: Components, images: Callable[[Call, int], int]) -> Components:
    """Return a gateway that settles an answer to as many images as ``images`` makes of a call and their number."""

    class Other(Settler):
        def images(self, call: Call, answer: Answer) -> int:
            return images(call, super().images(call, answer))

    return replace(parts, settler=Other(parts.contract))


@mutant(breaks="GOV-06")
def counts_no_images(parts: Components) -> Components:
    """Counts neither the images that are asked for nor those that come."""
    return _settling(_asking(parts, lambda call, asked: 0), lambda call, came: 0)


@mutant(breaks="GOV-06")
def takes_one_image_for_each_call(parts: Components) -> Components:
    """Takes one image at admission, however many are asked for."""
    return _asking(parts, lambda call, asked: 1)


@mutant(breaks="GOV-06")
def counts_calls_for_images(parts: Components) -> Components:
    """Counts a call as one image, from its admission to the end of its window."""
    return _settling(_asking(parts, lambda call, asked: 1), lambda call, came: 1)


@mutant(breaks="GOV-06")
def lets_an_image_too_many_in(parts: Components) -> Components:
    """Admits a call that asks for one image more than are left."""
    return _with_images(parts, Lenient)


@mutant(breaks="GOV-06")
def keeps_the_last_image(parts: Components) -> Components:
    """Refuses a call that asks for all images that are left."""

    class Strict(SlidingLog):
        __slots__ = ()

        def wait_us(self, now_us: int, amount: int) -> int:
            return super().wait_us(now_us, amount + 1)

    return _with_images(parts, Strict)


@mutant(breaks="GOV-06")
def forgets_images_at_the_minute(parts: Components) -> Components:
    """Counts images in fixed windows that begin anew."""
    return _with_images(parts, FixedWindow)


@mutant(breaks="GOV-06")
def frees_an_image_a_moment_early(parts: Components) -> Components:
    """Frees an image a millisecond before its window is over."""
    return _with_images(parts, lambda limit, window_us: SlidingLog(limit, window_us - 1_000))


@mutant(breaks="GOV-06")
def counts_images_only_later(parts: Components) -> Components:
    """Looks for room in a copy of the window that is a round trip behind it."""
    return _with_images(parts, StaleLog)


@mutant(breaks="GOV-06")
def counts_images_only_once_they_came(parts: Components) -> Components:
    """Takes no image at admission, and those that came from then on."""
    return _asking(parts, lambda call, asked: 0)


@mutant(breaks="GOV-06")
def never_settles_images(parts: Components) -> Components:
    """Lets the images that were asked for stand, whatever came."""
    return _settling(parts, lambda call, came: call.surface.images_asked(call.body))


@mutant(breaks="GOV-06")
def keeps_the_images_of_failures(parts: Components) -> Components:
    """Lets the images stand that a failed call asked for."""

    class Keeping(Settler):
        def release(self, parts: Components, call: Call) -> None:
            if call.ticket is not None:
                call.images = call.surface.images_asked(call.body)
            super().release(parts, call)

    return replace(parts, settler=Keeping(parts.contract))


@mutant(breaks="GOV-06")
def frees_images_once_they_came(parts: Components) -> Components:
    """Counts images while a call makes them, and none of those that it made."""
    return _settling(parts, lambda call, came: 0)


@mutant(breaks="GOV-06")
def settles_images_as_of_the_end(parts: Components) -> Components:
    """Counts what came from the call's end on, instead of from its admission."""

    class AtEnd(SlidingLog):
        __slots__ = ()

        def settle(self, now_us: int, entry: Entry, amount: int) -> None:
            super().settle(now_us, entry, 0)
            super().take(now_us, amount)

    return _with_images(parts, AtEnd)


@mutant(breaks="GOV-06")
def shares_images_among_accounts(parts: Components) -> Components:
    """Counts the images of all accounts by a model in one window."""
    return _sharing(parts, lambda account, model: model.id)


@mutant(breaks="GOV-06")
def shares_images_among_models(parts: Components) -> Components:
    """Counts an account's images by all models in one window."""
    return _sharing(parts, lambda account, model: account)


def _sharing(parts: Components, key: Callable[[str, Model], str]) -> Components:
    """Return a gateway whose windows of images are one where ``key`` is."""
    shared: dict[str, SlidingLog] = {}

    class Sharing(Governor):
        def _windows_of(self, account: str, model: Model) -> Windows:
            made = super()._windows_of(account, model)
            if made.images is not None:
                made.images = shared.setdefault(key(account, model), made.images)
            return made

    return replace(parts, governor=Sharing(parts.contract, parts.clock))
