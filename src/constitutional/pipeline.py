"""Constitutional AI in the order of Bai et al. 2022 (arXiv 2212.08073, figure 1).

A stage reads records and leaves records; what is done is not done again, and a stage that was cut
off goes on at the block where it stopped (:mod:`constitutional.runs`).
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

from constitutional.constitution.files import dump_constitution
from constitutional.execution.base import Execution
from constitutional.execution.here import Here
from constitutional.inputs import Inputs
from constitutional.recipe import Recipe
from constitutional.runs import Progress, RunFolder
from constitutional.runs.folder import CONSTITUTION, METRICS, NOTES
from constitutional.stages.ai_judge import judged_by_ai
from constitutional.stages.arms import arms_of, settings
from constitutional.stages.comparisons import compare, label_metrics, labeller_of
from constitutional.stages.context import Context
from constitutional.stages.evaluation import along_training, evaluate, summarise
from constitutional.stages.harm_score import harm_scores
from constitutional.stages.reinforcement import (
    policy_training,
    preference_metrics,
    snapshots,
    train_policy,
    train_preference_models,
)
from constitutional.stages.supervised import (
    critique_and_revise,
    finetune_on_demonstrations,
    finetune_on_revisions,
    reply_to_helpful_prompts,
)


def constitutional_ai(
    recipe: Recipe, inputs: Inputs, run: RunFolder, progress: Progress
) -> dict[str, Any]:
    """Run every stage of the recipe; returns what ``metrics.json`` holds."""
    if inputs.constitution is not None:
        run.write_text(CONSTITUTION, dump_constitution(inputs.constitution))
    run.write_json(NOTES, list(inputs.notes))
    with closing(execution_of(recipe)) as execution:
        return _stages(Context(recipe, inputs, run, progress, execution))


def execution_of(recipe: Recipe) -> Execution:
    """Where the recipe's work is done. Raises MissingExtraError."""
    if recipe.execution == "local":
        return Here()
    from constitutional.execution.ray_data import OnRay

    return OnRay(recipe.ray)


def _stages(context: Context) -> dict[str, Any]:
    """All stages, in the paper's order."""
    recipe, inputs = context.recipe, context.inputs
    policies = {"pretrained": inputs.pretrained_model.path}
    if inputs.helpful_model is not None:
        policies["helpful"] = inputs.helpful_model.path

    # the supervised stage (section 3), or the first step of RL from human feedback
    chains, sl_cai = None, None
    if recipe.prompts is not None:
        chains = critique_and_revise(context)
        replies = reply_to_helpful_prompts(context)
        sl_cai = finetune_on_revisions(context, chains, replies)
        policies["sl_cai"] = str(sl_cai)
    else:
        policies["sft"] = str(finetune_on_demonstrations(context))

    # the RL stage (section 4): RL-CAI, and the baselines that the recipe asks for
    arms: dict[str, dict[str, Any]] = {}
    along: dict[str, dict[int, str]] = {}
    for arm in arms_of(context):
        start = "sft" if sl_cai is None else arm.begins_from
        comparisons = compare(context, arm, Path(policies[start]))
        models = train_preference_models(context, arm, comparisons)
        arms[arm.name] = {
            "begins_from": start,
            "labeller": labeller_of(comparisons),
            "labels": label_metrics(context, arm, comparisons),
            "preference_model": preference_metrics(context, comparisons, models),
        }
        if not settings(context)[0].policy:
            continue
        policy = train_policy(context, arm, policies[start], comparisons, models)
        arms[arm.name] |= policy_training(context, policy)
        along[arm.name] = {0: start}
        for step, snapshot in snapshots(policy).items():
            along[arm.name][step] = f"{arm.name}@{step}"
            policies[f"{arm.name}@{step}"] = str(snapshot)
        policies[arm.name] = str(policy)
        along[arm.name][arms[arm.name]["training"]["steps"]] = arm.name

    # the evaluation (section 4.3)
    answers = evaluate(context, policies)
    for name, steps in along_training(along, answers).items():
        arms[name]["along"] = steps
    more = {
        "arms": arms or None,
        "harm_score": harm_scores(context, answers),
        "ai_judge": judged_by_ai(context, answers),
    }
    metrics = summarise(context, chains, answers, {k: v for k, v in more.items() if v is not None})
    context.run.write_json(METRICS, metrics)
    return metrics
