"""Settings of the RL stage, apart from it so that a recipe is read without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from constitutional.refusal import refusal
from constitutional.training_settings import LoraSettings, Recomputing, TrainingSettings


class OnlineConfig(BaseModel):
    """What every training on the policy's own fresh answers has in common.

    Sampling is always from the whole distribution at temperature 1: anything else makes the
    estimate of the KL divergence, and with it the penalty, wrong.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    #: Updates of the policy, each on a batch of fresh answers.
    steps: int = Field(default=100, ge=1)
    #: Answers in a batch, and in a minibatch of the update.
    batch_size: int = Field(default=128, ge=1)
    minibatch_size: int = Field(default=32, ge=1)
    #: Passes over each batch (K of the paper; more is more stable).
    epochs: int = Field(default=4, ge=1)
    learning_rate: float = Field(default=1e-6, gt=0)
    clip: float = Field(default=0.2, gt=0)
    #: Weight of the KL penalty; the paper's 0.001 "might be wholly unnecessary" at its size.
    kl_coefficient: float = Field(default=0.02, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    max_new_tokens: int = Field(default=128, ge=1)
    #: Share of red-team prompts in each batch; the rest are helpful ones.
    red_team_share: float = Field(default=0.5, ge=0, le=1)
    #: Stop when the mean KL of an answer from the reference (in nats) is above this.
    kl_limit: float | None = Field(default=None, gt=0)
    #: Steps over which the held-out PM is averaged for its stop rule; see ``docs/metrics.md``.
    held_out_window: int = Field(default=10, ge=2)
    checkpoint_steps: int = Field(default=10, ge=1)
    #: A copy of the policy for evaluation every so many steps; None for none but the last.
    snapshot_steps: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _divides(self) -> OnlineConfig:
        if self.batch_size % self.minibatch_size:
            raise refusal(
                f"batch_size {self.batch_size} must be a multiple of minibatch_size "
                f"{self.minibatch_size}",
                "minibatch_size",
            )
        return self


class PPOConfig(OnlineConfig, Recomputing):
    """Settings of PPO. Clip, discount and no entropy bonus are the paper's (2204.05862 B.1)."""

    critic_learning_rate: float = Field(default=1e-5, gt=0)
    value_clip: float = Field(default=0.2, gt=0)
    gamma: float = Field(default=1.0, gt=0, le=1)
    lam: float = Field(default=0.95, ge=0, le=1)
    #: Train adapters on policy and critic, which then share weights with reference and PM.
    lora: LoraSettings | None = None


class GroupConfig(OnlineConfig):
    """What RLOO and GRPO share: several answers to each prompt, which are each other's baseline."""

    #: One pass: neither has a critic that a second one would teach.
    epochs: int = Field(default=1, ge=1)
    #: Answers to each prompt.
    group_size: int = Field(default=4, ge=2)

    @model_validator(mode="after")
    def _whole_groups(self) -> GroupConfig:
        if self.batch_size % self.group_size:
            raise refusal(
                f"batch_size {self.batch_size} must be a multiple of group_size "
                f"{self.group_size}: a prompt's answers are weighed against each other",
                "group_size",
            )
        return self


class RLOOConfig(GroupConfig):
    """Settings of RLOO. ``clip`` bounds the probability ratio of a whole answer, not of a token."""

    #: Shift and scale the advantages of a batch to mean 0 and deviation 1.
    normalize_advantages: bool = False


class GRPOConfig(GroupConfig):
    """Settings of GRPO, by default as published (Shao et al. 2024, arXiv 2402.03300).

    Rewards are divided by their deviation in the group, so ``kl_coefficient`` is in units of it.
    """

    #: Whose deviation the rewards are divided by; ``none`` keeps them in the PM's units.
    scale_rewards: Literal["group", "batch", "none"] = "group"
    #: How tokens are averaged: TRL's names (``grpo``: within each answer first).
    loss_type: Literal["grpo", "bnpo", "dr_grpo", "dapo"] = "grpo"


class DPOConfig(TrainingSettings):
    """Settings of DPO on soft labels. ``batch_size`` counts comparisons.

    A comparison is left out, and counted, when one of its two texts is longer than ``max_length``.
    """

    learning_rate: float = Field(default=1e-6, gt=0)
    #: Weight of the divergence from the reference, as ``kl_coefficient`` is elsewhere.
    beta: float = Field(default=0.1, gt=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    #: Answers that the policy is measured on, before and after; nothing is trained on them.
    measured_answers: int = Field(default=128, ge=1)
    max_new_tokens: int = Field(default=128, ge=1)
    #: Share of red-team prompts among those answers; the rest are to helpful ones.
    red_team_share: float = Field(default=0.5, ge=0, le=1)
