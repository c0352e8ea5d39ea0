"""Pearson's correlation with an interval."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from statistics import NormalDist

from constitutional.evaluation.intervals import Estimate


def correlation(
    first: Sequence[float], second: Sequence[float], *, level: float = 0.95
) -> Estimate | None:
    """Pearson's r of two equally long sequences with Fisher's z interval (Fisher 1921).

    None for fewer than 4 pairs, which have no interval, and where one of the two does not vary. The
    interval takes the pairs as independent; for labels, which are far from normal, it is a guide.
    """
    n = len(first)
    if n < 4:
        return None
    try:
        r = statistics.correlation(first, second)
    except statistics.StatisticsError:
        return None
    r = max(-1.0, min(1.0, r))
    if abs(r) == 1:
        return Estimate(value=r, low=r, high=r, n=n)
    half = NormalDist().inv_cdf((1 + level) / 2) / math.sqrt(n - 3)
    centre = math.atanh(r)
    return Estimate(value=r, low=math.tanh(centre - half), high=math.tanh(centre + half), n=n)
