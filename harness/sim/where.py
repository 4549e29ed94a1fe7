"""Says where tasks stand: the line that a task waits in, for errors that name tasks; it may resume nothing."""

from __future__ import annotations

import asyncio
import gc
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import PurePath
from types import AsyncGeneratorType, FrameType
from typing import Any

from harness.sim.process import current_host

_STDLIB = PurePath(sysconfig.get_path("stdlib"))
_HERE = PurePath(__file__).parent


def waiting_line(task: asyncio.Task[Any]) -> str:
    """Return one line about a pending task: its name, host, innermost frame of its own, and what that awaits."""
    frames = _suspended_frames(task.get_coro())
    host = getattr(getattr(task, "process", None), "name", "")
    name = f"{task.get_name()} on {host}" if host else task.get_name()
    if not frames:
        return f"{name}: ready"
    innermost = frames[-1]
    own = next((frame for frame in reversed(frames) if not _is_library(frame)), innermost)
    inside = "" if own is innermost else f", waiting in {_place(innermost)}"
    return f"{name}: {_place(own)}{inside}"


def waiting_lines(tasks: Iterable[asyncio.Task[Any]]) -> str:
    """Return ``waiting_line`` of each task, one below the other."""
    return "\n".join(f"  {waiting_line(task)}" for task in tasks)


def calling_line() -> str:
    """Return the running task, its host, and the innermost frame of its own."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    name = task.get_name() if task is not None else "a callback of the loop"
    host = current_host()
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _is_library(frame):
        frame = frame.f_back
    return f"{name}{f' on {host}' if host else ''}{f': {_place(frame)}' if frame is not None else ''}"


def _suspended_frames(awaited: Any) -> list[FrameType]:
    frames: list[FrameType] = []
    while awaited is not None:
        if type(awaited).__name__.startswith("async_generator_"):
            # What `async for` awaits does not tell which generator it drives; the garbage collector knows.
            awaited = next((o for o in gc.get_referents(awaited) if isinstance(o, AsyncGeneratorType)), None)
        kind = next((kind for kind in ("cr", "ag", "gi") if hasattr(awaited, f"{kind}_frame")), None)
        if kind is None:
            break
        frame = getattr(awaited, f"{kind}_frame")
        if frame is not None:
            frames.append(frame)
        awaited = getattr(awaited, "gi_yieldfrom" if kind == "gi" else f"{kind}_await")
    return frames


def _is_library(frame: FrameType) -> bool:
    path = PurePath(frame.f_code.co_filename)
    return path.parent == _HERE or (path.is_relative_to(_STDLIB) and "site-packages" not in path.parts)


def _place(frame: FrameType) -> str:
    path = PurePath(frame.f_code.co_filename)
    return f"{'/'.join(path.parts[-2:])}:{frame.f_lineno} {frame.f_code.co_name}"
