"""Whether two rankings agree."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from math import factorial

import numpy as np
from numpy.typing import NDArray

#: Up to so many values all their orders are looked at; 40,320 of eight.
MOST = 8


def ranks(values: Sequence[float]) -> NDArray[np.float64]:
    """From 1 for the smallest; equal values share the mean of their ranks."""
    found, counts = np.unique(np.asarray(values, dtype=np.float64), return_counts=True)
    last = np.cumsum(counts)
    mid = last - (counts - 1) / 2
    return mid[np.searchsorted(found, values)]


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's rank correlation (1904): Pearson's of the ranks, right with ties too.

    NaN where one of them is constant. Raises ValueError for fewer than two pairs.
    """
    if len(first) != len(second) or len(first) < 2:
        raise ValueError(f"expected two pairs or more, got {len(first)} and {len(second)} values")
    x, y = (ranks(values) - (len(values) + 1) / 2 for values in (first, second))
    spread = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / spread) if spread else float("nan")


def permutation_share(first: Sequence[float], second: Sequence[float]) -> float:
    """The share of all orders of ``second`` that agree as well with ``first``, or better.

    One-sided and exact. Raises ValueError for more than :data:`MOST` pairs.
    """
    if len(first) > MOST:
        raise ValueError(f"{len(first)} values have {factorial(len(first)):,} orders: too many")
    found = spearman(first, second)
    # a hair of room, for an order that is as good may differ by rounding
    hits = [spearman(first, order) >= found - 1e-12 for order in permutations(second)]
    return sum(hits) / len(hits)


def bootstrap_spearman(
    first: Sequence[float], second: Sequence[float], *, draws: int, seed: int
) -> tuple[float, float]:
    """The 95% percentile interval over resampled pairs; draws with one value alone are left out."""
    rng = np.random.default_rng(seed)
    x, y = np.asarray(first), np.asarray(second)
    picks = rng.integers(len(x), size=(draws, len(x)))
    found = np.array([spearman(x[pick], y[pick]) for pick in picks])
    low, high = np.nanquantile(found, (0.025, 0.975))
    return float(low), float(high)
