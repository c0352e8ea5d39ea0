"""A curve in one line of text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean

_BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """Blocks from the lowest value to the highest; of more values than ``width``, means of runs.

    What is no finite number is left blank.
    """
    groups = [_finite(group) for group in _grouped(values, width)]
    means = [fmean(group) if group else None for group in groups]
    known = [mean for mean in means if mean is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    return "".join(" " if mean is None else _block(mean, low, high) for mean in means)


def _finite(values: Sequence[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def _block(value: float, low: float, high: float) -> str:
    height = 0.5 if low == high else (value - low) / (high - low)
    return _BLOCKS[min(int(height * len(_BLOCKS)), len(_BLOCKS) - 1)]


def _grouped(values: Sequence[float], width: int) -> list[Sequence[float]]:
    """Neighbours together, so that there are ``width`` groups at most, none of them empty."""
    number = min(len(values), width)
    edges = [len(values) * i // number for i in range(number + 1)] if number else []
    return [values[a:b] for a, b in pairwise(edges)]
