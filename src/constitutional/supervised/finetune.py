"""Finetuning of the pretrained model on revisions and helpful responses (Bai et al. 2022, s. 3.2).

It is transformers' Trainer, with its resume, its Accelerate and its trackers; what is ours are the
data: loss masks by position and batches of like length. The defaults are the paper's where it gives
them (one epoch, constant learning rate); it gives learning rates only relative to pretraining.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset, Sampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.trainer_pt_utils import LengthGroupedSampler

from constitutional.dialogue import Conversation
from constitutional.dialogue.tokens import TokenizedExample, encode_example
from constitutional.engines.base import Style
from constitutional.engines.loading import chosen_device, load_parts, without_bars
from constitutional.errors import InputError, MissingExtraError, ModelError
from constitutional.runs.progress import Advance, Progress
from constitutional.runs.seeds import derive_seed
from constitutional.supervised.settings import FinetuneConfig, LoraSettings

IGNORED = -100
_COMPLETE = "complete"


@dataclass(frozen=True)
class FinetuneReport:
    """What a finetuning did. ``losses`` are (step, mean loss of the steps since the last).

    The loss of a step is the mean over its target tokens.
    """

    examples: int
    too_long: int
    target_tokens: int
    steps: int
    losses: tuple[tuple[int, float], ...]


class Examples(Dataset[dict[str, Any]]):
    """Tokenised examples as the Trainer reads them."""

    def __init__(self, examples: Sequence[TokenizedExample]):
        self._examples = examples

    @property
    def lengths(self) -> list[int]:
        """The tokens of each example."""
        return [len(example.input_ids) for example in self._examples]

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
        """The batch as the model takes it."""
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
    if config.lora:
        set_seed(_small(seed))  # adapters begin at random
        network = _with_lora(network, config.lora)
    with ExitStack() as shown:
        trainer = _Trainer(
            model=network.train(),
            args=_arguments(config, work, seed, on_gpu=chosen_device(device).type == "cuda"),
            train_dataset=Examples(kept),
            data_collator=PadRight(_pad_id(tokenizer)),
            callbacks=[_Steps(partial(progress.task, title), shown)],
        )
        trainer.remove_callback(PrinterCallback)  # standard output is for results
        with without_bars():
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


def _small(seed: int) -> int:
    """The seed within numpy's limit, which the Trainer's seeds must keep."""
    return seed % 2**32


def _arguments(config: FinetuneConfig, work: Path, seed: int, *, on_gpu: bool) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(work),
        num_train_epochs=config.epochs,
        learning_rate=config.learning_rate,
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=config.accumulate,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=config.warmup_steps,
        weight_decay=config.weight_decay,
        save_steps=config.checkpoint_steps,
        save_total_limit=2,
        logging_steps=10,
        logging_nan_inf_filter=False,
        bf16=on_gpu,
        seed=_small(seed),
        report_to=[],
        disable_tqdm=True,
        use_cpu=not on_gpu,
        dataloader_pin_memory=on_gpu,
    )


class _Trainer(Trainer):  # type: ignore[misc]  # transformers is not typed
    """The Trainer with batches of like length in an order that survives a resume.

    Its own ``group_by_length`` draws from the global generator, whose state at the start of a later
    epoch is lost when a run goes on in the middle of that epoch.
    """

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        batch = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return _LikeLengths(batch, lengths=self.train_dataset.lengths, seed=self._epoch_seed)

    def _epoch_seed(self) -> int:
        return derive_seed(self.args.seed, "epoch", int(self.state.epoch or 0))


class _LikeLengths(LengthGroupedSampler):  # type: ignore[misc]  # transformers is not typed
    """Seeds itself whenever an epoch begins."""

    def __init__(self, batch_size: int, *, lengths: list[int], seed: Callable[[], int]):
        super().__init__(batch_size, lengths=lengths, generator=torch.Generator())
        self._seed = seed

    def __iter__(self) -> Iterator[int]:
        self.generator.manual_seed(self._seed())
        order: Iterator[int] = super().__iter__()
        return order


class _Steps(TrainerCallback):  # type: ignore[misc]  # transformers is not typed
    """Shows progress, and sees to logs and checkpoints."""

    def __init__(
        self, task: Callable[[int, int], AbstractContextManager[Advance]], shown: ExitStack
    ):
        self._task, self._shown = task, shown
        self._advance: Advance | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A resumed run begins at its checkpoint's step."""
        self._advance = self._shown.enter_context(self._task(state.max_steps, state.global_step))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Logs never span a checkpoint, so that a resumed run reports the same losses.

        No checkpoint follows the last step: the result does, and the Trainer would take one step
        too many from a checkpoint at the end of a fraction of an epoch.
        """
        if self._advance is not None:
            self._advance()
        last = state.global_step >= state.max_steps
        control.should_log = control.should_log or control.should_save or last
        control.should_save = control.should_save and not last

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if not math.isfinite((logs or {}).get("loss", 0.0)):
            raise ModelError(
                f"the loss is no longer a finite number at step {state.global_step}: "
                "lower the learning rate"
            )

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Mark a checkpoint once all of it is written."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        (folder / _COMPLETE).touch()


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
    adapters = LoraConfig(r=settings.rank, lora_alpha=settings.alpha, target_modules=targets)
    try:
        return get_peft_model(network, adapters)
    except ValueError as error:
        raise InputError(f"no adapters can be put on {targets}: {error}") from error


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
    with without_bars():
        network.save_pretrained(result)
    tokenizer.save_pretrained(result)
    (result / "finetune.json").write_text(json.dumps(report.__dict__, indent=2) + "\n")
