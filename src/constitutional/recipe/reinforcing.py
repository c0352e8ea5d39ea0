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

#: The policies that RL can make (section 4.3): RL-CAI, the same with chain-of-thought labels, the
#: baselines with human labels for helpfulness alone or for both, and RL on RL-CAI's own pairs with
#: human labels in place of the AI's.
ArmName = Literal["rl_cai", "rl_cai_cot", "helpful_rlhf", "hh_rlhf", "rl_human"]

#: What the arms that compare their own answers can begin from.
Start = Literal["sl_cai", "helpful", "pretrained"]
#: These arms: their pairs are answers of the policy that they begin from.
OWN_PAIRS: tuple[ArmName, ...] = ("rl_cai", "rl_cai_cot", "rl_human")

#: In ``contrast``: the copies that the finetuning keeps every ``snapshot_steps`` steps.
SNAPSHOTS = "snapshots"


class Reinforcement(Section):
    """The RL stage: comparisons, preference model, PPO. The defaults are the paper's."""

    #: Which policies to make; each has a preference model of its own.
    arms: tuple[ArmName, ...] = Field(default=("rl_cai",), min_length=1)
    #: What RL-CAI begins from. Pairs are sampled from RL's initial policy, as in the paper, and the
    #: KL penalty is towards it: with another one than SL-CAI nothing of the supervised stage enters
    #: the arm, though SL-CAI is made and evaluated beside it.
    begins_from: Start = "sl_cai"
    #: Red-team prompts on which two answers are compared by the feedback model.
    comparisons: Prompts | None = None
    #: Who answers them besides SL-CAI, or what else the arm begins from: ``helpful``,
    #: ``pretrained``, ``snapshots`` (of SL-CAI on its way), engines, model folders. The paper has
    #: SL-CAI answer twice.
    contrast: tuple[str, ...] = ()
    pairs: PairsConfig = PairsConfig()
    #: Who labels: ``pretrained`` or ``helpful`` (with a chain of thought always the latter, as in
    #: the paper), or an engine, which then labels with and without one.
    feedback_model: str = "pretrained"
    feedback: FeedbackConfig = FeedbackConfig()
    #: The labels of ``rl_cai_cot``; None for ``feedback`` with a chain of thought before it.
    cot_feedback: FeedbackConfig | None = None
    #: Human comparisons for helpfulness, in every preference model; ``null``, which has to be
    #: written, leaves them out.
    helpfulness: HumanComparisons | None
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
    #: False ends with the preference models: no policy is trained against them.
    policy: bool = True
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
        own_pairs = [arm for arm in self.arms if arm in OWN_PAIRS]
        if own_pairs and self.comparisons is None:
            arm = "RL-CAI" if self.uses_feedback else own_pairs[0]
            raise refusal(f"{arm} needs 'comparisons': red-team prompts to compare answers on")
        if not own_pairs and self.begins_from != "sl_cai":
            raise refusal(
                f"'begins_from' is for {', '.join(OWN_PAIRS)}, and none of them is in arms: leave "
                "it out",
                "begins_from",
            )
        if self.begins_from != "sl_cai" and SNAPSHOTS in self.contrast:
            raise refusal(
                f"'contrast: {SNAPSHOTS}' are SL-CAI's, which an arm that begins from "
                f"{self.begins_from} does without: leave one of the two out",
                "contrast",
            )
        if self.helpfulness is None and "helpful_rlhf" in self.arms:
            raise refusal(
                "helpful_rlhf learns from helpfulness comparisons alone, and 'helpfulness' is "
                "null: leave the arm out, or give it comparisons",
                "arms",
            )
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
    def compares_own_answers(self) -> bool:
        """Whether any arm learns from answers of the policy that it begins from."""
        return any(arm in OWN_PAIRS for arm in self.arms)

    @property
    def labels_with_cot(self) -> FeedbackConfig:
        """The settings of the labels with a chain of thought."""
        if self.cot_feedback is not None:
            return self.cot_feedback
        return FeedbackConfig.model_validate({**self.feedback.model_dump(), "cot": True})
