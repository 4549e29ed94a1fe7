"""Admission of Enterprise calls: slot, rate windows and the hold, taken in one step; it sends nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.contract import Contract, Limits, Model
from harness.gateway.clock import Clock
from harness.gateway.errors import Refusal
from harness.gateway.ledger import Hold
from harness.gateway.slots import Slots
from harness.gateway.windows import Entry, SlidingLog, retry_after_s


@dataclass(slots=True)  # made at every call: a frozen one costs five times as much
class Snapshot:
    """How the limits stood right after an admission, itself counted; image figures are those of image models only.

    ``capacity_remaining`` is the account's tightest request budget over all models that it used in their windows.
    """

    concurrency_limit: int
    concurrency_remaining: int
    rpm_limit: int
    rpm_remaining: int
    tpm_limit: int
    tpm_remaining: int
    capacity_remaining: int
    image_limit: int | None
    image_remaining: int | None


class Windows:
    """The sliding logs of one account and model."""

    __slots__ = ("images", "limits", "requests", "tokens")

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        window_us = limits.window_ms * 1000
        self.requests = SlidingLog(limits.requests, window_us)
        self.tokens = SlidingLog(limits.tokens, window_us)
        self.images = None if limits.images is None else SlidingLog(limits.images, window_us)

    def wait_us(self, now_us: int, tokens: int, images: int) -> int:
        """Return how long until a call of this size fits all windows if nothing else comes; 0 if it fits."""
        wait_us = max(self.requests.wait_us(now_us, 1), self.tokens.wait_us(now_us, tokens))
        return wait_us if self.images is None else max(wait_us, self.images.wait_us(now_us, images))


class Ticket:
    """An admitted call: the limits as it found them, its hold, its slot and its reservations."""

    __slots__ = ("_clock", "_images", "_slots", "_tokens", "_windows", "account", "at_us", "hold", "model", "snapshot")

    def __init__(
        self,
        account: str,
        model: Model,
        at_us: int,
        snapshot: Snapshot,
        hold: Hold,
        slots: Slots,
        windows: Windows,
        tokens: Entry,
        images: Entry | None,
        clock: Clock,
    ) -> None:
        self.account = account
        self.model = model
        self.at_us = at_us
        self.snapshot = snapshot
        self.hold = hold
        self._slots: Slots | None = slots
        self._windows = windows
        self._tokens = tokens
        self._images = images
        self._clock = clock

    def settle(self, tokens: int, images: int | None = None) -> None:
        """Let the call count as ``tokens`` (and ``images``) in its windows, from the instant of its admission."""
        now_us = self._clock.now_us()
        self._windows.tokens.settle(now_us, self._tokens, tokens)
        if self._windows.images is not None and self._images is not None and images is not None:
            self._windows.images.settle(now_us, self._images, images)

    def release(self) -> None:
        """Give the slot back, to the next waiter in turn; a second time does nothing."""
        slots, self._slots = self._slots, None
        if slots is not None:
            slots.give_back()


class Governor:
    """Admits calls within the contract's limits: slots per model, windows per account and model."""

    def __init__(self, contract: Contract, clock: Clock) -> None:
        self._contract = contract
        self._clock = clock
        self._slots: dict[str, Slots] = {}
        self._windows: dict[str, dict[str, Windows]] = {}

    async def admit(
        self,
        account: str,
        model: Model,
        tokens: int,
        hold: Callable[[], Hold],
        *,
        images: int = 0,
        afford: Callable[[], object] | None = None,
    ) -> Ticket:
        """Admit a call of ``tokens`` estimated tokens, after a wait in the queue if there is no slot.

        Slot, request unit, reservations and ``hold()`` are taken together at the instant that the slot is there, or
        none of them. Raises Refusal: rate_limited for a full window, at arrival or after the wait; queue_full; and what
        ``afford`` and ``hold`` raise. ``afford`` takes nothing and is asked before the windows are, so that a call
        that is both too poor and too many is told of its balance.
        """
        windows, slots = self._windows_of(account, model), self._slots_of(model)
        if not slots.try_take():
            self._check(windows, tokens, images, afford)
            await slots.wait(account, tokens)
        try:
            # No await from here on: between check and taking nobody else may come.
            at_us = self._check(windows, tokens, images, afford)
            held = hold()
        except BaseException as error:
            self._turn_away(slots, error)
            raise
        windows.requests.take(at_us, 1)
        reserved = windows.tokens.take(at_us, tokens)
        pictures = None if windows.images is None else windows.images.take(at_us, images)
        return Ticket(
            account,
            model,
            at_us,
            self._snapshot(account, model, at_us),
            held,
            slots,
            windows,
            reserved,
            pictures,
            self._clock,
        )

    def _check(self, windows: Windows, tokens: int, images: int, afford: Callable[[], object] | None) -> int:
        """Return the present instant if a call of this size can be admitted at it. Raises Refusal."""
        if afford is not None:
            afford()
        now_us = self._clock.now_us()
        wait_us = windows.wait_us(now_us, tokens, images)
        if wait_us:
            limits = windows.limits
            seconds = retry_after_s(wait_us, limits)
            raise Refusal(
                "rate_limited",
                f"the model's {limits.window_ms / 1000:g} s window is full; retry in {seconds} s",
                headers={"retry-after": str(seconds)},
            )
        return now_us

    def _turn_away(self, slots: Slots, why: BaseException) -> None:
        """Give back the slot of a call that had one and could not be admitted all the same, for whatever reason."""
        slots.give_back()

    def _snapshot(self, account: str, model: Model, now_us: int) -> Snapshot:
        windows, slots = self._windows_of(account, model), self._slots_of(model)
        requests, tokens, images = windows.requests, windows.tokens, windows.images
        # The model's own window has the call in it by now: the rest is never empty.
        rest = [
            log.requests.limit - used for log in self._windows[account].values() if (used := log.requests.used(now_us))
        ]
        return Snapshot(  # by position: at every call, names would cost as much again
            slots.limit,
            slots.remaining,
            requests.limit,
            requests.remaining(now_us),
            tokens.limit,
            tokens.remaining(now_us),
            max(0, min(rest)),
            None if images is None else images.limit,
            None if images is None else images.remaining(now_us),
        )

    def _slots_of(self, model: Model) -> Slots:
        slots = self._slots.get(model.id)
        if slots is None:
            slots = self._slots[model.id] = self._new_slots(self._contract.limits(model))
        return slots

    def _windows_of(self, account: str, model: Model) -> Windows:
        models = self._windows.get(account)
        if models is None:
            models = self._windows[account] = {}
        windows = models.get(model.id)
        if windows is None:
            windows = models[model.id] = self._new_windows(self._contract.limits(model))
        return windows

    def _new_slots(self, limits: Limits) -> Slots:
        """Return the slots and the queue of a model that was never called."""
        return Slots(limits)

    def _new_windows(self, limits: Limits) -> Windows:
        """Return the windows of an account and model that never met."""
        return Windows(limits)
