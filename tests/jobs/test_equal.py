"""Two processes train as one does: the same losses, metrics and weights but for rounding."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small_jobs import finetuning, policy, small_jobs
from torch.nn.modules.module import register_module_forward_pre_hook
from transformers.models.llama.modeling_llama import LlamaMLP

import constitutional
from constitutional.jobs import Job, write_job
from constitutional.jobs.configurations import shipped
from constitutional.jobs.running import run_job
from constitutional.runs import QuietProgress

HERE = Path(__file__).parent
KINDS = ("finetuning", "pretraining", "preference", "policy")
TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc_per_node", "2")
FSDP2 = (
    *("accelerate.commands.launch", "--config_file", str(shipped("fsdp2"))),
    *("--num_processes", "2", "--main_process_port", "0"),
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def alone(
    model: Path, preference_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The result of each kind by one process."""
    work = tmp_path_factory.mktemp("one")
    jobs = small_jobs(model, preference_model, work)
    for job in jobs.values():
        run_job(job, QuietProgress())
    return {kind: job.work / "result" for kind, job in jobs.items()}


def run_together(
    launcher: tuple[str, ...], script: str, jobs: dict[str, Job], work: Path, **more: str
) -> dict[str, Path]:
    """The same of ``jobs`` by two processes, one job after the other."""
    files = [work / f"{kind}.json" for kind in jobs]
    for job, file in zip(jobs.values(), files, strict=True):
        write_job(job, file)
    source = str(Path(constitutional.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-m", *launcher, str(HERE / script), *map(str, files)],
        env={**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1", **more},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {kind: job.work / "result" for kind, job in jobs.items()}


@pytest.fixture(scope="module")
def together(
    model: Path, preference_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    work = tmp_path_factory.mktemp("two")
    jobs = small_jobs(model, preference_model, work)
    return run_together(TORCHRUN, "small_jobs.py", jobs, work)


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_train_as_one(
    kind: str, alone: dict[str, Path], together: dict[str, Path]
) -> None:
    assert_equal(alone[kind], together[kind])


def test_two_processes_train_the_adapters_of_one_base_as_one(
    model: Path, preference_model: Path, tmp_path: Path
) -> None:
    lora = {"rank": 2}

    def with_adapters(job: Job, **more: Any) -> Any:
        config = type(job.config).model_validate({**job.config.model_dump(), "lora": lora})
        return job.model_copy(update={"config": config, **more})

    for name in ("finetuning", "preference"):
        job = small_jobs(model, preference_model, tmp_path)[name]
        run_job(with_adapters(job), QuietProgress())
    start, scorer = (tmp_path / name / "result" for name in ("finetuning", "preference"))
    one, two = (
        with_adapters(policy(model, tmp_path / folder, scorer), model=str(start))
        for folder in ("one", "two")
    )
    run_job(one, QuietProgress())
    run_together(TORCHRUN, "small_jobs.py", {"two": two}, tmp_path)
    assert "one base" in json.loads((one.work / "result" / "training.json").read_text())["networks"]
    assert_equal(one.work / "result", two.work / "result")


def test_the_answers_of_these_tests_are_of_many_lengths(alone: dict[str, Path]) -> None:
    """With one length for all, each share of a minibatch would weigh the same by itself."""
    lengths = [f for name, f in figures(alone["policy"]).items() if "response_length" in name]
    assert all(1 < length < 8 for length in lengths)


def test_two_processes_with_sharded_weights_train_as_one(
    model: Path, preference_model: Path, alone: dict[str, Path], tmp_path: Path
) -> None:
    every = small_jobs(model, preference_model, tmp_path)
    jobs = {kind: every[kind] for kind in ("finetuning", "preference")}
    found = run_together(FSDP2, "fsdp_on_cpu.py", jobs, tmp_path, ACCELERATE_TORCH_DEVICE="cpu")
    assert any(tmp_path.glob("finetuning/checkpoint-*/pytorch_model_fsdp.bin"))
    for kind, result in found.items():
        assert_equal(alone[kind], result)


def test_activations_that_are_computed_again_change_nothing(
    model: Path, preference_model: Path, tmp_path: Path
) -> None:
    for make in (finetuning, partial(policy, preference_model=preference_model)):
        kept, again = make(model, tmp_path / "kept"), make(model, tmp_path / "again")
        again = again.model_copy(
            update={"config": again.config.model_copy(update={"gradient_checkpointing": True})}
        )
        with counted() as once:
            run_job(kept, QuietProgress())
        with counted() as twice:
            run_job(again, QuietProgress())
        assert len(twice) == 2 * len(once) > 0
        assert_equal(kept.work / "result", again.work / "result", within=1e-5)
        shutil.rmtree(kept.work)
        shutil.rmtree(again.work)


@contextmanager
def counted() -> Iterator[list[int]]:
    """An entry for each time that the inside of a layer is begun for a gradient."""
    calls: list[int] = []

    def note(module: torch.nn.Module, *_: Any) -> None:
        if isinstance(module, LlamaMLP) and torch.is_grad_enabled():
            calls.append(1)

    handle = register_module_forward_pre_hook(note)
    try:
        yield calls
    finally:
        handle.remove()


def assert_equal(expected: Path, found: Path, within: float = 1e-4) -> None:
    ones, others = figures(expected), figures(found)
    assert len(ones) > 8
    assert others.keys() == ones.keys()
    for name, figure in ones.items():
        assert others[name] == pytest.approx(figure, abs=within), name
    weights, like = (load_file(result / "model.safetensors") for result in (expected, found))
    assert like.keys() == weights.keys()
    # where a gradient is next to nothing, its rounding decides where Adam goes
    apart = max((like[name] - tensor).abs().max().item() for name, tensor in weights.items())
    assert apart < 1e-3
    floats = {name: figure for name, figure in ones.items() if isinstance(figure, float)}
    largest = max(abs(others[name] - figure) for name, figure in floats.items())
    print(f"{found.parent.name}: figures {largest:.1e}, weights {apart:.1e}")


def figures(result: Path) -> dict[str, Any]:
    """Every figure of a training's report by its place, but for the seconds."""
    (path,) = [*result.glob("*training.json"), *result.glob("finetune.json")]
    return dict(leaves(json.loads(path.read_text())))


def leaves(tree: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            if key != "seconds":
                yield from leaves(value, f"{at}/{key}")
    elif isinstance(tree, list):
        for number, value in enumerate(tree):
            yield from leaves(value, f"{at}/{number}")
    else:
        yield at, tree
