"""Settings of the supervised stage, apart from it so that a recipe is read without torch."""

from __future__ import annotations

import re

from pydantic import BaseModel, ConfigDict, Field, field_validator

from constitutional.dialogue.transcript import STOP_STRINGS
from constitutional.engines.base import SamplingParams


class CritiqueRevisionConfig(BaseModel):
    """Settings of the stage; the defaults are the paper's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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

    @field_validator("no_fault")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"no_fault is no regular expression: {error}") from error
        return pattern

    @property
    def sampling(self) -> SamplingParams:
        """How every text of the stage is sampled."""
        return SamplingParams(self.max_new_tokens, self.temperature, STOP_STRINGS)


class LoraSettings(BaseModel):
    """Low-rank adapters (Hu et al. 2021); the saved model has them merged in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: int = Field(default=16, ge=1)
    alpha: float = Field(default=32, gt=0)
    #: Names of the layers that get adapters; None for every linear layer.
    target_modules: tuple[str, ...] | None = None


class FinetuneConfig(BaseModel):
    """Settings of a finetuning."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: float = Field(default=1.0, gt=0)
    learning_rate: float = Field(default=1e-5, gt=0)
    #: Sequences in a step of one device, and steps whose gradients are added up.
    batch_size: int = Field(default=32, ge=1)
    accumulate: int = Field(default=1, ge=1)
    #: Examples with more tokens are left out, and counted.
    max_length: int = Field(default=2048, ge=8)
    warmup_steps: int = Field(default=0, ge=0)
    weight_decay: float = Field(default=0.0, ge=0)
    lora: LoraSettings | None = None
    #: A checkpoint every so many steps, from which a killed run goes on.
    checkpoint_steps: int = Field(default=200, ge=1)
