"""A finetuning that dies where a test wants it to; see ``test_finetune_resume.py``."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from constitutional.dialogue import Conversation
from constitutional.runs.progress import Progress
from constitutional.supervised import finetune as module
from constitutional.supervised.settings import FinetuneConfig
from constitutional.training import Steps


def main(model: str, work: str, config: dict[str, Any], die_at: int | str | None = None) -> None:
    """``die_at``: a step, "half a checkpoint" (the second), or "end" (before the result)."""
    torch.set_num_threads(1)
    if die_at == "end":
        module._Saved.at_the_end = die  # type: ignore[method-assign]
    module.finetune(
        model,
        [
            Conversation.of(f"Say {n} words", " ".join(["well"] * (1 + n % 7) + [str(n)]))
            for n in range(40)
        ],
        style="transcript",
        config=FinetuneConfig(**config),
        work=Path(work),
        seed=3,
        progress=Progress(every=60),
        steps=Steps if die_at is None else steps_that_die(die_at),
    )


def steps_that_die(die_at: int | str) -> type[Steps]:
    class DyingSteps(Steps):
        def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            super().on_step_end(args, state, control, **rest)
            if die_at == state.global_step:
                die()

        def on_save(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            if die_at == "half a checkpoint" and state.global_step == 2 * args.save_steps:
                (Path(args.output_dir) / f"checkpoint-{state.global_step}/optimizer.pt").unlink()
                die()
            super().on_save(args, state, control, **rest)

    return DyingSteps


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
