from __future__ import annotations

import random

import pytest

from constitutional.evaluation.differences import difference, paired_difference
from constitutional.evaluation.intervals import Estimate, proportion


def share(hits: int, n: int) -> Estimate:
    found = proportion(hits, n)
    assert found is not None
    return found


def table(both: int, only_first: int, only_second: int, neither: int) -> list[dict[str, bool]]:
    """Two mappings with so many prompts that hold in both, in the first alone, and so on."""
    kinds = [(True, True)] * both + [(True, False)] * only_first
    kinds += [(False, True)] * only_second + [(False, False)] * neither
    return [{str(i): kind[side] for i, kind in enumerate(kinds)} for side in (0, 1)]


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [
        # Newcombe 1998, Statistics in Medicine 17:873, table II, method 10
        ((48, 80), (56, 70), 0.0524, 0.3339),
        ((3, 10), (9, 10), 0.1705, 0.8090),
        ((0, 29), (5, 56), -0.0381, 0.1926),
        ((0, 20), (10, 10), 0.6791, 1.0),
        # Fagerland, Lydersen and Laake, Statistical Analysis of Contingency Tables, chapter 4
        ((1, 34), (7, 34), 0.0189, 0.3404),
    ],
)
def test_independent_shares_have_the_published_intervals(
    first: tuple[int, int], second: tuple[int, int], low: float, high: float
) -> None:
    found = difference(share(*first), share(*second))
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
    assert found.n == min(first[1], second[1])
    other_way = difference(share(*second), share(*first))
    assert (other_way.low, other_way.high) == pytest.approx((-found.high, -found.low))


def test_paired_shares_have_the_published_interval() -> None:
    # the same book, chapter 8: complete response before and after therapy (Cavo et al. 2012)
    before, after = table(59, 6, 16, 80)
    found = paired_difference(before, after)
    assert found is not None
    estimate, differ = found
    assert estimate.value == pytest.approx(0.0621, abs=5e-5)
    assert (estimate.low, estimate.high) == pytest.approx((0.0046, 0.1186), abs=5e-5)
    assert (estimate.n, differ) == (161, 22)


def test_pairs_that_contradict_each_other_widen_the_interval() -> None:
    first, second = table(10, 40, 30, 20)
    found = paired_difference(first, second)
    assert found is not None
    apart = difference(share(50, 100), share(40, 100))
    assert found[0].value == apart.value
    assert found[0].high - found[0].low > apart.high - apart.low


def test_only_prompts_that_both_have_are_counted() -> None:
    first = {"a": True, "b": True, "c": False}
    found = paired_difference(first, {"b": False, "c": False, "d": True})
    assert found is not None
    assert (found[0].value, found[0].n, found[1]) == (-0.5, 2, 1)
    assert paired_difference(first, {"d": True}) is None


def test_equal_runs_differ_by_nothing_with_an_interval() -> None:
    same = {str(i): i % 3 == 0 for i in range(30)}
    found = paired_difference(same, dict(same))
    assert found is not None
    estimate, differ = found
    assert (estimate.value, differ) == (0.0, 0)
    assert estimate.low < 0 < estimate.high
    apart = difference(share(10, 30), share(10, 30))
    assert estimate.high - estimate.low < (apart.high - apart.low) / 2


def test_the_paired_interval_covers() -> None:
    """Of 400 draws of 60 prompts, about 95% of the intervals hold the true difference of 0.15."""
    rng, held = random.Random(1), 0
    for _ in range(400):
        first, second = {}, {}
        for prompt in map(str, range(60)):
            first[prompt] = rng.random() < 0.3
            # goes with the first: 0.9 where that holds, 0.4 of a half elsewhere
            second[prompt] = rng.random() < (0.9 if first[prompt] else 0.18 / 0.7)
        found = paired_difference(first, second)
        assert found is not None
        held += found[0].low <= 0.15 <= found[0].high
    assert 0.925 <= held / 400 <= 0.99


def test_an_estimate_of_another_kind_adds_its_sides() -> None:
    first = Estimate(value=10, low=7, high=14, n=40)
    second = Estimate(value=2, low=-1, high=6, n=30)
    found = difference(first, second)
    assert (found.value, found.low, found.high, found.n) == (-8, -13.0, -3.0, 30)
