"""How good a preference model is: accuracy and calibration on held-out comparisons.

Pure functions on scores, so that any scorer is measured alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pydantic import BaseModel, ConfigDict

from constitutional.evaluation.calibration import Bin, calibration_curve, calibration_error
from constitutional.evaluation.intervals import Estimate, proportion
from constitutional.preference.combined import Response, Scorer, logistic
from constitutional.runs.records import Comparison


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Scorecard(_Part):
    """What a scorer reaches on a set of comparisons.

    Accuracies are over the ``n`` comparisons whose label prefers one answer; equal scores are not
    right (``undecided`` says how many there are). Calibration is over all ``labelled`` ones.
    """

    labelled: int
    n: int
    undecided: int
    accuracy: Estimate | None
    #: Sum over the bins of their share times |confidence - label|.
    ece: float | None
    curve: tuple[Bin, ...]
    #: The same accuracy of rules that read no text. At equal lengths "the longer" is a.
    longer: Estimate | None
    always_a: Estimate | None


class PreferenceReport(_Part):
    """Scorecards of all comparisons, of each goal and of each source, and how many had no label."""

    all: Scorecard
    goals: dict[str, Scorecard]
    sources: dict[str, Scorecard]
    unlabelled: int


class Scored(_Part):
    """A labelled comparison with the raw scores of its answers."""

    comparison: Comparison
    score_a: float
    score_b: float

    @property
    def probability(self) -> float:
        """How probably a is better, by the scorer."""
        return logistic(self.score_a - self.score_b)

    @property
    def label(self) -> float:
        """How probably a is better, by the labeller."""
        label = self.comparison.prob_a
        if label is None:
            raise ValueError(f"comparison {self.comparison.id} has no label")
        return label


def preference_report(
    scorer: Scorer, comparisons: Sequence[Comparison], *, bins: int = 10
) -> PreferenceReport:
    """Score both answers of every labelled comparison, and compare with the labels."""
    labelled = [c for c in comparisons if c.prob_a is not None]
    sides = [Response(c.prompt, text, c.tags) for c in labelled for text in (c.a, c.b)]
    raw = scorer.scores(sides)
    scored = [
        Scored(comparison=c, score_a=a, score_b=b)
        for c, a, b in zip(labelled, raw[::2], raw[1::2], strict=True)
    ]
    return PreferenceReport(
        all=scorecard(scored, bins=bins),
        goals=_by(scored, lambda one: one.comparison.goal, bins),
        sources=_by(scored, lambda one: one.comparison.labeller, bins),
        unlabelled=len(comparisons) - len(labelled),
    )


def scorecard(scored: Sequence[Scored], *, bins: int = 10) -> Scorecard:
    """Accuracy, calibration and baselines of some comparisons."""
    decided = [one for one in scored if one.label != 0.5]

    def accuracy(prefers_a: Callable[[Scored], bool | None]) -> Estimate | None:
        right = sum(prefers_a(one) == (one.label > 0.5) for one in decided)
        return proportion(right, len(decided))

    curve = calibration_curve([(one.probability, one.label) for one in scored], bins=bins)
    return Scorecard(
        labelled=len(scored),
        n=len(decided),
        undecided=sum(one.score_a == one.score_b for one in decided),
        accuracy=accuracy(_prefers_a),
        ece=calibration_error(curve),
        curve=curve,
        longer=accuracy(lambda one: len(one.comparison.a) >= len(one.comparison.b)),
        always_a=accuracy(lambda one: True),
    )


def _prefers_a(one: Scored) -> bool | None:
    return None if one.score_a == one.score_b else one.score_a > one.score_b


def _by(scored: Sequence[Scored], key: Callable[[Scored], str], bins: int) -> dict[str, Scorecard]:
    names = sorted({key(one) for one in scored})
    return {name: scorecard([o for o in scored if key(o) == name], bins=bins) for name in names}
