"""The RL stage in a run: preference models and PPO, for each arm."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from constitutional.inputs import RLInputs
from constitutional.jobs import PolicyTraining, PreferencePretraining, PreferenceTraining
from constitutional.preference.settings import PreferenceConfig, PretrainingConfig
from constitutional.rl.settings import DPOConfig, GRPOConfig, PPOConfig, RLOOConfig
from constitutional.runs import fingerprint_of
from constitutional.runs.records import Comparison
from constitutional.stages.arms import Arm, settings
from constitutional.stages.comparisons import Comparisons
from constitutional.stages.context import Context
from constitutional.stages.shares import shares_of
from constitutional.stages.training import train as run_training


class PreferenceModels(NamedTuple):
    """The preference model that PPO trains against, and the one that watches, if there is one."""

    trained_against: Path
    held_out: Path | None


def train_preference_models(
    context: Context, arm: Arm, comparisons: Comparisons
) -> PreferenceModels:
    """One preference model for both goals, on soft AI labels and human ones, mixed."""
    rl, _ = settings(context)
    begin = _pretrained(context)
    shares = shares_of(context, comparisons)
    name = f"preference_model_{arm.name}"
    first = train_preference_model(
        context, name, begin, rl.preference, shares.train, shares.held_out
    )
    if not rl.held_out_model:
        return PreferenceModels(first, None)
    watching = f"{name}_held_out"
    second = train_preference_model(
        context, watching, begin, rl.preference, shares.watch, shares.held_out
    )
    return PreferenceModels(first, second)


class Begin(NamedTuple):
    """What preference models begin from, and its fingerprint."""

    model: str
    fingerprint: str


def _pretrained(context: Context) -> Begin:
    """The pretrained model, or what ranked answers make of it (preference model pretraining)."""
    rl, data = settings(context)
    model, pmp = context.inputs.pretrained_model, rl.pmp
    if pmp is None:
        return Begin(model.path, model.fingerprint)
    config = PretrainingConfig(**pmp.model_dump(exclude={"file"}))

    def make(work: Path) -> None:
        job = PreferencePretraining(
            model=model.path,
            comparisons=data.ranked,
            style=model.style,
            config=config,
            work=work,
            seed=context.recipe.seed,
            device=context.recipe.models.device,
        )
        run_training(context, job)

    made_from = {
        "settings": fingerprint_of([config]),
        "pretrained": model.fingerprint,
        "ranked": fingerprint_of(data.ranked),
        "seed": str(context.recipe.seed),
    }
    name = "preference_pretraining"
    result = context.run.stage_artifact(name, inputs=made_from, make=make)
    return Begin(str(result), context.run.fingerprint(name))


def train_preference_model(
    context: Context,
    name: str,
    begin: Begin,
    config: PreferenceConfig,
    train: Sequence[Comparison],
    held_out: Sequence[Comparison],
) -> Path:
    """The folder of a preference model, trained as a stage of the run."""

    def make(work: Path) -> None:
        job = PreferenceTraining(
            model=begin.model,
            comparisons=train,
            held_out=held_out,
            style=context.inputs.pretrained_model.style,
            config=config,
            work=work,
            seed=context.recipe.seed,
            device=context.recipe.models.device,
        )
        run_training(context, job)

    made_from = {
        "settings": fingerprint_of([config]),
        "begin": begin.fingerprint,
        "comparisons": fingerprint_of(train),
        "held_out": fingerprint_of(held_out),
        "seed": str(context.recipe.seed),
    }
    return context.run.stage_artifact(name, inputs=made_from, make=make)


def train_policy(
    context: Context, arm: Arm, start: str, comparisons: Comparisons, models: PreferenceModels
) -> Path:
    """The policy in ``start`` trained against the preference model, by the recipe's algorithm.

    It is also the reference of the KL penalty.
    """
    rl, data = settings(context)
    share = shares_of(context, comparisons).train

    def make(work: Path) -> None:
        if isinstance(rl.training, PPOConfig):
            job = _with_ppo(context, rl.training, data, start, models, work)
            run_training(context, job)
        else:
            _with_trl(context, rl.training, data, share, start, models, work)

    watched = f"preference_model_{arm.name}_held_out"
    made_from = {
        "algorithm": rl.algorithm,
        "settings": fingerprint_of([rl.training]),
        "policy": _start_fingerprint(context, start),
        "preference_model": context.run.fingerprint(f"preference_model_{arm.name}"),
        "held_out": "" if models.held_out is None else context.run.fingerprint(watched),
        "comparisons": fingerprint_of(share),
        "prompts": fingerprint_of(chain(data.red_team, data.helpful)),
        "seed": str(context.recipe.seed),
    }
    return context.run.stage_artifact(arm.name, inputs=made_from, make=make)


def _with_ppo(
    context: Context,
    config: PPOConfig,
    data: RLInputs,
    start: str,
    models: PreferenceModels,
    work: Path,
) -> PolicyTraining:
    recipe, pretrained = context.recipe, context.inputs.pretrained_model
    return PolicyTraining(
        model=start,
        style=pretrained.style,
        seed=recipe.seed,
        device=recipe.models.device,
        work=work,
        pretrained=pretrained.path,
        preference_model=models.trained_against,
        held_out_model=models.held_out,
        red_team=data.red_team,
        helpful=data.helpful,
        batch_size=recipe.models.batch_size,
        config=config,
    )


def _with_trl(
    context: Context,
    config: RLOOConfig | GRPOConfig | DPOConfig,
    data: RLInputs,
    comparisons: Sequence[Comparison],
    start: str,
    models: PreferenceModels,
    work: Path,
) -> None:
    from constitutional.rl.rollout import Prompts
    from constitutional.stages.policy import train_with_trl

    context.engines.release()
    context.train(
        train_with_trl,
        config,
        Prompts(data.red_team, data.helpful),
        comparisons,
        start,
        models,
        style=context.inputs.pretrained_model.style,
        seed=context.recipe.seed,
        device=context.recipe.models.device,
        batch_size=context.recipe.models.batch_size,
        work=work,
    )


def _start_fingerprint(context: Context, start: str) -> str:
    for model in (context.inputs.pretrained_model, context.inputs.helpful_model):
        if model is not None and start == model.path:
            return model.fingerprint
    return context.run.fingerprint(Path(start).parent.name)


def snapshots(policy: Path) -> dict[int, Path]:
    """The snapshots along a training, by step; the last step's is the policy itself."""
    last = training_report(policy)["steps"]
    found = (policy / "snapshots").glob("step-*")
    by_step = sorted((int(path.name.removeprefix("step-")), path) for path in found)
    return {step: path for step, path in by_step if step < last}


