"""Constitutional AI in the order of Bai et al. 2022 (arXiv 2212.08073, figure 1).

A stage reads records and leaves records; what is done is not done again, and a stage that was cut
off goes on at the block where it stopped (:mod:`constitutional.runs`).
"""

from __future__ import annotations

from typing import Any

from constitutional.inputs import Inputs
from constitutional.recipe import Recipe
from constitutional.runs import Progress, RunFolder
from constitutional.stages.context import Context
from constitutional.stages.evaluation import evaluate_policy, summarise
from constitutional.stages.reinforcement import (
    compare,
    feedback_metrics,
    train_policy,
    train_preference_model,
)
from constitutional.stages.supervised import (
    critique_and_revise,
    finetune_on_revisions,
    reply_to_helpful_prompts,
)

METRICS = "metrics.json"


def constitutional_ai(
    recipe: Recipe, inputs: Inputs, run: RunFolder, progress: Progress
) -> dict[str, Any]:
    """Run every stage of the recipe; returns what ``metrics.json`` holds."""
    context = Context(recipe, inputs, run, progress)

    # the supervised stage (section 3)
    chains = critique_and_revise(context)
    replies = reply_to_helpful_prompts(context)
    sl_cai = finetune_on_revisions(context, chains, replies)
    policies = {
        "pretrained": inputs.pretrained_model.path,
        "helpful": inputs.helpful_model.path,
        "sl_cai": str(sl_cai),
    }

    # the RL stage (section 4)
    extra: dict[str, Any] = {}
    if recipe.rl is not None:
        comparisons = compare(context, sl_cai)
        preference_model = train_preference_model(context, comparisons)
        policies["rl_cai"] = str(train_policy(context, sl_cai, preference_model))
        extra = feedback_metrics(context, comparisons, preference_model)

    answers = {}
    if recipe.evaluation is not None:
        answers = {name: evaluate_policy(context, name, model) for name, model in policies.items()}
    metrics = summarise(context, chains, answers, extra)
    run.write_json(METRICS, metrics)
    return metrics
