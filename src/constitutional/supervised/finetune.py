"""Finetuning of the pretrained model on revisions and helpful responses (Bai et al. 2022, s. 3.2).

It is transformers' Trainer, with its resume, its Accelerate and its trackers; what is ours are the
data: loss masks by position and batches of like length. The defaults are the paper's where it gives
them (one epoch, constant learning rate); it gives learning rates only relative to pretraining.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments

from constitutional.dialogue import Conversation
from constitutional.dialogue.tokens import TokenizedExample, encode_example
from constitutional.engines.base import Style
from constitutional.engines.loading import load_parts
from constitutional.errors import InputError, MissingExtraError
from constitutional.runs.progress import Advance, Progress
from constitutional.supervised.settings import FinetuneConfig, LoraSettings

IGNORED = -100
_COMPLETE = "complete"


@dataclass(frozen=True)
class FinetuneReport:
    """What a finetuning did. ``losses`` are (step, mean loss per target token since the last)."""

    examples: int
    too_long: int
    target_tokens: int
    steps: int
    losses: tuple[tuple[int, float], ...]


class Examples(Dataset[dict[str, Any]]):
    """Tokenised examples as the Trainer reads them."""

    def __init__(self, examples: Sequence[TokenizedExample]):
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        example = self._examples[index]
        labels = [
            token if learn else IGNORED
            for token, learn in zip(example.input_ids, example.loss, strict=True)
        ]
        return {"input_ids": example.input_ids, "labels": labels}


@dataclass(frozen=True)
class PadRight:
    """Collates examples into (batch, longest) tensors, padded on the right.

    The attention mask follows from the lengths, so the pad token may equal the end token.
    """

    pad_id: int

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        longest = max(len(example["input_ids"]) for example in examples)

        def padded(key: str, filler: int) -> torch.Tensor:
            rows = [e[key] + [filler] * (longest - len(e[key])) for e in examples]
            return torch.tensor(rows, dtype=torch.long)

        lengths = torch.tensor([len(example["input_ids"]) for example in examples])
        return {
            "input_ids": padded("input_ids", self.pad_id),
            "labels": padded("labels", IGNORED),
            "attention_mask": (torch.arange(longest) < lengths[:, None]).long(),
        }


def finetune(
    model: str | Path,
    conversations: Sequence[Conversation],
    *,
    style: Style,
    config: FinetuneConfig,
    work: Path,
    seed: int,
    progress: Progress,
    title: str = "Finetuning",
    device: str = "auto",
) -> FinetuneReport:
    """Train ``model`` on the last turn of each conversation; leaves ``work / "result"``.

    The result is a plain Hugging Face folder with the report beside the weights. A call that was
    killed goes on from its last complete checkpoint in ``work`` and, on a CPU, ends with the same
    bytes. Raises InputError when no example is left to train on.
    """
    network, tokenizer = load_parts(model, device=device, dtype="float32")
    examples = [encode_example(tokenizer, c, style, config.max_length) for c in conversations]
    kept = [example for example in examples if not example.cut]
    if not kept:
        raise InputError(
            f"there is nothing to train on: {len(examples)} examples, of which {len(examples)} are "
            f"longer than max_length {config.max_length}"
        )
    network = _with_lora(network, config.lora) if config.lora else network
    with progress.task(title, total=_steps(len(kept), config)) as advance:
        trainer = Trainer(
            model=network.train(),
            args=_arguments(config, work, seed),
            train_dataset=Examples(kept),
            data_collator=PadRight(_pad_id(tokenizer)),
            callbacks=[_Steps(advance)],
        )
        trainer.train(resume_from_checkpoint=_last_complete_checkpoint(work))
    report = FinetuneReport(
        examples=len(kept),
        too_long=len(examples) - len(kept),
        target_tokens=sum(sum(example.loss) for example in kept),
        steps=trainer.state.global_step,
        losses=tuple((e["step"], e["loss"]) for e in trainer.state.log_history if "loss" in e),
    )
    _save(trainer.model, tokenizer, report, work / "result", merge=config.lora is not None)
    return report


def _steps(examples: int, config: FinetuneConfig) -> int:
    batches = -(-examples // config.batch_size)
    return max(1, round(-(-batches // config.accumulate) * config.epochs))


def _arguments(config: FinetuneConfig, work: Path, seed: int) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(work),
        num_train_epochs=config.epochs,
        learning_rate=config.learning_rate,
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=config.accumulate,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=config.warmup_steps,
        weight_decay=config.weight_decay,
        train_sampling_strategy="group_by_length",
        save_steps=config.checkpoint_steps,
        save_total_limit=2,
        logging_steps=10,
        bf16=torch.cuda.is_available(),
        seed=seed % 2**32,  # numpy's limit for a seed
        report_to=[],
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
    )


class _Steps(TrainerCallback):  # type: ignore[misc]  # transformers is not typed
    """Shows progress, and marks a checkpoint once all of it is written."""

    def __init__(self, advance: Advance):
        self._advance = advance
        self._seen = 0

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._advance(state.global_step - self._seen)
        self._seen = state.global_step

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        (folder / _COMPLETE).touch()

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The Trainer would print each log line; the report holds them."""


def _last_complete_checkpoint(work: Path) -> str | None:
    """The newest checkpoint that was written to its end; half-written ones are removed."""
    complete = {}
    for folder in work.glob("checkpoint-*"):
        if (folder / _COMPLETE).exists():
            complete[int(folder.name.removeprefix("checkpoint-"))] = folder
        else:
            shutil.rmtree(folder)
    return str(complete[max(complete)]) if complete else None


def _with_lora(network: Any, settings: LoraSettings) -> Any:
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise MissingExtraError("peft", "lora", "finetuning with LoRA") from error
    targets = list(settings.target_modules) if settings.target_modules else "all-linear"
    return get_peft_model(
        network,
        LoraConfig(r=settings.rank, lora_alpha=settings.alpha, target_modules=targets),
    )


def _pad_id(tokenizer: Any) -> int:
    """Any id will do, since padding is masked by position."""
    for token in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    return 0


def _save(
    network: Any, tokenizer: Any, report: FinetuneReport, result: Path, *, merge: bool
) -> None:
    network = network.merge_and_unload() if merge else network
    network.save_pretrained(result)
    tokenizer.save_pretrained(result)
    (result / "finetune.json").write_text(json.dumps(report.__dict__, indent=2) + "\n")
