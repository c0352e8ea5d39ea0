"""A preference training that dies where a test wants it to; see ``test_preference_resume.py``."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import torch

from constitutional.dialogue import Conversation
from constitutional.preference import train as module
from constitutional.preference.model import CARD, PreferenceModel
from constitutional.preference.settings import PreferenceConfig, PretrainingConfig
from constitutional.runs.progress import QuietProgress
from constitutional.runs.records import Comparison
from constitutional.training import Steps


def main(model: str, work: str, config: dict[str, Any], die_at: int | str | None = None) -> None:
    """``die_at``: a step, "half a checkpoint" (the second), "first" or "second" (result)."""
    torch.set_num_threads(1)
    if isinstance(die_at, str) and die_at != "half a checkpoint":
        PreferenceModel.save = dying_save(die_at)  # type: ignore[method-assign]
    elif die_at is not None:
        Steps.on_step_end, Steps.on_save = dying_steps(die_at)  # type: ignore[method-assign]
    comparisons = [comparison(n) for n in range(40)]
    config = dict(config)
    shared: dict[str, Any] = {
        "style": "transcript",
        "seed": 3,
        "progress": QuietProgress(),
        "device": "cpu",
    }
    if pmp := config.pop("pmp", None):
        first = Path(work) / "pmp"
        if not (first / "result" / CARD).exists():
            module.pretrain_preference_model(
                model, comparisons[:10], config=PretrainingConfig(**pmp), work=first, **shared
            )
        model = first / "result"
    module.train_preference_model(
        model,
        comparisons,
        held_out=[comparison(n) for n in range(50, 56)],
        config=PreferenceConfig(**config),
        work=Path(work),
        **shared,
    )


def comparison(n: int) -> Comparison:
    return Comparison(
        id=str(n),
        prompt=Conversation.of(f"Say {n} words"),
        a=" ".join(["well"] * (1 + n % 7)),
        b=" ".join(["no"] * (1 + n % 5)),
        goal="harmlessness" if n % 3 else "helpfulness",
        labeller="rule",
        prob_a=(n % 11) / 10,
    )


def dying_save(when: str) -> Any:
    save, calls = PreferenceModel.save, {"first": 1, "second": 2}
    count = 0

    def dying(self: PreferenceModel, folder: Path) -> None:
        nonlocal count
        count += 1
        if count == calls[when]:
            die()
        save(self, folder)

    return dying


def dying_steps(die_at: int | str) -> tuple[Any, Any]:
    step_end, save = Steps.on_step_end, Steps.on_save

    def on_step_end(self: Steps, args: Any, state: Any, control: Any, **rest: Any) -> None:
        step_end(self, args, state, control, **rest)
        if die_at == state.global_step:
            die()

    def on_save(self: Steps, args: Any, state: Any, control: Any, **rest: Any) -> None:
        if die_at == "half a checkpoint" and state.global_step == 2 * args.save_steps:
            (Path(args.output_dir) / f"checkpoint-{state.global_step}/optimizer.pt").unlink()
            die()
        save(self, args, state, control, **rest)

    return on_step_end, on_save


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
