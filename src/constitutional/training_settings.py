"""Settings that every training shares, apart from it so that a recipe is read without torch."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from constitutional.engines.base import Quantize

#: How the learning rate goes on after the warm-up.
Schedule = Literal["constant", "linear", "cosine"]


class LoraSettings(BaseModel):
    """Low-rank adapters (Hu et al. 2021); the saved model has them merged in."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    rank: int = Field(default=16, ge=1)
    alpha: float = Field(default=32, gt=0)
    #: Names of the layers that get adapters; None for every linear layer.
    target_modules: tuple[str, ...] | None = None
    #: Keep the frozen base in 4 bits while the adapters are trained (QLoRA).
    quantize: Quantize | None = None

    @model_serializer(mode="wrap")
    def _as_before(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without ``quantize`` where there is none: a fingerprint of older settings stays."""
        found: dict[str, Any] = plain(self)
        if self.quantize is None:
            found.pop("quantize", None)
        return found


class Recomputing(BaseModel):
    """A training that can spare memory."""

    #: Compute activations again in the backward pass: less memory, about a third more time.
    gradient_checkpointing: bool = False

    @model_serializer(mode="wrap")
    def _as_ever(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Left out where it is off: a run from before it was there goes on."""
        plain: dict[str, Any] = dump(self)
        if not self.gradient_checkpointing:
            plain.pop("gradient_checkpointing", None)
        return plain


class TrainingSettings(Recomputing):
    """Settings of a training."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epochs: float = Field(default=1.0, gt=0)
    learning_rate: float = Field(default=1e-5, gt=0)
    #: Examples in a step of all processes together, and steps whose gradients are added up.
    batch_size: int = Field(default=32, ge=1)
    accumulate: int = Field(default=1, ge=1)
    #: Examples with more tokens are left out, and counted.
    max_length: int = Field(default=2048, ge=8)
    warmup_steps: int = Field(default=0, ge=0)
    #: The learning rate after the warm-up: constant as in the paper, or down to zero at the end.
    schedule: Schedule = "constant"
    weight_decay: float = Field(default=0.0, ge=0)
    lora: LoraSettings | None = None
    #: A checkpoint every so many steps, from which a killed run goes on.
    checkpoint_steps: int = Field(default=200, ge=1)
    #: Trackers that transformers reports to, such as tensorboard or wandb.
    trackers: tuple[str, ...] = ()


def not_divided(name: str, size: int, processes: int) -> str:
    """The sentence for a size that cannot be shared out to processes that train together."""
    return (
        f"'{name}' is what a step of all processes sees, and {size} cannot be shared out to "
        f"{processes} of them: make it a multiple of {processes}"
    )
