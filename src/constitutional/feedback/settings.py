"""Settings of AI feedback, apart from it so that a recipe is read without the stage."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from constitutional.dialogue.transcript import STOP_STRINGS
from constitutional.engines.base import SamplingParams
from constitutional.refusal import refusal

#: What the paper clamps chain-of-thought labels to (section 4.1).
PAPER_CLAMP = (0.40, 0.60)


class FeedbackConfig(BaseModel):
    """Settings of the labels; the defaults are the paper's. Contradictions are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    #: Let the engine reason step by step before it chooses.
    cot: bool = False
    #: Chains of thought for each question, whose probabilities are averaged.
    cot_samples: int = Field(default=1, ge=1)
    #: Keep labels within these bounds, which must be as far below as above 0.5. ``auto`` is
    #: the paper's way: 0.40 and 0.60 with a chain of thought, no bounds without one.
    clamp: tuple[float, float] | Literal["auto"] | None = "auto"
    #: Labels of 0 or 1 instead of probabilities; an exact 0.5 stays, for it has no side.
    hard: bool = False
    #: Different principles by which each pair is compared, or all where the constitution has fewer;
    #: their probabilities are averaged.
    principles_per_pair: int = Field(default=1, ge=1)
    #: Show each pair in one order drawn by seed (the paper is silent), or in both and average.
    orders: Literal["random", "both"] = "random"
    #: How many of the constitution's few-shot examples stand before a question; None for all.
    few_shots: int | None = Field(default=None, ge=0)
    #: Each example shows a drawn principle and order of answers. So many such drawings are made for
    #: a run, and each question gets one of them: examples that questions share are read once.
    few_shot_draws: int = Field(default=8, ge=1)
    #: Answers sampled for each question where the engine gives no log-probs (after each chain of
    #: thought, with those).
    votes: int = Field(default=5, ge=1)
    #: The longest chain of thought, in tokens.
    max_new_tokens: int = Field(default=256, ge=1)

    @field_validator("clamp")
    @classmethod
    def _even(
        cls, clamp: tuple[float, float] | Literal["auto"] | None
    ) -> tuple[float, float] | Literal["auto"] | None:
        if isinstance(clamp, tuple):
            low, high = clamp
            if not (0 <= low < 0.5 and math.isclose(low + high, 1, abs_tol=1e-9)):
                raise refusal(
                    "'clamp' needs a bound below 0.5 and one as far above it, such as 0.4 and 0.6 "
                    f"(else the label would depend on which answer comes first), found {clamp}"
                )
        return clamp

    @model_validator(mode="after")
    def _agree(self) -> FeedbackConfig:
        if not self.cot and isinstance(self.clamp, tuple):
            raise refusal(
                "'clamp' is for chain-of-thought labels, and 'cot' is off: set cot, or clamp to "
                "null",
                "clamp",
            )
        if not self.cot and self.cot_samples != 1:
            raise refusal(
                f"'cot_samples' is {self.cot_samples}, and 'cot' is off: set cot, or leave "
                "cot_samples out",
                "cot_samples",
            )
        if self.hard and self.bounds is not None:
            raise refusal(
                "'hard' labels are 0 or 1, and 'clamp' (on by default with 'cot') keeps them from "
                "being so: set clamp to null, or leave hard out",
                "hard",
            )
        return self

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The bounds in force: ``clamp``, with ``auto`` resolved."""
        if self.clamp == "auto":
            return PAPER_CLAMP if self.cot else None
        return self.clamp

    def reasoning(self, stop: tuple[str, ...] = STOP_STRINGS) -> SamplingParams:
        """How a chain of thought is sampled (T = 1, as all of the paper's samples)."""
        return SamplingParams(self.max_new_tokens, 1.0, stop)


class PairsConfig(BaseModel):
    """Settings of the pairs; the defaults are the paper's: two answers at T = 1."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    #: Temperatures at which answers are drawn. With several, the two answers of a pair come from
    #: different ones (or from different policies).
    temperatures: tuple[float, ...] = (1.0,)
    #: The longest answer, in tokens.
    max_new_tokens: int = Field(default=256, ge=1)

    @field_validator("temperatures")
    @classmethod
    def _some(cls, temperatures: tuple[float, ...]) -> tuple[float, ...]:
        if not temperatures or not all(0 < t < math.inf for t in temperatures):
            raise refusal(
                "'temperatures' needs one temperature or more, each above 0, "
                f"found {list(temperatures)}"
            )
        if len(set(temperatures)) < len(temperatures):
            raise refusal(f"'temperatures' names one twice: {list(temperatures)}")
        return temperatures
