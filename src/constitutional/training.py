"""What every training here has in common: transformers' Trainer, set up so that it can be killed.

A training that was killed goes on from its last complete checkpoint and, on a CPU, ends with the
same bytes. Its batches hold examples of like length, it shows progress on standard error, and stops
with one sentence when the loss is no longer a number. The learning rate is constant after the
warm-up, as in the paper (Bai et al. 2022, section 3.2), unless the settings let it fall.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Sampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.trainer_pt_utils import LengthGroupedSampler

from constitutional.engines.loading import chosen_device, without_bars
from constitutional.errors import InputError, MissingExtraError, ModelError
from constitutional.runs.progress import Advance
from constitutional.runs.seeds import derive_seed
from constitutional.training_settings import LoraSettings, TrainingSettings

_COMPLETE = "complete"

#: transformers' names of the schedules; all of them warm up first.
_SCHEDULERS = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}

#: Opens a task of (total, done before) on the user's screen; ``partial(progress.task, title)``.
Task = Callable[[int, int], AbstractContextManager[Advance]]


class LikeLengthTrainer(Trainer):  # type: ignore[misc]  # transformers is not typed
    """The Trainer with batches of like length in an order that survives a resume.

    The data set says the ``lengths`` of its examples. The Trainer's own ``group_by_length`` draws
    from the global generator, whose state at the start of a later epoch is lost when a run goes on
    in the middle of that epoch.
    """

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        batch = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return LikeLengths(batch, lengths=self.train_dataset.lengths, seed=self._epoch_seed)

    def _epoch_seed(self) -> int:
        return derive_seed(self.args.seed, "epoch", int(self.state.epoch or 0))


class LossByExample(LikeLengthTrainer):
    """A Trainer whose loss is a mean over all examples of a step, of however many parts.

    A subclass says in :meth:`each` the loss of each example.
    """

    #: The gradients of a step's parts are added up, each with its share of the mean.
    loss_is_scaled_for_ga = True

    def __init__(self, *args: Any, **settings: Any):
        super().__init__(*args, **settings)
        self.model_accepts_loss_kwargs = True  # so that it counts the examples of a step

    def each(self, scores: torch.Tensor, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """The loss of each example, (n,), from the network's ``scores``, one for each text."""
        raise NotImplementedError

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> Any:
        """The mean over the examples of a step, of which ``inputs`` may be a part."""
        outputs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
        each = self.each(outputs.logits[:, 0].float(), inputs)
        if num_items_in_batch is None:
            loss = each.mean()
        else:  # the gradients of several processes are averaged, not added
            loss = each.sum() / num_items_in_batch * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss


