"""The recipe: everything that decides what a run computes, in one file.

Paths are relative to the recipe's folder; ``microworld:NAME`` names a file or folder of the
embedded microworld. Unknown keys are refused with the nearest known one.
"""

from constitutional.recipe.data_sets import (
    Demonstrations,
    HarmRatings,
    HumanComparisons,
    Prompts,
    PromptSets,
    RankedAnswers,
)
from constitutional.recipe.evaluating import AIJudge, Evaluation
from constitutional.recipe.executing import RayCluster
from constitutional.recipe.extras import check_extras
from constitutional.recipe.launching import Training
from constitutional.recipe.reading import (
    MICROWORLD,
    load_recipe,
    named_constitution,
    read_constitution,
    resource,
)
from constitutional.recipe.reinforcing import SNAPSHOTS, ArmName, Reinforcement, Start
from constitutional.recipe.whole import Models, Recipe

__all__ = [
    "MICROWORLD",
    "SNAPSHOTS",
    "AIJudge",
    "ArmName",
    "Demonstrations",
    "Evaluation",
    "HarmRatings",
    "HumanComparisons",
    "Models",
    "PromptSets",
    "Prompts",
    "RankedAnswers",
    "RayCluster",
    "Recipe",
    "Reinforcement",
    "Start",
    "Training",
    "check_extras",
    "load_recipe",
    "named_constitution",
    "read_constitution",
    "resource",
]
