"""The evaluation in a run: each policy's answers with their verdicts, and all that is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from constitutional.dialogue import PromptRecord
from constitutional.evaluation.answers import answer_prompts
from constitutional.evaluation.behaviour import (
    as_json,
    flag_counts,
    policy_metrics,
    revision_metrics,
)
from constitutional.evaluation.tournament import elo
from constitutional.runs import Records
from constitutional.runs.records import Answer, Chain
from constitutional.stages.context import Context


def evaluate_policy(context: Context, name: str, model: str) -> Records[Answer]:
    """A policy answers the evaluation prompts, and the judge reads them."""
    evaluation = context.recipe.evaluation
    if evaluation is None:
        raise ValueError("the recipe has no evaluation")
    engine, inputs = context.engine(model), context.inputs
    work: Callable[[Sequence[PromptRecord]], list[Answer]] = partial(
        answer_prompts, name, engine, evaluation.sampling, inputs.judge, context.recipe.seed
    )
    return context.run.stage_records(
        f"answers_{name}",
        inputs=context.made_from(evaluation, engine),
        record_type=Answer,
        items=inputs.evaluation,
        block_size=context.recipe.block,
        work=work,
        progress=context.progress,
        title=f"Evaluating {name}",
    )


def summarise(
    context: Context,
    chains: Records[Chain],
    answers: Mapping[str, Records[Answer]],
    feedback: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything measured, in the form of ``docs/metrics.md``."""
    inputs, all_chains = context.inputs, list(chains)
    seconds = context.run.seconds()
    metrics: dict[str, Any] = {
        "policies": {name: policy_metrics(list(records)) for name, records in answers.items()},
        "revisions": flag_counts(all_chains),
        "constitution": inputs.constitution.fingerprint,
        "seconds": {**seconds, "total": sum(seconds.values())},
    }
    if inputs.judge is not None:
        metrics["revision_rounds"] = revision_metrics(all_chains, inputs.judge)
    if inputs.judge is not None and answers:
        tables = elo(answers, inputs.judge, zero="sl_cai", seed=context.recipe.seed)
        metrics["elo"] = {goal: table.ratings for goal, table in tables.items()}
    metrics |= feedback
    plain: dict[str, Any] = as_json(metrics)
    return plain
