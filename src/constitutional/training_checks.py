"""What stops a training: numbers that went wrong, and data from which nothing can be learned.

Each step is looked at before it can reach a checkpoint, so that the last checkpoint is from before.
Goes on or stops, by these rules:

- A loss or the norm of a gradient that is no finite number stops at its step, and so do weights
  that are not when they are to be written.
- Comparisons that all have equal answers, or labels that are all one half, are refused: their
  gradient is 0. Where some are so, the user is told how many.
- Labels that all prefer the same side are no fault of themselves, for a file may always have the
  better answer first; the user is told, for an AI that labels so reads letters and not answers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from constitutional.errors import InputError, TrainingError
from constitutional.runs.checkpoints import newest
from constitutional.runs.progress import Progress

#: The key of a batch under which the numbers of its records are.
NUMBERS = "numbers"
#: Records of a batch that are named.
_NAMED = 64


class Named(Protocol):
    """Data of a training, whose records have names for people."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Any: ...

    def name(self, index: int) -> str:
        """What a record is called."""
        ...


def went_wrong(what: str, records: Sequence[str], checkpoint: Path | None) -> TrainingError:
    """The one sentence: what went wrong and where, the batch, what is kept, what to do."""
    more = f" and {len(records) - _NAMED} more" if len(records) > _NAMED else ""
    kept = (
        "no checkpoint was written before"
        if checkpoint is None
        else f"the checkpoint before it is whole: {checkpoint}"
    )
    return TrainingError(
        f"{what}; the batch is {', '.join(records[:_NAMED])}{more}; {kept}; look at these records, "
        "or lower the learning rate and begin in another run folder"
    )


def trainer_checkpoints(work: Path) -> dict[int, Path]:
    """The checkpoints of transformers' Trainer by their steps, whole or not."""
    found = work.glob("checkpoint-*")
    return {int(path.name.removeprefix("checkpoint-")): path for path in found}


def newest_checkpoint(work: Path) -> Path | None:
    """The last of them that was written to its end, None when there is none."""
    found = newest(trainer_checkpoints(work))
    return None if found is None else found[1]


class Watched:
    """Mixed into transformers' Trainer: a step whose numbers are not finite ends the training.

    Raises TrainingError.
    """

    #: How the records are named; without it they are numbers.
    data: Named | None = None
    args: Any
    state: Any
    model: Any

    def __init__(self, *args: Any, **settings: Any):
        super().__init__(*args, **settings)
        self._records: list[str] = []
        self._stepped = False

    def names_in(self, inputs: dict[str, Any]) -> list[str]:
        """What the records of a batch are called; takes their numbers out of it."""
        numbers = inputs.pop(NUMBERS).tolist()
        name = str if self.data is None else self.data.name
        return [name(number) for number in numbers if number >= 0]

    def check_weights(self) -> None:
        """Look whether all that was trained is finite."""
        for name, weight in self.model.named_parameters():
            if weight.requires_grad and not torch.isfinite(weight).all():
                raise self._wrong(f"the weights {name} are no longer finite numbers", 0)

    def training_step(self, model: Any, inputs: dict[str, Any], *more: Any) -> torch.Tensor:
        """The loss of a part of a step, which has to be finite."""
        if self._stepped:
            self._records, self._stepped = [], False
        self._records += self.names_in(inputs)
        loss: torch.Tensor = super().training_step(model, inputs, *more)  # type: ignore[misc]
        if not torch.isfinite(loss).all():
            raise self._wrong(f"the loss is {loss.mean().item()}")
        return loss

    def _get_grad_norm(self, *args: Any, **more: Any) -> Any:
        norm = super()._get_grad_norm(*args, **more)  # type: ignore[misc]
        self._stepped = True
        if not math.isfinite(float(norm)):
            raise self._wrong(f"the norm of the gradient is {float(norm)}")
        return norm

    def _save_checkpoint(self, *args: Any, **more: Any) -> None:
        self.check_weights()
        super()._save_checkpoint(*args, **more)  # type: ignore[misc]

    def _wrong(self, what: str, ahead: int = 1) -> TrainingError:
        step, last = self.state.global_step + ahead, newest_checkpoint(Path(self.args.output_dir))
        return went_wrong(f"step {step}: {what}", self._records, last)


def check_pairs(
    pairs: Iterable[tuple[bool, float]], ids: Sequence[str], progress: Progress, title: str
) -> None:
    """Look whether there is something to learn from comparisons, of each: equal answers, label.

    Raises InputError where there is nothing; tells what is odd.
    """
    equal = even = first = second = 0
    for same, prob_a in pairs:
        equal += same
        even += prob_a == 0.5
        first += prob_a > 0.5
        second += prob_a < 0.5
    all_ = len(ids)
    for count, what in ((equal, "have two equal answers"), (even, "have a label of one half")):
        if count == all_:
            raise InputError(
                f"{title}: all {all_} comparisons {what} (the first is {ids[0]!r}), from which "
                "nothing can be learned: see to the answers and labels that were made before"
            )
    if equal:
        progress.note(f"{title}: {equal} of {all_} comparisons have two equal answers")
    if all_ > 1 and all_ in (first, second):
        side = "first" if first else "second"
        progress.note(
            f"{title}: all {all_} labels prefer the {side} answer; that is as it should be where "
            "a file has the better one there, and else a sign that answers were not read"
        )
