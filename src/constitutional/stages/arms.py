"""The policies that RL makes: what each begins from, and who labelled harmlessness for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from constitutional.inputs import RLInputs
from constitutional.recipe import ArmName, Reinforcement, Start
from constitutional.stages.context import Context


@dataclass(frozen=True)
class Arm:
    """One policy. ``harmlessness`` None: it learns from helpfulness comparisons alone.

    ``human`` labels are of comparisons of their own; ``human_on_own_pairs`` are of the pairs that
    AI labels for RL-CAI, so that the two arms differ in who labels and in nothing else.
    """

    name: ArmName
    begins_from: Start
    harmlessness: Literal["ai", "ai_cot", "human", "human_on_own_pairs"] | None

    @property
    def own_pairs(self) -> bool:
        """Whether its pairs are answers of the policy that it begins from."""
        return self.harmlessness in ("ai", "ai_cot", "human_on_own_pairs")


#: RL-CAI begins from SL-CAI, the RLHF baselines from the pretrained model (section 4.3), or from
#: the demonstrations' policy where a recipe begins with those.
ARMS: dict[ArmName, Arm] = {
    "rl_cai": Arm("rl_cai", "sl_cai", "ai"),
    "rl_cai_cot": Arm("rl_cai_cot", "sl_cai", "ai_cot"),
    "helpful_rlhf": Arm("helpful_rlhf", "pretrained", None),
    "hh_rlhf": Arm("hh_rlhf", "pretrained", "human"),
    "rl_human": Arm("rl_human", "sl_cai", "human_on_own_pairs"),
}


def arms_of(context: Context) -> list[Arm]:
    """The arms of the recipe, in its order; none without an RL stage."""
    rl = context.recipe.rl
    return [] if rl is None else [arm_of(rl, name) for name in rl.arms]


def arm_of(rl: Reinforcement, name: ArmName) -> Arm:
    """The arm as the recipe has it: those with pairs of their own begin from what it says."""
    arm = ARMS[name]
    return replace(arm, begins_from=rl.begins_from) if arm.own_pairs else arm


def settings(context: Context) -> tuple[Reinforcement, RLInputs]:
    """What the recipe says of the RL stage, and what was read for it."""
    if context.recipe.rl is None or context.inputs.rl is None:
        raise ValueError("the recipe has no RL stage")
    return context.recipe.rl, context.inputs.rl
