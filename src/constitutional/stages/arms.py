"""The policies that RL makes: what each begins from, and who labelled harmlessness for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from constitutional.inputs import RLInputs
from constitutional.recipe import ArmName, Reinforcement
from constitutional.stages.context import Context


@dataclass(frozen=True)
class Arm:
    """One policy. ``harmlessness`` None: it learns from helpfulness comparisons alone."""

    name: ArmName
    begins_from: Literal["sl_cai", "pretrained"]
    harmlessness: Literal["ai", "ai_cot", "human"] | None


#: RL-CAI begins from SL-CAI, the RLHF baselines from the pretrained model (section 4.3), or from
#: the demonstrations' policy where a recipe begins with those.
ARMS: dict[ArmName, Arm] = {
    "rl_cai": Arm("rl_cai", "sl_cai", "ai"),
    "rl_cai_cot": Arm("rl_cai_cot", "sl_cai", "ai_cot"),
    "helpful_rlhf": Arm("helpful_rlhf", "pretrained", None),
    "hh_rlhf": Arm("hh_rlhf", "pretrained", "human"),
}


def arms_of(context: Context) -> list[Arm]:
    """The arms of the recipe, in its order; none without an RL stage."""
    rl = context.recipe.rl
    return [] if rl is None else [ARMS[name] for name in rl.arms]


def settings(context: Context) -> tuple[Reinforcement, RLInputs]:
    """What the recipe says of the RL stage, and what was read for it."""
    if context.recipe.rl is None or context.inputs.rl is None:
        raise ValueError("the recipe has no RL stage")
    return context.recipe.rl, context.inputs.rl
