"""The run's preference models trained once more, on the labels by another constitution.

With the run's settings, seed and beginning, on the same comparisons, and judged on the same
held-out ones (these are drawn by their ids). One training each: what another seed would give is in
no interval here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from constitutional.errors import InputError
from constitutional.evaluation.differences import paired_difference
from constitutional.evaluation.intervals import Estimate, proportion
from constitutional.instrument.labelled import LabelledRun, Labels
from constitutional.preference.combined import Response, Scorer
from constitutional.runs import fingerprint_of, read_records
from constitutional.runs.folder import STAGES
from constitutional.runs.records import Comparison
from constitutional.runs.stage import STAGE, read_state
from constitutional.stages.arms import ARMS, Arm, arms_of
from constitutional.stages.comparisons import Comparisons
from constitutional.stages.context import Context
from constitutional.stages.reinforcement import (
    Begin,
    by_the_judge,
    train_preference_model,
)
from constitutional.stages.shares import shares_of


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Against(_Record):
    """Both preference models on the held-out comparisons, by one side's word on which is better.

    ``difference`` is new less old, paired by comparison; ``differ`` says on how many comparisons
    one of them is right and the other wrong. None where no held-out comparison has a side.
    """

    truth: str
    old: Estimate | None
    new: Estimate | None
    difference: Estimate | None
    differ: int


class Retraining(_Record):
    """An arm's preference model before and after. ``against``: old labels, new ones, the judge."""

    arm: str
    held_out: int
    against: tuple[Against, ...]


def arms_trained_on(context: Context, labels: Labels) -> list[Arm]:
    """The arms whose preference models are trained on these labels."""
    kind = "ai_cot" if labels.stage.endswith("cot") else "ai"
    return [arm for arm in arms_of(context) if arm.harmlessness == kind]


def check_trained(run: LabelledRun) -> None:
    """Raise InputError where a preference model is not made yet that would be compared with."""
    for arm in run.reinforcement.arms:
        folder = run.path / STAGES / f"preference_model_{arm}" / "result"
        if ARMS[arm].harmlessness in ("ai", "ai_cot") and not folder.is_dir():
            raise InputError(
                f"{run.path} has no preference model of {arm} yet: let the run get there, or leave "
                "--retrain out"
            )


def retrain(
    context: Context, run: LabelledRun, arm: Arm, old: Labels, new: Sequence[Comparison]
) -> Retraining:
    """Train the arm's preference model on ``new`` labels, and compare it with the run's."""
    from constitutional.preference.model import PreferenceModel

    rl = run.reinforcement
    helpful = _helpfulness(context, run)
    before = shares_of(context, Comparisons(old.comparisons, helpful))
    after = shares_of(context, Comparisons(new, helpful))
    name = f"preference_model_{arm.name}"
    first = run.path / STAGES / name / "result"
    second = train_preference_model(
        context, name, _begin(context, run), rl.preference, after.train, after.held_out
    )
    truths = {"old labels": before.held_out, "new labels": after.held_out}
    if context.inputs.judge is not None:
        truths["judge"] = by_the_judge(context, after.held_out)
    device = context.recipe.models.device
    models = [PreferenceModel.load(path, device=device) for path in (first, second)]
    return Retraining(
        arm=arm.name,
        held_out=len(after.held_out),
        against=tuple(
            _against(truth, *(_right(model, judged) for model in models))
            for truth, judged in truths.items()
        ),
    )


def _right(scorer: Scorer, held_out: Sequence[Comparison]) -> dict[str, bool]:
    """By id whether the scorer prefers the better answer; a label of 1/2 has none."""
    sided = [c for c in held_out if c.prob_a not in (None, 0.5)]
    scores = scorer.scores([Response(c.prompt, text, c.tags) for c in sided for text in (c.a, c.b)])
    return {
        c.id: a != b and (a > b) == (c.prob_a is not None and c.prob_a > 0.5)
        for c, a, b in zip(sided, scores[::2], scores[1::2], strict=True)
    }


def _against(truth: str, old: Mapping[str, bool], new: Mapping[str, bool]) -> Against:
    found = paired_difference(old, new)
    return Against(
        truth=truth,
        old=proportion(sum(old.values()), len(old)),
        new=proportion(sum(new.values()), len(new)),
        difference=None if found is None else found[0],
        differ=0 if found is None else found[1],
    )


def _helpfulness(context: Context, run: LabelledRun) -> Sequence[Comparison]:
    """The comparisons for helpfulness that the run's preference models were trained on."""
    folder = run.path / STAGES / "comparisons_helpfulness"
    if (folder / STAGE).is_file():
        return read_records(folder, Comparison)
    assert context.inputs.rl is not None
    return context.inputs.rl.helpfulness.comparisons


def _begin(context: Context, run: LabelledRun) -> Begin:
    """What the run's preference models began from."""
    model, folder = context.inputs.pretrained_model, run.path / STAGES / "preference_pretraining"
    if run.reinforcement.pmp is None:
        return Begin(model.path, model.fingerprint)
    files = read_state(folder).files or {}
    marks = {name: mark.sha256 for name, mark in files.items()}
    return Begin(str(folder / "result"), fingerprint_of([marks]))
