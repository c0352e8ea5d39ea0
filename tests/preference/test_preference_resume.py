"""A preference training killed by SIGKILL goes on, and ends with the same bytes."""

from __future__ import annotations

import multiprocessing
import signal
from pathlib import Path
from typing import Any

import preference_run
import pytest

#: 40 comparisons: 10 steps an epoch.
CONFIG = {"batch_size": 4, "checkpoint_steps": 3, "learning_rate": 1e-2}
PROCESSES = multiprocessing.get_context("forkserver")


def run(model: Path, work: Path, config: dict[str, Any], die_at: int | str | None = None) -> None:
    request = (str(model), str(work), config, die_at)
    process = PROCESSES.Process(target=preference_run.main, args=request)
    process.start()
    process.join()
    assert process.exitcode == (0 if die_at is None else -signal.SIGKILL)


def result(work: Path) -> dict[str, bytes]:
    files = sorted(path for path in (work / "result").rglob("*") if path.is_file())
    return {str(file.relative_to(work)): file.read_bytes() for file in files}


#: What differs from CONFIG, and where the run dies.
CASES: dict[str, tuple[dict[str, Any], int | str]] = {
    "in the first epoch": ({}, 5),
    "in a later epoch, gradients added up": ({"epochs": 3, "accumulate": 3}, 7),
    "while a checkpoint is written": ({"epochs": 2}, "half a checkpoint"),
    "while the result is written": ({"goal_weights": {"harmlessness": 2.0}}, "first"),
    "with adapters": ({"epochs": 2, "lora": {"rank": 2}}, 8),
    "in the pretraining": ({"pmp": CONFIG}, 4),
    "after the pretraining": ({"pmp": CONFIG}, "second"),
    "after the pretraining, with its adapters": (
        {"pmp": CONFIG | {"lora": {"rank": 2}}, "lora": {"rank": 2}},
        "second",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_killed_run_ends_with_the_same_bytes(case: str, llama: Path, tmp_path: Path) -> None:
    change, die_at = CASES[case]
    config, whole, cut = CONFIG | change, tmp_path / "whole", tmp_path / "cut"
    run(llama, whole, config)
    run(llama, cut, config, die_at)
    assert not (cut / "result/preference_model.json").exists()
    run(llama, cut, config)
    assert result(cut)["result/model.safetensors"] == result(whole)["result/model.safetensors"]
    assert result(cut) == result(whole)
