from __future__ import annotations

import math
import random
from statistics import NormalDist

import pytest

from constitutional.evaluation.intervals import _T975, mean, proportion

#: (hits, n, low, high): Newcombe 1998, Statistics in Medicine 17:857-872, table I, method 3.
PUBLISHED = [
    (81, 263, 0.2553, 0.3662),
    (15, 148, 0.0624, 0.1605),
    (0, 20, 0.0, 0.1611),
    (1, 29, 0.0061, 0.1718),
]


@pytest.mark.parametrize(("hits", "n", "low", "high"), PUBLISHED)
def test_wilson_by_published_examples(hits: int, n: int, low: float, high: float) -> None:
    found = proportion(hits, n)
    assert found is not None
    assert (found.value, found.n) == (hits / n, n)
    assert found.low == pytest.approx(low, abs=5e-5)
    assert found.high == pytest.approx(high, abs=5e-5)


@pytest.mark.parametrize("n", [1, 2, 7, 100])
def test_wilson_bounds_solve_the_score_equation(n: int) -> None:
    """Each bound is the share at which the observation is 1.96 standard errors away."""
    z = NormalDist().inv_cdf(0.975)
    for hits in range(n + 1):
        found = proportion(hits, n)
        assert found is not None
        assert 0 <= found.low <= found.value <= found.high <= 1
        for bound in {found.low, found.high} - {0.0, 1.0}:
            error = math.sqrt(bound * (1 - bound) / n)
            assert abs(found.value - bound) == pytest.approx(z * error, abs=1e-9)
    assert proportion(0, n).low == 0.0  # type: ignore[union-attr]
    assert proportion(n, n).high == 1.0  # type: ignore[union-attr]


@pytest.mark.parametrize("share", [0.02, 0.2, 0.5])
def test_wilson_covers(share: float) -> None:
    """Exactly, by the binomial distribution; Wilson's intervals keep near 95% (here 92 to 99)."""
    for n in (50, 200):
        covered = sum(
            math.comb(n, k) * share**k * (1 - share) ** (n - k)
            for k in range(n + 1)
            if (e := proportion(k, n)) is not None and e.low <= share <= e.high
        )
        assert 0.92 < covered < 0.99


def test_a_share_of_nothing_is_no_number() -> None:
    assert proportion(0, 0) is None


@pytest.mark.parametrize(("hits", "n"), [(3, 2), (-1, 2)])
def test_impossible_counts_are_refused(hits: int, n: int) -> None:
    with pytest.raises(ValueError, match="0 <= hits <= n"):
        proportion(hits, n)


def t_upper_tail(t: float, degrees: int) -> float:
    """P(T > t), by Simpson's rule on the density of Student's t."""
    scale = math.exp(math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2))
    scale /= math.sqrt(degrees * math.pi)

    def density(x: float) -> float:
        return scale * math.pow(1 + x * x / degrees, -(degrees + 1) / 2)

    steps = 2000
    width = t / steps
    inner = sum(density(k * width) * (4 if k % 2 else 2) for k in range(1, steps))
    return 0.5 - width / 3 * (density(0) + inner + density(t))


def test_quantiles_of_student() -> None:
    """Against the distribution itself, so that no row of the table is a slip."""
    assert len(_T975) == 30
    for degrees, t in enumerate(_T975, start=1):
        slack = 0.0006 * 2 * t_upper_tail(0.0, degrees)  # a table of three decimals
        assert t_upper_tail(t - slack, degrees) > 0.025 > t_upper_tail(t + slack, degrees)


def test_mean_of_a_worked_example() -> None:
    """n = 3: mean 2, standard deviation 1, so 2 ± 4.303 / sqrt(3)."""
    found = mean([1, 2, 3])
    assert (found.value, found.n) == (2, 3)
    assert found.low == pytest.approx(2 - 2.4843, abs=1e-3)
    assert found.high == pytest.approx(2 + 2.4843, abs=1e-3)


def test_mean_of_equal_values_has_no_width() -> None:
    found = mean([0.5, 0.5])
    assert (found.low, found.value, found.high) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("n", [2, 3, 5, 31, 40])
def test_mean_covers(n: int) -> None:
    """Of 3000 draws 95% hold the truth, within 4 deviations (0.4% each); about 94.7% from n=32."""
    rng = random.Random(n)
    held = 0
    for _ in range(3000):
        found = mean([rng.gauss(1.0, 2.0) for _ in range(n)])
        held += found.low <= 1.0 <= found.high
    assert abs(held / 3000 - 0.95) < 0.018


@pytest.mark.parametrize("values", [[], [1.0]])
def test_fewer_than_two_runs_have_no_interval(values: list[float]) -> None:
    with pytest.raises(ValueError, match=f"at least two values, got {len(values)}"):
        mean(values)
