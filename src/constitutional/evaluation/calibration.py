"""Calibration of a probability that one of two answers is better: the curve and its error.

Which answer is called a says nothing, so every probability is turned until it is at least one half,
and the bins cover [0.5, 1]. AI labels and preference models are measured by the same curve.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence

from pydantic import BaseModel, ConfigDict

from constitutional.evaluation.intervals import Estimate, mean, proportion


class Bin(BaseModel):
    """Comparisons whose confidence is in (low, high]; 0.5 itself is in the first bin."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: float
    high: float
    n: int
    #: The mean probability that the model gives the answer it prefers, and the label gives it.
    confidence: float
    label: float
    #: ``label`` with its interval; None for a single soft label, which has none.
    estimate: Estimate | None


def calibration_curve(pairs: Iterable[tuple[float, float]], *, bins: int = 10) -> tuple[Bin, ...]:
    """Bins of equal width over [0.5, 1], the empty ones left out.

    A pair is (predicted, labelled) probability that a is better, the label 0 or 1 where it is sure.
    """
    width = 0.5 / bins
    filled: dict[int, tuple[array[float], array[float]]] = {}
    for predicted, label in pairs:
        turned = (predicted, label) if predicted >= 0.5 else (1 - predicted, 1 - label)
        # An edge that is off by rounding still belongs to the bin below it.
        number = math.ceil((turned[0] - 0.5) / width - 1e-9) - 1
        inside = filled.setdefault(min(max(number, 0), bins - 1), (array("d"), array("d")))
        for column, value in zip(inside, turned, strict=True):
            column.append(value)
    return tuple(_bin(0.5 + number * width, width, *filled[number]) for number in sorted(filled))


def calibration_error(curve: Sequence[Bin]) -> float | None:
    """The expected calibration error (Naeini et al. 2015): |confidence - label|, weighted by n.

    None where there is nothing to count.
    """
    total = sum(one.n for one in curve)
    if total == 0:
        return None
    return math.fsum(one.n * abs(one.confidence - one.label) for one in curve) / total


def _bin(low: float, width: float, predictions: Sequence[float], labels: Sequence[float]) -> Bin:
    return Bin(
        low=low,
        high=low + width,
        n=len(labels),
        confidence=math.fsum(predictions) / len(labels),
        label=math.fsum(labels) / len(labels),
        estimate=_estimate(labels),
    )


def _estimate(labels: Sequence[float]) -> Estimate | None:
    """The mean label: a share where all labels are sure, else a mean of soft ones."""
    if all(label in (0, 1) for label in labels):
        return proportion(round(sum(labels)), len(labels))
    return mean(labels) if len(labels) > 1 else None
