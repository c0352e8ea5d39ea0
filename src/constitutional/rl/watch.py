"""What stops a training on fresh answers at a step: samples, scores or weights that went wrong.

A score that is no finite number stops it. Equal scores of a whole batch are no fault of that batch:
a reward may be coarse, and the policy may have learned all of it; such a batch teaches the price of
the KL alone. Where the first ``EQUAL_BATCHES`` batches have different answers and one score, the
preference model tells nothing apart, and the training stops.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from constitutional.dialogue import PromptRecord
from constitutional.errors import EngineError, TrainingError
from constitutional.training_checks import went_wrong

EQUAL_BATCHES = 3


class StepWatch:
    """Raises TrainingError, with the step, its prompts and the checkpoint before.

    ``newest`` finds that checkpoint.
    """

    def __init__(self, newest: Callable[[], Path | None] = lambda: None):
        self._newest = newest
        #: The scores of the first batches, by their steps.
        self._first: dict[int, set[float]] = {}

    @contextmanager
    def sampling(self, step: int, prompts: Sequence[PromptRecord]) -> Iterator[None]:
        """Within, the policy answers; it cannot where its logits are no numbers."""
        try:
            yield
        except EngineError as error:
            raise self.wrong(f"step {step}: {error}", prompts) from error

    def scores(
        self,
        scores: Sequence[float],
        answers: Sequence[str],
        step: int,
        prompts: Sequence[PromptRecord],
    ) -> None:
        """Look at the scores of a step's answers, one to each prompt."""
        for prompt, score in zip(prompts, scores, strict=True):
            if not math.isfinite(score):
                raise self.wrong(
                    f"step {step}: the preference model's score of an answer to prompt {prompt.id} "
                    f"is {score}: check the preference model's training",
                    prompts,
                )
        if step > EQUAL_BATCHES or len(set(answers)) == 1:
            return
        self._first[step] = set(scores)
        if len(self._first) == EQUAL_BATCHES and len(set().union(*self._first.values())) == 1:
            raise self.wrong(
                f"step {step}: the preference model has given all answers of {EQUAL_BATCHES} "
                f"batches the same score, {scores[0]:g}, and so tells nothing apart",
                prompts,
            )

    def weights(self, parts: Mapping[str, Any], step: int, prompts: Sequence[PromptRecord]) -> None:
        """Look whether all that is trained is finite."""
        for part, module in parts.items():
            for name, weight in module.named_parameters():
                if weight.requires_grad and not torch.isfinite(weight).all():
                    raise self.wrong(
                        f"step {step}: the weights {name} of the {part} are no longer finite "
                        "numbers",
                        prompts,
                    )

    def wrong(self, what: str, prompts: Sequence[PromptRecord]) -> TrainingError:
        """The one sentence."""
        names = dict.fromkeys(f"prompt {prompt.id}" for prompt in prompts)
        return went_wrong(what, list(names), self._newest())
