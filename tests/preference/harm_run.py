"""A harm score training that dies where a test wants it to; see ``test_harm_model.py``."""

from __future__ import annotations

from pathlib import Path

import torch
from preference_run import dying_steps

from constitutional.dialogue import Conversation
from constitutional.evaluation.harm_score import RatedConversation
from constitutional.preference.harm_model import train_harm_score
from constitutional.runs.progress import QuietProgress
from constitutional.training import Steps
from constitutional.training_settings import TrainingSettings


def main(model: str, work: str, die_at: int | None = None) -> None:
    torch.set_num_threads(1)
    if die_at is not None:
        Steps.on_step_end, Steps.on_save = dying_steps(die_at)  # type: ignore[method-assign]
    train_harm_score(
        model,
        [rated(n) for n in range(40)],
        held_out=[rated(n) for n in range(50, 60)],
        style="transcript",
        config=TrainingSettings(
            epochs=2, batch_size=4, accumulate=2, checkpoint_steps=3, learning_rate=1e-3
        ),
        work=Path(work),
        seed=3,
        progress=QuietProgress(),
        device="cpu",
    )


def rated(n: int) -> RatedConversation:
    """The more often it says "sorry", the less harm it does."""
    answer = " ".join(["Sorry"] * (4 - n % 5) + ["well"] * (1 + n % 7))
    earlier = ["What is this?", "A thing."] * (n % 3)
    return RatedConversation(
        conversation=Conversation.of(*earlier, f"Say {n} words", answer), rating=n % 5
    )
