"""The evaluation in a run: each policy's answers with their verdicts, and all that is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from constitutional.constitution import Constitution
from constitutional.dialogue import PromptRecord
from constitutional.engines import SamplingParams
from constitutional.engines.pool import Engines
from constitutional.evaluation.along import monitors_along
from constitutional.evaluation.answers import answer_prompts
from constitutional.evaluation.behaviour import (
    as_json,
    damage_counts,
    flag_counts,
    policy_metrics,
    revision_metrics,
)
from constitutional.evaluation.tournament import elo
from constitutional.evaluation.verdicts import Judge
from constitutional.recipe import Evaluation
from constitutional.runs import Records, fingerprint_of
from constitutional.runs.records import Answer, Chain
from constitutional.stages.context import Context

#: The policy that Elo ratings count from: the first of these that there is.
_ZERO = ("sl_cai", "sft")
PROMPTED = "prompted"


def evaluate(context: Context, policies: Mapping[str, str]) -> dict[str, Records[Answer]]:
    """Every policy's answers to the evaluation prompts; none without an evaluation."""
    evaluation = context.recipe.evaluation
    if evaluation is None:
        return {}
    answers = {name: _answers(context, evaluation, name, model) for name, model in policies.items()}
    if evaluation.prompted:
        system = in_system_prompt(context.constitution)
        helpful = context.helpful_model.path
        answers[PROMPTED] = _answers(context, evaluation, PROMPTED, helpful, system)
    return answers


def in_system_prompt(constitution: Constitution) -> str:
    """The constitution as a system prompt: every principle's text on a line of its own."""
    lines = "".join(f"\n- {principle.text}" for principle in constitution.principles)
    return f"Follow these principles in every answer:{lines}"


@dataclass(frozen=True)
class Answers:
    """A policy answers prompts, and the judge, where there is one, reads the answers.

    ``engine`` is the name of the policy's engine, ``policy`` what the records call it.
    """

    policy: str
    engine: str
    sampling: SamplingParams
    judge: Judge | None
    seed: int
    system: str | None = None

    def __call__(self, block: Sequence[PromptRecord], engines: Engines) -> list[Answer]:
        """One answer to each prompt."""
        return answer_prompts(
            self.policy,
            engines[self.engine],
            self.sampling,
            self.judge,
            self.seed,
            block,
            system=self.system,
        )


def _answers(
    context: Context, evaluation: Evaluation, name: str, model: str, system: str | None = None
) -> Records[Answer]:
    """A policy answers the evaluation prompts, and the judge reads them."""
    context.engines.release()  # one policy in memory at a time
    inputs = context.inputs
    more = {} if system is None else {"system": fingerprint_of([system])}
    return context.records(
        f"answers_{name.replace('@', '-step-')}",
        made_from=context.made_from(evaluation, model, **more),
        record_type=Answer,
        items=inputs.evaluation,
        work=Answers(name, model, evaluation.sampling, inputs.judge, context.recipe.seed, system),
        title=f"Evaluating {name}",
    )


def along_training(
    along: Mapping[str, Mapping[int, str]], answers: Mapping[str, Sequence[Answer]]
) -> dict[str, list[dict[str, Any]]]:
    """The monitors of over-training on each arm's snapshots, by step (0: where it began)."""
    if not answers:
        return {}
    zero = list(answers[zero_of(answers)])
    return {
        arm: monitors_along({step: list(answers[name]) for step, name in steps.items()}, zero)
        for arm, steps in along.items()
    }


def zero_of(answers: Mapping[str, Sequence[Answer]]) -> str:
    """The policy that Elo counts from."""
    return next(name for name in _ZERO if name in answers)


def summarise(
    context: Context,
    chains: Records[Chain] | None,
    answers: Mapping[str, Records[Answer]],
    more: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything measured, in the form of ``docs/metrics.md``."""
    inputs = context.inputs
    seconds = context.run.seconds()
    metrics: dict[str, Any] = {
        "policies": {name: policy_metrics(records) for name, records in answers.items()},
        "seconds": {**seconds, "total": sum(seconds.values())},
    }
    if inputs.constitution is not None:
        metrics["constitution"] = inputs.constitution.fingerprint
    if chains is not None:
        trained = context.recipe.finetune.flagged == "train"
        metrics["revisions"] = flag_counts(chains, trained=trained)
        if context.recipe.supervised.damage is not None:
            metrics["damage"] = damage_counts(chains)
        if inputs.judge is not None:
            metrics["revision_rounds"] = revision_metrics(chains, inputs.judge)
    if inputs.judge is not None and answers:
        tables = elo(answers, inputs.judge, zero=zero_of(answers), seed=context.recipe.seed)
        metrics["elo"] = {goal: table.ratings for goal, table in tables.items()}
    if usage := context.run.usage.as_json():
        metrics["usage"] = usage
    metrics |= more
    plain: dict[str, Any] = as_json(metrics)
    return plain
