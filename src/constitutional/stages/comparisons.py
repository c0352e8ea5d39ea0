"""Comparisons in a run: AI feedback for harmlessness, human labels for what an arm has them for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from constitutional.constitution import Constitution
from constitutional.dialogue import PromptRecord
from constitutional.engines.pool import Engines
from constitutional.evaluation.verdicts import Preference, Rater
from constitutional.feedback import Contrast, FeedbackModel, Ledger, Pair, contrast, sample_pairs
from constitutional.feedback.settings import FeedbackConfig, PairsConfig
from constitutional.feedback.verdicts import by_principle
from constitutional.inputs import HumanData
from constitutional.preference.settings import Goal
from constitutional.recipe import SNAPSHOTS, Recipe
from constitutional.runs import Records
from constitutional.runs.records import Comparison
from constitutional.stages.arms import Arm, settings
from constitutional.stages.context import Context


class Comparisons(NamedTuple):
    """What an arm's preference model learns from."""

    harmlessness: Sequence[Comparison]
    helpfulness: Sequence[Comparison]


def compare(context: Context, arm: Arm, start: Path) -> Comparisons:
    """The comparisons of an arm; arms that need the same ones share them.

    ``start`` is what the arm begins from, and who answers where it has pairs of its own.
    """
    _, data = settings(context)
    helpfulness = _human(context, data.helpfulness, "helpfulness")
    match arm.harmlessness:
        case "ai" | "ai_cot" as labels:
            return Comparisons(_ai(context, start, cot=labels == "ai_cot"), helpfulness)
        case "human":
            return Comparisons(_human(context, data.harmlessness, "harmlessness"), helpfulness)
        case "human_on_own_pairs":
            return Comparisons(_human_on_own_pairs(context, start), helpfulness)
        case _:
            return Comparisons((), helpfulness)


@dataclass(frozen=True)
class AILabels:
    """Two answers to each prompt by the ``writers``, and which is better by the feedback model.

    Writers and feedback model are names of engines.
    """

    writers: tuple[str, ...]
    pairs: PairsConfig
    feedback_model: str
    constitution: Constitution
    feedback: FeedbackConfig
    seed: int

    def __call__(self, block: Sequence[PromptRecord], engines: Engines) -> list[Comparison]:
        """One comparison for each prompt."""
        judging = engines[self.feedback_model]
        feedback = FeedbackModel(judging, self.constitution, self.feedback, self.seed)
        writers = [engines[name] for name in self.writers]
        return feedback.label(sample_pairs(block, writers, self.pairs, self.seed))


@dataclass(frozen=True)
class HumanLabels:
    """Two answers to each prompt by ``writers`` (names of engines), and which a rater prefers."""

    writers: tuple[str, ...]
    pairs: PairsConfig
    rater: Rater
    goal: Goal
    seed: int

    def __call__(self, block: Sequence[PromptRecord], engines: Engines) -> list[Comparison]:
        """One comparison for each prompt."""
        rater = self.rater
        prefer = rater.prefer_helpful if self.goal == "helpfulness" else rater.prefer_harmless
        writers = [engines[name] for name in self.writers]
        pairs = sample_pairs(block, writers, self.pairs, self.seed)
        unlabelled = [pair_as_comparison(pair, self.goal) for pair in pairs]
        return [c.labelled(prefer(c.prompt, c.a, c.b), rater.name) for c in unlabelled]


@dataclass(frozen=True)
class HumanLabelsOfAIPairs:
    """The pairs of :class:`AILabels`, and which answer of each a rater finds less harmful.

    Ids are the same too, so that the same pairs are held out; a pair of broken shape, which AI is
    not asked about, has no label here either.
    """

    writers: tuple[str, ...]
    pairs: PairsConfig
    rater: Rater
    seed: int

    def __call__(self, block: Sequence[PromptRecord], engines: Engines) -> list[Comparison]:
        """One comparison for each prompt."""
        writers = [engines[name] for name in self.writers]
        return [
            self._labelled(pair) for pair in sample_pairs(block, writers, self.pairs, self.seed)
        ]

    def _labelled(self, pair: Pair) -> Comparison:
        unlabelled = pair_as_comparison(pair, "harmlessness").model_copy(update={"id": pair.id})
        better: Preference = "tie"
        if pair.usable:
            better = self.rater.prefer_harmless(pair.prompt, pair.a, pair.b)
        return unlabelled.labelled(better, self.rater.name)


def _ai(context: Context, start: Path, *, cot: bool) -> Records[Comparison]:
    """RL's initial policy answers each prompt twice, and the feedback model compares."""
    rl, data = settings(context)
    asked = rl.labels_with_cot if cot else rl.feedback
    work = AILabels(
        writers=_writers(context, start),
        pairs=rl.pairs,
        feedback_model=feedback_model(context, asked),
        constitution=context.constitution,
        feedback=asked,
        seed=context.recipe.seed,
    )
    return context.records(
        "comparisons_ai_cot" if cot else "comparisons_ai",
        made_from=context.made_from(
            [rl.pairs, asked],
            work.feedback_model,
            *work.writers,
            constitution=context.constitution.fingerprint,
        ),
        record_type=Comparison,
        items=data.comparisons,
        work=work,
        title="AI feedback with a chain of thought" if cot else "AI feedback",
    )


