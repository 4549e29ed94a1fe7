"""A seed is a run: bit for bit, alone, after others, in another process and under another hash seed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli.suite import SUITE, load, target_spec
from harness.runner import Job, run_job

SPEC = target_spec("reference", (), "", "")
NAMES = ["billing.balances_chain_under_concurrency", "crashes.killed_under_load", "streams.every_framing_in_pieces"]
ELSEWHERE = """
import sys
from tests.test_determinism import digest
print(digest(sys.argv[1], int(sys.argv[2])))
"""


def digest(name: str, seed: int) -> str:
    load()
    record = run_job(Job(name, seed, "sim", SPEC), SUITE)
    assert record["error"] is None, record["error"]
    return str(record["digest"])


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_bits(name: str) -> None:
    alone = digest(name, 5)
    for other in range(20):
        digest(NAMES[other % len(NAMES)], 100 + other)
    assert digest(name, 5) == alone
    for hash_seed in ("1", "77"):
        elsewhere = subprocess.run(
            [sys.executable, "-c", ELSEWHERE, name, "5"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(Path(__file__).parents[1])},
            capture_output=True,
            text=True,
            check=True,
        )
        assert elsewhere.stdout.strip() == alone


@pytest.mark.parametrize("name", NAMES)
def test_another_seed_gives_another_history(name: str) -> None:
    assert len({digest(name, seed) for seed in range(4)}) == 4
