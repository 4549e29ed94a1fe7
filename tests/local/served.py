"""A served reference gateway on loopback, as its users get it: ``harness serve gateway`` in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Served:
    """Where the gateway and its mock upstreams' control are, and a customer's key."""

    url: str
    key: str
    upstreams: str

    def inject(self, *faults: dict[str, Any]) -> None:
        """Declare faults at the upstreams from now on; none heals them."""
        injections = [
            {"id": f"i{number}", "role": "*", "fault": fault["fault"], "calls": fault.get("calls", [])}
            for number, fault in enumerate(faults, 1)
        ]
        answer = httpx.post(
            f"{self.upstreams}/control/serve/start", json={"zero_s": 0.0, "seed": 1, "injections": injections}
        )
        assert answer.status_code == 200, answer.text


@contextmanager
def serving() -> Iterator[Served]:
    """Serve a gateway with short times, mock upstreams and a customer of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "harness.cli", "serve", "gateway", "--overlay", "short"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        word, url, *named = process.stdout.readline().split()
        assert word == "ready"
        told = dict(pair.split("=", 1) for pair in named)
        yield Served(url, told["key"], told["upstreams"])
    finally:
        process.terminate()
        process.communicate(timeout=20)
