from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import finetune_run
import pytest

import constitutional

SCRIPT = Path(__file__).with_name("finetune_run.py")
#: 40 examples: 10 steps an epoch, so that most checkpoints lie within an epoch, and logs (every 10
#: steps) do not fall on checkpoints.
CONFIG = {"batch_size": 4, "checkpoint_steps": 6, "learning_rate": 1e-2}
#: A server that has imported everything, so that a process to be killed is forked in a blink.
PROCESSES = multiprocessing.get_context("forkserver")


def killed(model: Path, work: Path, config: dict[str, Any], die_at: int | str) -> None:
    """Run a finetuning in a process of its own until it is killed."""
    request = (str(model), str(work), config, die_at)
    process = PROCESSES.Process(target=finetune_run.main, args=request)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def result(work: Path) -> dict[str, bytes]:
    files = sorted(path for path in (work / "result").rglob("*") if path.is_file())
    return {str(file.relative_to(work)): file.read_bytes() for file in files}


def checkpoints(work: Path) -> dict[int, bool]:
    """The steps of the checkpoints, and whether each is complete."""
    return {
        int(folder.name.removeprefix("checkpoint-")): (folder / "complete").exists()
        for folder in work.glob("checkpoint-*")
    }


#: What differs from CONFIG, where the run dies, and the checkpoints that it leaves.
CASES: dict[str, tuple[dict[str, Any], int | str, dict[int, bool]]] = {
    "in the first epoch": ({}, 8, {6: True}),
    "in a later epoch": ({"epochs": 3}, 27, {18: True, 24: True}),
    "at the end of an epoch": ({"epochs": 2, "checkpoint_steps": 5}, 11, {5: True, 10: True}),
    "with gradients added up": ({"epochs": 2, "accumulate": 3}, 7, {6: True}),
    "while a checkpoint is written": ({"epochs": 2}, "half a checkpoint", {6: True, 12: False}),
    "while the result is written": ({"epochs": 0.6, "checkpoint_steps": 3}, "end", {3: True}),
    "with adapters": ({"epochs": 2, "lora": {"rank": 2}}, 14, {6: True, 12: True}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_killed_run_ends_with_the_same_bytes(case: str, llama: Path, tmp_path: Path) -> None:
    change, die_at, left = CASES[case]
    config, whole, cut = CONFIG | change, tmp_path / "whole", tmp_path / "cut"
    finetune_run.main(str(llama), str(whole), config)
    killed(llama, cut, config, die_at)
    assert checkpoints(cut) == left
    assert not (cut / "result").exists()
    finetune_run.main(str(llama), str(cut), config)
    assert result(cut)["result/model.safetensors"] == result(whole)["result/model.safetensors"]
    assert result(cut) == result(whole)


def test_nothing_but_progress_is_written(llama: Path, tmp_path: Path) -> None:
    """Of a run that is cut off, and of the one that goes on."""
    request = {"model": str(llama), "work": str(tmp_path), "config": CONFIG | {"epochs": 1.25}}

    def written(**more: Any) -> list[str]:
        source = Path(constitutional.__file__).parents[1]
        done = subprocess.run(
            [sys.executable, str(SCRIPT), json.dumps(request | more)],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(source)},
            check=False,
        )
        assert done.stdout == ""
        return done.stderr.splitlines()

    assert written(die_at=8) == ["Finetuning: 13 to do"]
    first, last = written()
    assert first == "Finetuning: 13 to do, 6 already there"
    assert last.startswith("Finetuning: 13 of 13 in ")
