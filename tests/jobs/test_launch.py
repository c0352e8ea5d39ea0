"""Jobs started by ``accelerate launch``: they end with who started them, and go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from small_jobs import finetuning

import constitutional
from constitutional.errors import TrainingError
from constitutional.jobs.configurations import find_launcher
from constitutional.jobs.launch import JOB, launch
from constitutional.jobs.running import run_job
from constitutional.runs import QuietProgress

SCRIPT = Path(__file__).with_name("launched_run.py")
PATHS = os.pathsep.join([str(Path(constitutional.__file__).parents[1]), str(SCRIPT.parents[1])])


def at_work(work: Path) -> list[int]:
    """The processes whose command line names the job in ``work``."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if str(work / JOB).encode() in words:
            found.append(int(folder.name))
    return found


def wait_for(what: str, seconds: float, holds: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"{what} not within {seconds} s"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_killed_launch_ends_its_processes_and_another_goes_on(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", PATHS)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    work = tmp_path / "two"
    started = subprocess.Popen([sys.executable, str(SCRIPT), str(model), str(work)])
    wait_for("a checkpoint", 300, lambda: any(work.glob("checkpoint-2/complete")))
    assert len(at_work(work)) == 3, "the launcher and two processes"
    started.send_signal(signal.SIGKILL)
    started.wait()
    wait_for("the end of its processes", 30, lambda: not at_work(work))
    assert not (work / "result").exists()

    job = finetuning(model, work, epochs=4.0)
    steps = sorted(int(folder.name[11:]) for folder in work.glob("checkpoint-*"))
    assert steps[-1] < 12, "it was killed on its way"
    launch(job, find_launcher(2, "ddp"))
    found = json.loads((work / "result/finetune.json").read_text())

    run_job(job.model_copy(update={"work": tmp_path / "one"}), QuietProgress())
    expected = json.loads((tmp_path / "one/result/finetune.json").read_text())
    assert found["steps"] == expected["steps"] == 12
    for (step, loss), (other, like) in zip(found["losses"], expected["losses"], strict=True):
        assert step == other
        assert loss == pytest.approx(like, abs=1e-4)


@pytest.mark.slow
def test_what_a_process_cannot_do_is_one_sentence(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Here that Accelerate shards weights on GPUs alone."""
    monkeypatch.setenv("PYTHONPATH", PATHS)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with pytest.raises(TrainingError, match=r"^the weights cannot be sharded: .* 'ddp'$"):
        launch(finetuning(model, tmp_path), find_launcher(2, "fsdp2"))
    shown = capfd.readouterr()
    assert "Traceback" not in shown.err + shown.out


@pytest.mark.slow
def test_a_recipe_trains_on_two_processes_and_goes_on_in_one(
    cai: Callable[..., tuple[int, str, str]],
    small_recipe: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", PATHS)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    few = {
        kind: {"file": f"microworld:prompts/supervised_{kind}.jsonl", "limit": 8}
        for kind in ("red_team", "helpful")
    }
    out = tmp_path / "run"
    code, _, told = cai(
        "run",
        small_recipe(prompts=few, evaluation=None, training={"processes": 2}),
        "--out",
        out,
    )
    assert code == 0, told
    made = (out / "stages/sl_cai/result/model.safetensors").read_bytes()
    assert made
    assert not (out / "stages/sl_cai/work").exists()
    code, _, told = cai("run", small_recipe(prompts=few, evaluation=None), "--out", out)
    assert code == 0, told
    assert (out / "stages/sl_cai/result/model.safetensors").read_bytes() == made
