"""Temporary folders that the next run clears away when their owner was killed before it could."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

LOCK = ".lock"


@contextmanager
def scratch() -> Iterator[Path]:
    """Make a folder of our own and remove it on the way out; folders that nobody holds any more go first.

    A folder is held by a lock on a file in it, which the system lets go when its owner ends, however it ends. Raises
    OSError.
    """
    base = Path(tempfile.gettempdir()) / f"harness-{os.getuid()}"
    base.mkdir(mode=0o700, exist_ok=True)
    if base.is_symlink() or base.stat().st_uid != os.getuid():
        raise PermissionError(f"{base} belongs to somebody else")
    with (base / LOCK).open("w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)  # else a folder that is just being made would seem to be nobody's
        for folder in base.iterdir():
            if folder.is_dir() and not _is_held(folder):
                shutil.rmtree(folder, ignore_errors=True)
        made = Path(tempfile.mkdtemp(dir=base))
        held = _held(made)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        held.close()


def _held(folder: Path) -> IO[str]:
    lock = (folder / LOCK).open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def _is_held(folder: Path) -> bool:
    with suppress(OSError), (folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    return (folder / LOCK).exists()
