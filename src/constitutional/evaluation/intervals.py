"""Estimates with intervals. Nothing here is a number without its n."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, stdev

from pydantic import BaseModel, ConfigDict

#: Two-sided 97.5% quantiles of Student's t for 1 to 30 degrees of freedom (beyond: the normal's).
_T975 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


class Estimate(BaseModel):
    """A value with its 95% interval and the number of independent observations behind it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float
    low: float
    high: float
    n: int


def proportion(hits: float, n: int) -> Estimate | None:
    """A share with the Wilson score interval (Wilson 1927); None when there is nothing to count.

    Chosen over hits/n ± 1.96 s because it stays inside [0, 1] and covers at 0 and at n hits. An
    observation that is itself a mean, as of several answers to one prompt, may be a part of a hit;
    the interval is then too wide rather than too narrow.
    """
    if n == 0:
        return None
    if not 0 <= hits <= n:
        raise ValueError(f"expected 0 <= hits <= n, got {hits} of {n}")
    z = NormalDist().inv_cdf(0.975)
    p = hits / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # At the ends the bound is exactly 0 or 1; rounding may leave it a hair beyond.
    low = 0.0 if hits == 0 else max(0.0, centre - half)
    high = 1.0 if hits == n else min(1.0, centre + half)
    return Estimate(value=p, low=low, high=high, n=n)


def mean(values: Sequence[float]) -> Estimate:
    """A mean over independent runs with Student's t interval; raises ValueError for fewer than 2.

    One run has no error bar, and an empty mean is no number.
    """
    n = len(values)
    if n < 2:
        raise ValueError(f"an interval needs at least two values, got {n}")
    centre = fmean(values)
    t = _T975[n - 2] if n - 1 <= len(_T975) else NormalDist().inv_cdf(0.975)
    half = t * stdev(values) / math.sqrt(n)
    return Estimate(value=centre, low=centre - half, high=centre + half, n=n)
