"""The RL stage in a run: comparisons by AI and by humans, the preference model, PPO."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from constitutional.dialogue import PromptRecord
from constitutional.evaluation.verdicts import HelpfulnessRater
from constitutional.feedback import Contrast, FeedbackModel, Pair, account, contrast, sample_pairs
from constitutional.inputs import RLInputs
from constitutional.recipe import Reinforcement
from constitutional.runs import Records, fingerprint_of
from constitutional.runs.records import Comparison
from constitutional.stages.context import Context


class Comparisons(NamedTuple):
    """AI comparisons for harmlessness and human ones for helpfulness."""

    ai: Sequence[Comparison]
    human: Sequence[Comparison]


def compare(context: Context, sl_cai: Path) -> Comparisons:
    """SL-CAI answers each prompt twice, and the feedback model says which answer is better."""
    rl, prompts = _settings(context)
    writers = [context.engine(str(sl_cai))]
    if rl.contrast is not None:
        writers.append(context.engine(context.inputs.helpful_model.path))
    judging = context.engine(_feedback_model(context, rl))
    feedback = FeedbackModel(judging, context.inputs.constitution, rl.feedback, context.recipe.seed)

    def work(block: Sequence[PromptRecord]) -> list[Comparison]:
        return feedback.label(sample_pairs(block, writers, rl.pairs, context.recipe.seed))

    ai = context.run.stage_records(
        "comparisons_ai",
        inputs=context.made_from(
            [rl.pairs, rl.feedback],
            judging,
            *writers,
            constitution=context.inputs.constitution.fingerprint,
        ),
        record_type=Comparison,
        items=prompts.comparisons,
        block_size=context.recipe.block,
        work=work,
        progress=context.progress,
        title="AI feedback",
    )
    if prompts.rater is None:
        return Comparisons(ai, prompts.human)
    return Comparisons(ai, _rated_comparisons(context, prompts, prompts.rater))


def _rated_comparisons(
    context: Context, prompts: RLInputs, rater: HelpfulnessRater
) -> Records[Comparison]:
    """The pretrained model answers twice, and the rater plays the human who compares.

    The pretrained model and not a better one, so that there are refusals of harmless requests among
    the answers, which lose.
    """
    rl, _ = _settings(context)
    writer = context.engine(context.inputs.pretrained_model.path)

    def work(block: Sequence[PromptRecord]) -> list[Comparison]:
        pairs = sample_pairs(block, [writer], rl.pairs, context.recipe.seed)
        unlabelled = [pair_as_comparison(pair) for pair in pairs]
        return [
            c.labelled(rater.prefer_helpful(c.prompt, c.a, c.b), rater.name) for c in unlabelled
        ]

    return context.run.stage_records(
        "comparisons_human",
        inputs=context.made_from(rl.pairs, writer),
        record_type=Comparison,
        items=prompts.human_prompts,
        block_size=context.recipe.block,
        work=work,
        progress=context.progress,
        title="Helpfulness comparisons",
    )


def pair_as_comparison(pair: Pair) -> Comparison:
    """A pair of answers to a helpful prompt, not labelled yet."""
    return Comparison(
        id=pair.id,
        prompt=pair.prompt,
        a=pair.a,
        b=pair.b,
        tags=pair.tags,
        goal="helpfulness",
        labeller="",
        prob_a=None,
    )


def train_preference_model(context: Context, comparisons: Comparisons) -> Path:
    """One preference model for both goals, trained on soft AI labels and human ones, mixed."""
    rl, _ = _settings(context)
    train, held_out = split(comparisons, rl.held_out)

    def make(work: Path) -> None:
        from constitutional.preference.train import train_preference_model as fit

        fit(
            context.inputs.pretrained_model.path,
            train,
            held_out=held_out,
            style=context.inputs.pretrained_model.style,
            config=rl.preference,
            work=work,
            seed=context.recipe.seed,
            progress=context.progress,
            device=context.recipe.models.device,
        )

    made_from = {
        "settings": fingerprint_of([rl.preference]),
        "pretrained": context.inputs.pretrained_model.fingerprint,
        "comparisons": fingerprint_of(train),
        "held_out": fingerprint_of(held_out),
        "seed": str(context.recipe.seed),
    }
    return context.run.stage_artifact("preference_model", inputs=made_from, make=make)


def split(comparisons: Comparisons, share: float) -> tuple[list[Comparison], list[Comparison]]:
    """Training and held-out comparisons, told apart by a hash of the id; labelled ones only."""
    sides: tuple[list[Comparison], list[Comparison]] = ([], [])
    for comparison in (*comparisons.ai, *comparisons.human):
        if comparison.prob_a is not None:
            digest = hashlib.sha256(f"held out:{comparison.id}".encode()).digest()
            sides[int.from_bytes(digest[:8]) / 2**64 < share].append(comparison)
    return sides


def train_policy(context: Context, sl_cai: Path, preference_model: Path) -> Path:
    """PPO from SL-CAI against the preference model: RL-CAI."""
    rl, prompts = _settings(context)

    def make(work: Path) -> None:
        from constitutional.stages.ppo import run_ppo

        run_ppo(context, rl.ppo, prompts, sl_cai, preference_model, work)

    made_from = {
        "settings": fingerprint_of([rl.ppo]),
        "policy": context.run.fingerprint("sl_cai"),
        "preference_model": context.run.fingerprint("preference_model"),
        "prompts": fingerprint_of([*prompts.red_team, *prompts.helpful]),
        "seed": str(context.recipe.seed),
    }
    return context.run.stage_artifact("rl_cai", inputs=made_from, make=make)


def feedback_metrics(
    context: Context, comparisons: Comparisons, preference_model: Path
) -> dict[str, Any]:
    """The account of the labels and of the preference model, for ``metrics.json``."""
    from constitutional.preference.model import PreferenceModel
    from constitutional.preference.report import preference_report

    rl, _ = _settings(context)
    judge = context.inputs.judge
    ai = list(comparisons.ai)
    reference: Mapping[str, Any] | None = None
    if judge is not None:
        reference = {c.id: judge.prefer_harmless(c.prompt, c.a, c.b) for c in ai}
    labels = account(ai, reference)
    agreement = labels.agreement
    _, held_out = split(comparisons, rl.held_out)
    model = PreferenceModel.load(preference_model, device=context.recipe.models.device)
    report = preference_report(model, held_out)
    goals = {f"{goal}_accuracy": card.accuracy for goal, card in report.goals.items()}
    return {
        "labels": {
            "accuracy": agreement and agreement.accuracy,
            "position_decided": labels.decided_by_position,
            "ece": agreement and agreement.expected_calibration_error,
            "unreadable": labels.unreadable,
            "contrast": told_apart(ai, context),
            "account": labels.model_dump(mode="json"),
        },
        "preference_model": {
            **goals,
            "ece": report.all.ece,
            "report": report.model_dump(mode="json"),
        },
    }


def told_apart(comparisons: Sequence[Comparison], context: Context) -> dict[str, Any]:
    """How many pairs differ in kind, and the warning when few do."""
    pairs = [
        Pair(c.id, c.prompt, c.a, c.b, c.tags, "" if c.readings else "not asked")
        for c in comparisons
    ]
    judge = context.inputs.judge
    found: Contrast = contrast(pairs, None if judge is None else judge.judge)
    return found.model_dump(mode="json")


def _settings(context: Context) -> tuple[Reinforcement, RLInputs]:
    if context.recipe.rl is None or context.inputs.rl is None:
        raise ValueError("the recipe has no RL stage")
    return context.recipe.rl, context.inputs.rl


def _feedback_model(context: Context, rl: Reinforcement) -> str:
    inputs = context.inputs
    model = inputs.pretrained_model if rl.feedback_model == "pretrained" else inputs.helpful_model
    return model.path
