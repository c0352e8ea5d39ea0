"""By how much two runs differ: intervals of differences, paired by prompt where that is possible.

An interval here is over prompts. Another seed would give another run, which no interval of one
training tells of.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from constitutional.evaluation.intervals import Estimate, proportion


def difference(first: Estimate, second: Estimate, *, correlation: float = 0.0) -> Estimate:
    """``second`` less ``first``, from the intervals of both; ``n`` is the smaller of the two.

    By square-and-add: the interval of a difference from those of its parts (Newcombe 1998, Stat.
    Med. 17:873, method 10, for shares; Zou and Donner 2008, Stat. Med. 27:1693, for any other
    estimate). Without a ``correlation`` the two are taken as independent, which makes the interval
    too wide rather than too narrow where they share their prompts.
    """

    def side(down: float, up: float) -> float:
        # rounding may leave a hair below 0, or a bound on the wrong side of its value
        down, up = max(down, 0.0), max(up, 0.0)
        return math.sqrt(max(down**2 - 2 * correlation * down * up + up**2, 0.0))

    value = second.value - first.value
    return Estimate(
        value=value,
        low=value - side(second.value - second.low, first.high - first.value),
        high=value + side(second.high - second.value, first.value - first.low),
        n=min(first.n, second.n),
    )


def paired_difference(
    first: Mapping[str, bool], second: Mapping[str, bool]
) -> tuple[Estimate, int] | None:
    """The share that holds in ``second`` less that in ``first``, on the prompts that both have.

    Newcombe's interval for paired shares (1998, Stat. Med. 17:2635, method 10), with its correction
    of the correlation. The second part says on how many prompts the two differ. None without a
    prompt in common.
    """
    both = [(first[prompt], second[prompt]) for prompt in first if prompt in second]
    n = len(both)
    in_first = proportion(sum(a for a, _ in both), n)
    in_second = proportion(sum(b for _, b in both), n)
    if in_first is None or in_second is None:
        return None
    differ = sum(a != b for a, b in both)
    correlation = _correlation(
        sum(a and b for a, b in both),
        sum(a and not b for a, b in both),
        sum(b and not a for a, b in both),
        n,
    )
    return difference(in_first, in_second, correlation=correlation), differ


def _correlation(yes: int, only_first: int, only_second: int, n: int) -> float:
    """Phi of the two-by-two table, pulled towards 0 where it is positive."""
    no = n - yes - only_first - only_second
    margins = (yes + only_first) * (only_second + no) * (yes + only_second) * (only_first + no)
    if margins == 0:
        return 0.0
    excess = yes * no - only_first * only_second
    return (max(excess - n / 2, 0.0) if excess > 0 else excess) / math.sqrt(margins)
