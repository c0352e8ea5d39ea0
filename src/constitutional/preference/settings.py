"""Settings of the preference model, apart from it so that a recipe is read without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from constitutional.training_settings import TrainingSettings

Goal = Literal["harmlessness", "helpfulness"]


class PretrainingConfig(TrainingSettings):
    """Preference model pretraining: a first training on ranked answers (Askell et al. 2021).

    In the paper its learning rate is ten times that of the training which follows.
    """

    learning_rate: float = Field(default=1e-4, gt=0)
    #: Learn which answer is good from "GOOD:" and "BAD:" before it, in place of which is better.
    binarise: bool = True


class PreferenceConfig(TrainingSettings):
    """Settings of the training of a preference model. ``batch_size`` counts comparisons.

    A comparison is left out, and counted, when one of its two texts is longer than ``max_length``.
    """

    #: How much a comparison of each goal counts; None and goals that are not named: 1.
    goal_weights: dict[Goal, float] | None = None
    #: At most so many comparisons of each goal, drawn by the run's seed from those that are not
    #: held out; None for all.
    limit: int | None = Field(default=None, ge=1)

    @field_validator("goal_weights")
    @classmethod
    def _positive(cls, weights: dict[Goal, float] | None) -> dict[Goal, float] | None:
        for goal, weight in (weights or {}).items():
            if not 0 < weight < float("inf"):
                raise ValueError(f"the weight of {goal} must be above 0, got {weight}")
        return weights

    def weight(self, goal: Goal) -> float:
        """How much a comparison of ``goal`` counts."""
        return (self.goal_weights or {}).get(goal, 1.0)
