"""The RL stage of a recipe: its arms, its comparisons, its preference model and algorithm."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from constitutional.feedback.settings import FeedbackConfig, PairsConfig
from constitutional.preference.settings import PreferenceConfig
from constitutional.recipe.data_sets import HumanComparisons, Prompts, RankedAnswers
from constitutional.recipe.section import Section, one_or_several
from constitutional.refusal import refusal
from constitutional.rl.settings import DPOConfig, GRPOConfig, PPOConfig, RLOOConfig

#: The policies that RL can make (section 4.3): RL-CAI, the same with chain-of-thought labels, and
#: the baselines with human labels for helpfulness alone or for both.
ArmName = Literal["rl_cai", "rl_cai_cot", "helpful_rlhf", "hh_rlhf"]

#: In ``contrast``: the copies that the finetuning keeps every ``snapshot_steps`` steps.
SNAPSHOTS = "snapshots"


class Reinforcement(Section):
    """The RL stage: comparisons, preference model, PPO. The defaults are the paper's."""

    #: Which policies to make; each has a preference model of its own.
    arms: tuple[ArmName, ...] = Field(default=("rl_cai",), min_length=1)
    #: Red-team prompts on which two answers are compared by the feedback model.
    comparisons: Prompts | None = None
    #: Who answers them besides SL-CAI: ``helpful``, ``pretrained``, ``snapshots`` (of SL-CAI on its
    #: way), engines, model folders. The paper has SL-CAI answer twice.
    contrast: tuple[str, ...] = ()
    pairs: PairsConfig = PairsConfig()
    #: Who labels: ``pretrained`` or ``helpful`` (with a chain of thought always the latter, as in
    #: the paper), or an engine, which then labels with and without one.
    feedback_model: str = "pretrained"
    feedback: FeedbackConfig = FeedbackConfig()
    #: The labels of ``rl_cai_cot``; None for ``feedback`` with a chain of thought before it.
    cot_feedback: FeedbackConfig | None = None
    helpfulness: HumanComparisons
    #: Human comparisons for harmlessness, which HH RLHF alone is trained on.
    harmlessness: HumanComparisons | None = None
    #: The share of all comparisons that the preference model is judged on and not trained on.
    held_out: float = Field(default=0.1, gt=0, lt=1)
    #: Train a second preference model on half of the comparisons, which PPO is not optimised
    #: against and whose fall stops it; the first then sees the other half alone.
    held_out_model: bool = False
    #: A first training of every preference model on ranked answers; None for none.
    pmp: RankedAnswers | None = None
    preference: PreferenceConfig = PreferenceConfig()
    red_team: Prompts
    helpful: Prompts
    #: The paper's PPO, or another algorithm (of TRL) against the same preference model.
    algorithm: Literal["ppo", "rloo", "grpo", "dpo"] = "ppo"
    ppo: PPOConfig = PPOConfig()
    rloo: RLOOConfig = RLOOConfig()
    grpo: GRPOConfig = GRPOConfig()
    dpo: DPOConfig = DPOConfig()

    @field_validator("contrast", "arms", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return one_or_several(value)

    @field_validator("cot_feedback", mode="before")
    @classmethod
    def _with_cot(cls, value: Any) -> Any:
        return {"cot": True, **value} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _complete(self) -> Reinforcement:
        if len(set(self.arms)) < len(self.arms):
            raise refusal(f"'arms' names one twice: {', '.join(self.arms)}", "arms")
        if self.uses_feedback and self.comparisons is None:
            raise refusal("RL-CAI needs 'comparisons': red-team prompts to compare answers on")
        if "hh_rlhf" in self.arms and self.harmlessness is None:
            raise refusal("hh_rlhf needs 'harmlessness': human comparisons", "arms")
        if "rl_cai_cot" in self.arms:
            if self.feedback.cot:
                raise refusal(
                    "'cot' makes rl_cai one with chain-of-thought labels: leave it out, or leave "
                    "rl_cai_cot out",
                    "feedback",
                )
            _ = self.labels_with_cot  # contradictions show here
        elif self.cot_feedback is not None:
            raise refusal(
                "'cot_feedback' is for the arm rl_cai_cot, which is not in arms: add it there, or "
                "leave cot_feedback out",
                "cot_feedback",
            )
        if self.pmp and self.pmp.lora and self.preference.lora not in (None, self.pmp.lora):
            raise refusal(
                "preference goes on with the adapters of pmp: give both the same 'lora'",
                "preference",
            )
        if self.cot_feedback is not None and not self.cot_feedback.cot:
            raise refusal("'cot_feedback' needs cot: leave cot out, it is on", "cot_feedback")
        return self

    @property
    def training(self) -> PPOConfig | RLOOConfig | GRPOConfig | DPOConfig:
        """The settings of the algorithm."""
        match self.algorithm:
            case "ppo":
                return self.ppo
            case "rloo":
                return self.rloo
            case "grpo":
                return self.grpo
            case "dpo":
                return self.dpo

    @property
    def uses_feedback(self) -> bool:
        """Whether any arm learns from AI labels."""
        return "rl_cai" in self.arms or "rl_cai_cot" in self.arms

    @property
    def labels_with_cot(self) -> FeedbackConfig:
        """The settings of the labels with a chain of thought."""
        if self.cot_feedback is not None:
            return self.cot_feedback
        return FeedbackConfig.model_validate({**self.feedback.model_dump(), "cot": True})
