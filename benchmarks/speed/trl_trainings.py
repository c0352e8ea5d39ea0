"""The peer's trainings: TRL's trainers in their default settings, but for what is named here.

Batch size, epochs, learning rate and schedule are ours. Recomputing activations, which TRL does by
default to spare memory, is off, and so is its bfloat16 on a CPU: both sides do the same arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from benchmarks.speed.measuring import Clock

from constitutional.dialogue import Conversation, render
from constitutional.preference.settings import PreferenceConfig
from constitutional.runs.records import Comparison
from constitutional.supervised.settings import FinetuneConfig

_SCHEDULES = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}


def finetune(
    model: Path,
    conversations: Sequence[Conversation],
    config: FinetuneConfig,
    out: Path,
    seed: int,
    clock: Clock,
) -> None:
    """TRL's SFTTrainer on prompts and completions, the loss on the completions alone.

    As with the others, ``clock`` runs from ``train()`` to the saved model: its preparation of the
    data is not counted.
    """
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    rows = [prompt_and_completion(conversation) for conversation in conversations]
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32),
        args=SFTConfig(**_arguments(config, out, seed), completion_only_loss=True),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(model),
    )
    _train(trainer, out, clock)


def train_preference_model(
    model: Path,
    comparisons: Sequence[Comparison],
    config: PreferenceConfig,
    out: Path,
    seed: int,
    clock: Clock,
) -> None:
    """TRL's RewardTrainer on hard labels, from the folder of a network with a score head.

    It knows no soft labels: an even one has no side and is left out.
    """
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from trl import RewardConfig, RewardTrainer

    trainer = RewardTrainer(
        model=AutoModelForSequenceClassification.from_pretrained(
            model, num_labels=1, dtype=torch.float32
        ),
        args=RewardConfig(**_arguments(config, out, seed)),
        train_dataset=Dataset.from_list(chosen_and_rejected(comparisons)),
        processing_class=AutoTokenizer.from_pretrained(model),
    )
    _train(trainer, out, clock)


def prompt_and_completion(conversation: Conversation) -> dict[str, str]:
    """A row of text as the policy will read it; TRL adds the end token."""
    before = Conversation(turns=conversation.turns[:-1])
    return {"prompt": render(before, "assistant"), "completion": f" {conversation.last.text}"}


def chosen_and_rejected(comparisons: Sequence[Comparison]) -> list[dict[str, str]]:
    """Rows of whole texts, the better one first; TRL adds the end token."""
    rows = []
    for c in comparisons:
        if c.prob_a is None or c.prob_a == 0.5:
            continue
        better, worse = (c.a, c.b) if c.prob_a > 0.5 else (c.b, c.a)
        chosen, rejected = (render(c.prompt.add("assistant", text)) for text in (better, worse))
        rows.append({"chosen": chosen, "rejected": rejected})
    return rows


def _arguments(config: FinetuneConfig | PreferenceConfig, out: Path, seed: int) -> dict[str, Any]:
    on_gpu = torch.cuda.is_available()
    return {
        "output_dir": str(out),
        "seed": seed,
        "per_device_train_batch_size": config.batch_size,
        "num_train_epochs": config.epochs,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": _SCHEDULES[config.schedule],
        "gradient_checkpointing": False,
        "bf16": on_gpu,
        "use_cpu": not on_gpu,
        "save_steps": config.checkpoint_steps,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": on_gpu,
    }


def _train(trainer: Any, out: Path, clock: Clock) -> None:
    with clock():
        trainer.train()
        trainer.save_model(str(out / "result"))