class LikeLengths(LengthGroupedSampler):  # type: ignore[misc]  # transformers is not typed
    """Batches of like length in shuffled order, seeded anew whenever an epoch begins.

    The base class leaves its batches sorted, long ones first. Where length goes with content, as a
    refusal with its reason is longer than a helping answer, the model would end each pass on one
    kind and forget the other: measured in ``LOG.md``.
    """

    def __init__(self, batch_size: int, *, lengths: list[int], seed: Callable[[], int]):
        super().__init__(batch_size, lengths=lengths, generator=torch.Generator())
        self._seed = seed

    def __iter__(self) -> Iterator[int]:
        self.generator.manual_seed(self._seed())
        order = list(super().__iter__())
        size = self.batch_size
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        # the last batch may be smaller, and stays last: a batch must not straddle two lengths
        shuffled = torch.randperm(len(order) // size, generator=self.generator).tolist()
        shuffled += range(len(shuffled), len(batches))
        return iter([index for number in shuffled for index in batches[number]])


class Steps(TrainerCallback):  # type: ignore[misc]  # transformers is not typed
    """Shows progress, and sees to logs and checkpoints."""

    def __init__(self, task: Task, shown: ExitStack):
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
        """Stop when the loss is no longer a number."""
        if not math.isfinite((logs or {}).get("loss", 0.0)):
            raise ModelError(
                f"the loss is no longer a finite number at step {state.global_step}: "
                "lower the learning rate"
            )

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Mark a checkpoint once all of it is written."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        (folder / _COMPLETE).touch()


def train(
    network: Any,
    data: Any,
    collate: Callable[[Sequence[dict[str, Any]]], dict[str, torch.Tensor]],
    *,
    settings: TrainingSettings,
    work: Path,
    seed: int,
    task: Task,
    device: str,
    kind: type[LikeLengthTrainer] = LikeLengthTrainer,
    steps: type[Steps] = Steps,
    callbacks: Sequence[TrainerCallback] = (),
) -> LikeLengthTrainer:
    """Train ``network`` on ``data``, from the last complete checkpoint in ``work`` if there is one.

    Returns the Trainer at its end: ``.model`` is trained, ``.state`` holds the steps and losses.
    """
    on_gpu = chosen_device(device).type == "cuda"
    with ExitStack() as shown:
        trainer = kind(
            model=network.train(),
            args=arguments(settings, work, seed, on_gpu=on_gpu),
            train_dataset=data,
            data_collator=collate,
            callbacks=[steps(task, shown), *callbacks],
        )
        trainer.remove_callback(PrinterCallback)  # standard output is for results
        with without_bars():
            trainer.train(resume_from_checkpoint=last_complete_checkpoint(work))
    return trainer


def losses(trainer: Trainer) -> tuple[tuple[int, float], ...]:
    """The (step, mean loss of the steps since the last) that a training has logged."""
    return tuple((e["step"], e["loss"]) for e in trainer.state.log_history if "loss" in e)


def small_seed(seed: int) -> int:
    """The seed within numpy's limit, which the Trainer's seeds must keep."""
    return seed % 2**32


def arguments(
    settings: TrainingSettings, work: Path, seed: int, *, on_gpu: bool
) -> TrainingArguments:
    """The Trainer's arguments."""
    return TrainingArguments(
        output_dir=str(work),
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulate,
        lr_scheduler_type=_SCHEDULERS[settings.schedule],
        warmup_steps=settings.warmup_steps,
        weight_decay=settings.weight_decay,
        save_steps=settings.checkpoint_steps,
        save_total_limit=2,
        logging_steps=10,
        logging_nan_inf_filter=False,
        bf16=on_gpu,
        seed=small_seed(seed),
        report_to=list(settings.trackers),
        disable_tqdm=True,
        use_cpu=not on_gpu,
        dataloader_pin_memory=on_gpu,
        remove_unused_columns=False,
    )


def last_complete_checkpoint(work: Path) -> str | None:
    """The newest checkpoint that was written to its end; half-written ones are removed."""
    complete = {}
    for folder in work.glob("checkpoint-*"):
        if (folder / _COMPLETE).exists():
            complete[int(folder.name.removeprefix("checkpoint-"))] = folder
        else:
            shutil.rmtree(folder)
    return str(complete[max(complete)]) if complete else None


def with_adapters(
    network: Any, settings: LoraSettings, seed: int, *, what: str, head: str | None = None
) -> Any:
    """The network with adapters, which begin at random by ``seed``.

    ``head`` names a layer that has none and is trained whole. ``what`` is for the sentence that
    says what needs peft.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise MissingExtraError("peft", "lora", f"{what} with LoRA") from error
    set_seed(small_seed(seed))
    targets = list(settings.target_modules) if settings.target_modules else "all-linear"
    adapters = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        target_modules=targets,
        task_type=None if head is None else "SEQ_CLS",
        modules_to_save=None if head is None else [head],
    )
    try:
        return get_peft_model(network, adapters)
    except ValueError as error:
        raise InputError(f"no adapters can be put on {targets}: {error}") from error


def pad_right(rows: Sequence[Sequence[int]], filler: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The rows as (batch, longest) with ``filler`` behind them, and the mask: 1 on their tokens.

    The mask follows from the lengths, so the filler may equal any token of the rows.
    """
    longest = max(len(row) for row in rows)
    padded = torch.tensor([[*row, *[filler] * (longest - len(row))] for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    return padded, (torch.arange(longest) < lengths[:, None]).long()
