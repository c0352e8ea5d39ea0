"""Settings of the supervised stage, apart from it so that a recipe is read without torch."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from constitutional.dialogue.transcript import STOP_STRINGS
from constitutional.engines.base import SamplingParams
from constitutional.refusal import refusal
from constitutional.runs.records import Damage
from constitutional.training_settings import TrainingSettings


class DamageConfig(BaseModel):
    """Revisions that are damaged on purpose, for studies of robustness."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    #: The share of all revisions, drawn for each record and round by the run's seed.
    share: float = Field(gt=0, le=1)
    #: ``repeat``: the last sentence again and again, up to the token limit. ``truncate``: ended in
    #: the middle. ``shuffle``: the words in another order. ``leak``: goes on with the next request.
    kinds: tuple[Damage, ...] = Field(
        default=("repeat", "truncate", "shuffle", "leak"), min_length=1
    )

    @field_validator("kinds")
    @classmethod
    def _once(cls, kinds: tuple[Damage, ...]) -> tuple[Damage, ...]:
        if len(set(kinds)) < len(kinds):
            raise refusal(f"'kinds' names one twice: {', '.join(kinds)}")
        return kinds


class CritiqueRevisionConfig(BaseModel):
    """Settings of the stage; the defaults are the paper's."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    #: Rounds of critique and revision.
    rounds: int = Field(default=4, ge=1)
    #: False gives direct revision, the paper's ablation (section 3.5).
    critique: bool = True
    #: How many of the constitution's few-shot examples stand before each request; None for all.
    few_shots: int | None = Field(default=None, ge=0)
    #: The longest response, critique or revision, in tokens.
    max_new_tokens: int = Field(default=256, ge=1)
    temperature: float = Field(default=1.0, ge=0)
    #: Responses to each helpful prompt, mixed into the training data.
    helpful_responses: int = Field(default=2, ge=1)
    #: A regular expression for critiques that find nothing; such a critique ends its chain.
    no_fault: str | None = None
    #: For studies of robustness alone: a share of the revisions is damaged before its form is
    #: looked at. None, as in every run that is to make a good model: none is.
    damage: DamageConfig | None = None

    @field_validator("no_fault")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"no_fault is no regular expression: {error}") from error
        return pattern

    @property
    def sampling(self) -> SamplingParams:
        """How every text of the stage is sampled."""
        return SamplingParams(self.max_new_tokens, self.temperature, STOP_STRINGS)


class FinetuneConfig(TrainingSettings):
    """Settings of the finetuning; the defaults are the paper's where it gives them."""

    #: A copy of the model every so many steps, whose answers RL can compare; None for none.
    snapshot_steps: int | None = Field(default=None, ge=1)
    #: Which revisions of a chain are trained on: of all rounds, as in the paper, or the last usable
    #: one alone, which has less of the harm that the first rounds leave.
    revisions: Literal["all", "last"] = "all"
    #: Texts whose form is broken are left out, or, to see what they do, trained on all the same.
    #: What a server failed to write is left out in any case.
    flagged: Literal["leave_out", "train"] = "leave_out"
