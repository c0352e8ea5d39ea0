"""What every training here has in common: transformers' Trainer, set up so that it can be killed.

A training that was killed goes on from its last complete checkpoint and, on a CPU, ends with the
same bytes. On several processes (:mod:`constitutional.processes`) each takes its share of every
batch, and a step is that of one process but for rounding. The order of the examples is drawn by the
seed, progress is shown on standard error, and one sentence ends a training whose numbers go wrong
(:mod:`constitutional.training_checks`). The learning rate is constant after the warm-up, as in the
paper (Bai et al. 2022, section 3.2), unless the settings let it fall.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset, Sampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from constitutional import processes
from constitutional.engines.loading import chosen_device, without_bars
from constitutional.errors import InputError
from constitutional.runs.checkpoints import (
    drop_damaged,
    mark_complete,
    read_mark,
    remove_old,
)
from constitutional.runs.progress import Advance, Progress
from constitutional.runs.seeds import derive_seed
from constitutional.training_checks import (
    NUMBERS,
    Named,
    Watched,
    newest_checkpoint,
    trainer_checkpoints,
)
from constitutional.training_settings import TrainingSettings

#: Where a training keeps copies of its model on the way, in its work folder.
SNAPSHOTS = "snapshots"

#: The label of what is not learned: a token of a prompt, padding, an example that stands in.
IGNORED = -100

#: The index of the example that stands in where the last batch leaves a share unfilled.
_STAND_IN = -1

#: transformers' names of the schedules; all of them warm up first.
_SCHEDULERS = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}

#: Opens a task of (total, done before) on the user's screen; ``partial(progress.task, title)``.
Task = Callable[[int, int], AbstractContextManager[Advance]]


class SeededTrainer(Watched, Trainer):  # type: ignore[misc]  # transformers is not typed
    """The Trainer, watched, with an order of examples that survives a resume.

    Its own is drawn from the global generator, whose state at the start of a later epoch is lost
    when a run goes on in the middle of that epoch.
    """

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        together = self.args.train_batch_size * processes.count()
        filled = together if processes.count() > 1 else 1
        return Shuffled(len(self.train_dataset), seed=self.epoch_seed, filled=filled)

    def epoch_seed(self) -> int:
        """What the order of the present epoch is drawn by."""
        return derive_seed(self.args.seed, "epoch", int(self.state.epoch or 0))


class OwnLoss(SeededTrainer):
    """A Trainer whose loss is a mean over all that a step learns, of however many parts.

    A batch has its "rows" (:class:`~constitutional.packing.Rows`) and "labels", by which the
    Trainer counts. A subclass says in :meth:`each` the loss of each example, or of each token.
    """

    #: The gradients of a step's parts are added up, each with its share of the mean.
    loss_is_scaled_for_ga = True

    def __init__(self, *args: Any, **settings: Any):
        super().__init__(*args, **settings)
        self.model_accepts_loss_kwargs = True  # so that it counts what a step learns

    def each(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """The losses that are averaged, (n,); those of stand-ins are 0, or not there."""
        raise NotImplementedError

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> Any:
        """The mean over what is learned in a step, of which ``inputs`` may be a part."""
        each = self.each(model, inputs)
        if num_items_in_batch is None:
            loss = each.mean()
        else:  # the gradients of several processes are averaged, not added
            loss = each.sum() / num_items_in_batch * self.accelerator.num_processes
        return (loss, {}) if return_outputs else loss


class Shuffled(Sampler[int]):
    """All of ``count`` examples in an order that is drawn anew whenever an epoch begins.

    It does not depend on how many processes share a batch. They need shares of one size, so that
    the last batch is ``filled`` up to a multiple with stand-ins, which count for nothing.
    """

    def __init__(self, count: int, *, seed: Callable[[], int], filled: int = 1):
        self._count, self._seed = count, seed
        self._stand_ins = -count % filled

    def __len__(self) -> int:
        return self._count + self._stand_ins

    def __iter__(self) -> Iterator[int]:
        drawn = torch.Generator().manual_seed(self._seed())
        order = torch.randperm(self._count, generator=drawn).tolist()
        return iter(order + [_STAND_IN] * self._stand_ins)


class Numbered(Dataset[tuple[Any, int]]):
    """The examples of ``data`` with their numbers; the stand-in is the first one."""

    def __init__(self, data: Named):
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self._data[0 if index == _STAND_IN else index], index


@dataclass(frozen=True)
class NumberedBatches:
    """Collates by ``collate``, takes the labels of stand-ins away, and adds the numbers."""

    collate: Callable[[Sequence[dict[str, Any]]], dict[str, Any]]

    def __call__(self, rows: Sequence[tuple[dict[str, Any], int]]) -> dict[str, Any]:
        """The batch."""
        batch = self.collate([example for example, _ in rows])
        numbers = torch.tensor([number for _, number in rows])
        if (stand_ins := numbers == _STAND_IN).any():
            batch["labels"][stand_ins] = IGNORED
        return {**batch, NUMBERS: numbers}


class Steps(TrainerCallback):  # type: ignore[misc]  # transformers is not typed
    """Shows progress, and sees to logs and checkpoints."""

    def __init__(self, task: Task, shown: ExitStack):
        self._task, self._shown = task, shown
        self._advance: Advance | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A resumed run begins at its checkpoint's step."""
        if not state.is_world_process_zero:
            return
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

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Mark a checkpoint once all of it is written, by every process; then old ones may go.

        The Trainer would remove the oldest by the times of files, and before this mark.
        """
        processes.wait()
        if state.is_world_process_zero:
            work = Path(args.output_dir)
            mark_complete(work / f"checkpoint-{state.global_step}", processes.sharding())
            remove_old(trainer_checkpoints(work))


def train(
    network: Any,
    data: Named,
    collate: Callable[[Sequence[dict[str, Any]]], dict[str, Any]],
    *,
    settings: TrainingSettings,
    work: Path,
    seed: int,
    progress: Progress,
    title: str,
    device: str,
    kind: Callable[..., SeededTrainer] = SeededTrainer,
    steps: type[Steps] = Steps,
    callbacks: Sequence[TrainerCallback] = (),
) -> SeededTrainer:
    """Train ``network`` on ``data``, from the last whole checkpoint in ``work`` if there is one.

    Returns the Trainer at its end: ``.state`` holds the steps and losses, and :func:`trained` gives
    the network. Raises TrainingError where a number is no longer finite.
    """
    on_gpu = chosen_device(device).type == "cuda"
    _check_gpus(on_gpu)
    if settings.gradient_checkpointing:
        recompute_activations(network)
    with ExitStack() as shown:
        trainer = kind(
            model=network.train(),
            args=arguments(settings, work, seed, on_gpu=on_gpu),
            train_dataset=Numbered(data),
            data_collator=NumberedBatches(collate),
            callbacks=[steps(partial(progress.task, title), shown), *callbacks],
        )
        trainer.data = data
        trainer.remove_callback(PrinterCallback)  # standard output is for results
        _check_sharding(trainer)
        with without_bars():
            trainer.train(resume_from_checkpoint=last_checkpoint(work, work / SNAPSHOTS, progress))
        trainer.check_weights()
    return trainer


def trained(trainer: Trainer, anew: Callable[[], Any]) -> Any | None:
    """The trained network, in the main process; None in the others, which have to call this too.

    ``anew`` makes another network as the training began with. It takes the weights where they were
    sharded over the processes, and is not called where they were not.
    """
    if processes.sharding() is None:
        return trainer.model if processes.is_main() else None
    weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if not processes.is_main():
        return None
    network = anew()
    network.load_state_dict(weights)
    return network


def loading_device(device: str) -> str:
    """Where a network is loaded to be trained: weights that will be sharded wait on the CPU."""
    return device if processes.sharding() is None else "cpu"


def recompute_activations(network: Any) -> None:
    """Keep only what enters each layer, and compute the rest again in the backward pass."""
    # transformers renamed it in 5.2x
    enable = getattr(network, "activation_checkpointing_enable", None)
    (enable or network.gradient_checkpointing_enable)({"use_reentrant": False})


def _check_gpus(on_gpu: bool) -> None:
    """The Trainer would put a whole batch on each GPU of a single process."""
    if on_gpu and processes.count() == 1 and torch.cuda.device_count() > 1:
        found = torch.cuda.device_count()
        raise InputError(
            f"one process trains on one GPU and finds {found}: add 'training: {{processes: "
            f"{found}}}' to the recipe, or make one visible, as CUDA_VISIBLE_DEVICES=0 does"
        )


def _check_sharding(trainer: Trainer) -> None:
    asked, found = processes.sharding(), str(trainer.accelerator.distributed_type.value)
    if asked is not None and asked != found:
        raise InputError(
            f"the weights cannot be sharded: Accelerate was asked for {asked}, which needs GPUs, "
            "and trains on the CPU here: use the configuration 'ddp'"
        )
    if asked is not None and getattr(trainer.model, "is_loaded_in_4bit", False):
        raise InputError(
            "weights in 4 bits cannot be sharded: leave 'quantize' out, or use the configuration "
            "'ddp'"
        )


def tell_left_out(
    progress: Progress, title: str, count: int, among: int, tokens: int, max_length: int
) -> None:
    """Say that ``max_length`` leaves out ``count`` examples, of ``tokens`` in all, if it does."""
    if count:
        progress.note(
            f"{title}: {count} of {among} examples, which have {tokens} tokens, are longer than "
            f"max_length {max_length} and left out"
        )


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
        per_device_train_batch_size=processes.divided(settings.batch_size, "batch_size"),
        gradient_accumulation_steps=settings.accumulate,
        lr_scheduler_type=_SCHEDULERS[settings.schedule],
        warmup_steps=settings.warmup_steps,
        weight_decay=settings.weight_decay,
        save_steps=settings.checkpoint_steps,
        logging_steps=10,
        logging_nan_inf_filter=False,
        bf16=on_gpu,
        seed=small_seed(seed),
        report_to=list(settings.trackers),
        disable_tqdm=True,
        use_cpu=not on_gpu,
        dataloader_pin_memory=on_gpu,
        ddp_find_unused_parameters=False,
        remove_unused_columns=False,
    )


def last_checkpoint(
    work: Path, snapshots: Path, progress: Progress, *, each: int = 1
) -> str | None:
    """The newest checkpoint that was written to its end and is as it was; others are removed.

    ``each`` of its steps are one of those that ``snapshots`` are named by. The user is told of one
    that was damaged. Raises InputError where its weights are sharded otherwise than Accelerate was
    asked to.
    """
    if processes.is_main():
        drop_damaged(trainer_checkpoints(work), snapshots, progress.note, each=each)
    processes.wait()
    folder = newest_checkpoint(work)
    if folder is None:
        return None
    mark, wanted = read_mark(folder), processes.sharding()
    assert mark is not None, "it was read a moment ago"
    if mark.sharding != wanted:
        raise InputError(
            f"{folder} was written {_with(mark.sharding)} and cannot be read {_with(wanted)}: go "
            "on with the configuration that the training began with, or delete the checkpoint"
        )
    return str(folder)


def _with(sharding: str | None) -> str:
    return "with whole weights" if sharding is None else f"with weights sharded by {sharding}"


def pad_right(rows: Sequence[Sequence[int]], filler: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The rows as (batch, longest) with ``filler`` behind them, and the mask: 1 on their tokens.

    The mask follows from the lengths, so the filler may equal any token of the rows.
    """
    longest = max(len(row) for row in rows)
    padded = torch.tensor([[*row, *[filler] * (longest - len(row))] for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    return padded, (torch.arange(longest) < lengths[:, None]).long()
