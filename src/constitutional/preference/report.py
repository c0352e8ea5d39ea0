"""How good a preference model is: accuracy and calibration on held-out comparisons.

Pure functions on scores, so that any scorer is measured alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from pydantic import BaseModel, ConfigDict

from constitutional.evaluation.intervals import Estimate, mean, proportion
from constitutional.preference.combined import Response, Scorer, logistic
from constitutional.runs.records import Comparison


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Bin(_Part):
    """Comparisons of like confidence: what was predicted for the preferred answer, what held."""

    low: float
    high: float
    n: int
    #: The mean probability that the model gives the answer it prefers, and the label gives it.
    confidence: float
    label: float
    #: ``label`` with its interval; None for a single soft label, which has none.
    estimate: Estimate | None


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


def calibration_curve(pairs: Iterable[tuple[float, float]], *, bins: int = 10) -> tuple[Bin, ...]:
    """Bins of equal width over [0.5, 1], the empty ones left out.

    A pair is (predicted, labelled) probability that a is better. Each is turned so that the
    predicted one is at least 0.5, because which answer is a says nothing.
    """
    filled: dict[int, list[tuple[float, float]]] = {}
    for predicted, label in pairs:
        turned = (predicted, label) if predicted >= 0.5 else (1 - predicted, 1 - label)
        filled.setdefault(min(int((turned[0] - 0.5) * 2 * bins), bins - 1), []).append(turned)
    width = 0.5 / bins
    return tuple(
        Bin(
            low=0.5 + number * width,
            high=0.5 + (number + 1) * width,
            n=len(filled[number]),
            confidence=sum(p for p, _ in filled[number]) / len(filled[number]),
            label=sum(label for _, label in filled[number]) / len(filled[number]),
            estimate=_estimate([label for _, label in filled[number]]),
        )
        for number in sorted(filled)
    )


def calibration_error(curve: Sequence[Bin]) -> float | None:
    """The expected calibration error (Naeini et al. 2015); None where there is nothing to count."""
    total = sum(one.n for one in curve)
    if total == 0:
        return None
    return sum(one.n / total * abs(one.confidence - one.label) for one in curve)


def _estimate(labels: Sequence[float]) -> Estimate | None:
    """The mean label: a share where all labels are certain, else a mean of soft ones."""
    if all(label in (0, 1) for label in labels):
        return proportion(round(sum(labels)), len(labels))
    return mean(labels) if len(labels) > 1 else None


def _prefers_a(one: Scored) -> bool | None:
    return None if one.score_a == one.score_b else one.score_a > one.score_b


def _by(scored: Sequence[Scored], key: Callable[[Scored], str], bins: int) -> dict[str, Scorecard]:
    names = sorted({key(one) for one in scored})
    return {name: scorecard([o for o in scored if key(o) == name], bins=bins) for name in names}