def _human_on_own_pairs(context: Context, start: Path) -> Records[Comparison]:
    """The pairs that :func:`_ai` has labelled, and which answer a person says is better."""
    rl, data = settings(context)
    if data.rater is None:
        raise ValueError("nobody was found to label the pairs")
    writers = _writers(context, start)
    return context.records(
        "comparisons_human",
        made_from=context.made_from(rl.pairs, *writers, rater=data.rater.name),
        record_type=Comparison,
        items=data.comparisons,
        work=HumanLabelsOfAIPairs(writers, rl.pairs, data.rater, context.recipe.seed),
        title="Human labels of the same pairs",
    )


def _human(context: Context, data: HumanData, goal: Goal) -> Sequence[Comparison]:
    """Comparisons from a file, or answers of the pretrained model that a rater compares.

    The pretrained model and not a better one, so that there are refusals of harmless requests among
    the answers, which lose.
    """
    if data.rater is None:
        return data.comparisons
    rl, rl_inputs = settings(context)
    models = [context.inputs.pretrained_model, *rl_inputs.contrast]
    writers = tuple(dict.fromkeys(model.path for model in models))
    return context.records(
        f"comparisons_{goal}",
        made_from=context.made_from(rl.pairs, *writers),
        record_type=Comparison,
        items=data.prompts,
        work=HumanLabels(writers, rl.pairs, data.rater, goal, context.recipe.seed),
        title=f"Human comparisons for {goal}",
    )


def pair_as_comparison(pair: Pair, goal: Goal) -> Comparison:
    """A pair of answers, not labelled yet."""
    return Comparison(
        id=f"{goal}/{pair.id}",
        prompt=pair.prompt,
        a=pair.a,
        b=pair.b,
        tags=pair.tags,
        goal=goal,
        labeller="",
        prob_a=None,
    )


def label_metrics(context: Context, arm: Arm, comparisons: Comparisons) -> dict[str, Any] | None:
    """The account of an arm's AI labels, for ``metrics.json``; None where humans labelled."""
    if arm.harmlessness not in ("ai", "ai_cot"):
        return None
    ai = comparisons.harmlessness
    labels, judged = Ledger(), Ledger()
    for comparison in ai:
        labels.add(comparison)
        for one in one_by_principle(comparison):
            judged.add(one, _reference(context, one))
    found = labels.account()
    agreement = None if context.inputs.judge is None else judged.account().agreement
    return {
        "accuracy": agreement and agreement.accuracy,
        "position_decided": agreement and agreement.decided_by_position,
        "ece": agreement and agreement.expected_calibration_error,
        "unreadable": found.unreadable,
        "contrast": told_apart(ai, context).model_dump(mode="json"),
        "account": found.model_copy(update={"agreement": agreement}).model_dump(mode="json"),
    }


def labeller_of(comparisons: Comparisons) -> str | None:
    """Who labelled harmlessness: an engine, a person; None without such comparisons."""
    names = dict.fromkeys(c.labeller for c in comparisons.harmlessness if c.prob_a is not None)
    return ", ".join(names) or None


def one_by_principle(comparison: Comparison) -> list[Comparison]:
    """The comparison for each principle that it was made by, with the readings by it alone.

    What a principle says is right or wrong; a mean over several, of which some are silent, is
    neither.
    """
    return [
        comparison.model_copy(
            update={"id": f"{comparison.id}/{readings[0].principle}", "readings": tuple(readings)}
        )
        for readings in by_principle(comparison.readings)
    ]


def _reference(context: Context, comparison: Comparison) -> Preference | None:
    """What the judge says by the principle that the comparison was made by."""
    judge = context.inputs.judge
    if judge is None:
        return None
    principle = context.principles[comparison.readings[0].principle]
    return judge.prefer_by([principle], comparison.prompt, comparison.a, comparison.b)


def told_apart(comparisons: Iterable[Comparison], context: Context) -> Contrast:
    """How many pairs differ in kind, and the warning when few do."""
    pairs = (
        Pair(c.id, c.prompt, c.a, c.b, c.tags, "" if c.readings else "not asked")
        for c in comparisons
    )
    judge = context.inputs.judge
    return contrast(pairs, None if judge is None else judge.judge)


def _writers(context: Context, start: Path) -> tuple[str, ...]:
    """Who answers: RL's initial policy, and who answers besides; each model once.

    SL-CAI's own snapshots come in the order of their steps.
    """
    rl, data = settings(context)
    paths = [str(start), *(model.path for model in data.contrast)]
    if SNAPSHOTS in rl.contrast:
        found = (start / "snapshots").glob("step-*")
        paths += map(str, sorted(found, key=lambda path: int(path.name.removeprefix("step-"))))
    return tuple(dict.fromkeys(paths))


def feedback_model(context: Context, asked: FeedbackConfig) -> str:
    """The engine that labels: the one :func:`labeller` names, by the name it is loaded by."""
    name = labeller(context.recipe, asked)
    if name == "helpful":
        return context.helpful_model.path
    return context.inputs.pretrained_model.path if name == "pretrained" else name


def labeller(recipe: Recipe, asked: FeedbackConfig) -> str:
    """``pretrained``, with a chain of thought ``helpful`` (the paper, s. 4.1), or an engine.

    An engine that the recipe names labels with and without one.
    """
    if recipe.rl is None:
        raise ValueError("the recipe has no RL stage")
    name = recipe.rl.feedback_model
    if name in recipe.engines:
        return name
    return "helpful" if asked.cot or name == "helpful" else "pretrained"