def training_report(policy: Path) -> dict[str, Any]:
    """What the training wrote of itself beside the policy."""
    report: dict[str, Any] = json.loads((policy / "training.json").read_text())
    return report


def policy_training(context: Context, policy: Path) -> dict[str, Any]:
    """The account of a policy's training, for ``metrics.json``."""
    rl, _ = settings(context)
    return {"algorithm": rl.algorithm, "training": training_report(policy)}


def preference_metrics(
    context: Context, comparisons: Comparisons, models: PreferenceModels
) -> dict[str, Any]:
    """The account of an arm's preference model, for ``metrics.json``."""
    from constitutional.preference.model import PreferenceModel
    from constitutional.preference.report import preference_report

    shares = shares_of(context, comparisons)
    model = PreferenceModel.load(models.trained_against, device=context.recipe.models.device)
    report = preference_report(model, shares.held_out)
    judged = preference_report(model, by_the_judge(context, shares.held_out))
    return {
        **{f"{goal}_accuracy": card.accuracy for goal, card in judged.goals.items()},
        "ece": report.all.ece,
        "report": report.model_dump(mode="json"),
    }


def by_the_judge(context: Context, comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons with the judge's preferences in place of AI labels; ties left out.

    A soft label may be of a principle that is silent, and then has no right side. Without a judge
    the labels stand.
    """
    judge = context.inputs.judge
    if judge is None:
        return list(comparisons)
    prefer = {"harmlessness": judge.prefer_harmless, "helpfulness": judge.prefer_helpful}
    judged = [c.labelled(prefer[c.goal](c.prompt, c.a, c.b), "judge") for c in comparisons]
    return [comparison for comparison in judged if comparison.prob_a is not None]
