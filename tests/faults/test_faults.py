"""A small share of ``make faults``, in a process of its own, as it forks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import constitutional

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_share_of_the_faults_loses_and_doubles_nothing(tmp_path: Path) -> None:
    memory = Path("/dev/shm")
    folder = memory if os.access(memory, os.W_OK) else tmp_path
    few = ("kill -9", "a damaged file")
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", "--share", "0.025", "--folder", str(folder), *few],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(Path(constitutional.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")][2:]
    tried = {row[0].removeprefix("| "): row[1:4] for row in rows}
    assert len(tried) == 9
    assert all(int(tries) >= 1 for tries, _, _ in tried.values())
    assert all([lost, doubled] == ["0", "0"] for _, lost, doubled in tried.values())
