from __future__ import annotations

import math
import random
from collections.abc import Sequence

import choix
import numpy as np
import pytest

from constitutional.errors import InputError
from constitutional.evaluation.elo import (
    ELO_PER_LOGIT,
    EloTable,
    PolicyComparison,
    elo_ratings,
    fit,
    win_share,
)
from constitutional.evaluation.verdicts import Preference


def compared(
    prompt: object, a: str, b: str, outcome: Preference, weight: float = 1
) -> PolicyComparison:
    return PolicyComparison(
        prompt=str(prompt), policy_a=a, policy_b=b, outcome=outcome, weight=weight
    )


def simulated(
    truth: dict[str, float],
    prompts: int,
    rng: random.Random,
    *,
    copies: int = 1,
    ties: float = 0.0,
) -> list[PolicyComparison]:
    """Each pair once on each prompt, ``copies`` rows of it; ``truth`` in Elo."""
    names, rows = list(truth), []
    for prompt in range(prompts):
        for i, a in enumerate(names):
            for b in names[:i]:
                outcome: Preference = "a" if rng.random() < win_share(truth[a] - truth[b]) else "b"
                if rng.random() < ties:
                    outcome = "tie"
                rows += [compared(prompt, a, b, outcome)] * copies
    return rows


def values(table: EloTable) -> dict[str, float]:
    return {name: rating.value for name, rating in table.ratings.items()}


def test_two_policies_by_hand() -> None:
    """3 wins of 4: odds 3, so 400 log10 3 = 190.85 points."""
    rows = [compared(i, "rl", "sl", "a" if i < 3 else "b") for i in range(4)]
    table = elo_ratings(rows, "sl", prior=0.5, resamples=50)
    assert values(table)["rl"] == pytest.approx(400 * math.log10(3.25 / 1.25))
    pure = fit(np.array([[[0.0, 3.0], [1.0, 0.0]]]), 1)
    assert pure[0].tolist() == pytest.approx([190.8485, 0], abs=1e-4)
    assert table.wins == {"rl": {"sl": 3}, "sl": {"rl": 1}}
    assert list(table.ratings) == ["rl", "sl"], "best first"
    zero = table.ratings["sl"]
    assert (zero.value, zero.low, zero.high, zero.n) == (0, 0, 0, 4)


def test_win_share_of_the_elo_scale() -> None:
    """Ten to one at 400 points; the paper's 174 points are one unit of preference model score."""
    assert win_share(400) == pytest.approx(10 / 11)
    assert win_share(-400) == pytest.approx(1 / 11)
    assert win_share(0) == 0.5
    assert win_share(1e9) == 1
    assert pytest.approx(173.7, abs=0.05) == ELO_PER_LOGIT


@pytest.mark.parametrize("seed", range(5))
def test_as_choix_fits_it(seed: int) -> None:
    """choix 0.4 maximises the same likelihood by its own optimiser."""
    rng = random.Random(seed)
    truth = {f"p{i}": rng.uniform(-200, 200) for i in range(6)}
    rows = simulated(truth, 30, rng)
    names = sorted(truth)
    data = [
        (names.index(r.policy_a), names.index(r.policy_b))
        if r.outcome == "a"
        else (names.index(r.policy_b), names.index(r.policy_a))
        for r in rows
    ]
    theirs = choix.opt_pairwise(len(names), data, alpha=0, method="BFGS", tol=1e-9)
    theirs = (theirs - theirs[names.index("p2")]) * ELO_PER_LOGIT
    ours = values(elo_ratings(rows, "p2", prior=0, resamples=20))
    assert [ours[name] for name in names] == pytest.approx(theirs.tolist(), abs=0.01)


def test_the_fit_solves_the_likelihood_equations() -> None:
    """Expected wins equal the wins, for weights, ties and a sparse design alike."""
    rng = random.Random(3)
    rows = simulated({"a": 0, "b": 120, "c": -300}, 25, rng, ties=0.3)
    rows = [r.model_copy(update={"weight": rng.uniform(0.5, 2)}) for r in rows]
    rows = [r for r in rows if {r.policy_a, r.policy_b} != {"a", "c"}]  # met only through b
    table = elo_ratings(rows, "a", prior=0, resamples=20)
    for name, against in table.wins.items():
        expected = sum(
            (won + table.wins[other][name])
            * win_share(table.ratings[name].value - table.ratings[other].value)
            for other, won in against.items()
        )
        assert sum(against.values()) == pytest.approx(expected, rel=1e-6)


def test_ties_are_half_a_win_or_dropped() -> None:
    rows = [
        *(compared(i, "x", "y", "a") for i in range(6)),
        *(compared(i, "x", "y", "b") for i in range(6, 8)),
        *(compared(i, "x", "y", "tie") for i in range(8, 12)),
    ]
    half = elo_ratings(rows, "y", prior=0.001, resamples=10)
    assert half.wins == {"x": {"y": 8}, "y": {"x": 4}}
    assert values(half)["x"] == pytest.approx(400 * math.log10(2), abs=0.1)
    dropped = elo_ratings(rows, "y", ties="drop", prior=0.001, resamples=10)
    assert values(dropped)["x"] == pytest.approx(400 * math.log10(3), abs=0.1)
    assert (half.tied, dropped.tied, half.prompts, dropped.prompts) == (4, 4, 12, 8)


def test_who_won_everything_is_named_and_finite_by_the_prior() -> None:
    rows = [compared(i, "perfect", "zero", "a") for i in range(50)]
    rows += [compared(i, "equal", "zero", "a" if i % 2 else "b") for i in range(50)]
    table = elo_ratings(rows, "zero", resamples=100)
    assert table.unbounded == ("perfect",)
    assert values(table)["perfect"] == pytest.approx(400 * math.log10(101))
    assert all(math.isfinite(r.low) and math.isfinite(r.high) for r in table.ratings.values())
    with pytest.raises(InputError, match=r"^perfect won or lost everything .* prior above 0"):
        elo_ratings(rows, "zero", prior=0)


def test_without_a_prior_resamples_that_lose_a_win_are_refused() -> None:
    """One loss in 40 prompts: in about a third of the resamples it is not drawn."""
    rows = [compared(i, "x", "y", "a" if i else "b") for i in range(40)]
    with pytest.raises(InputError, match=r"in \d+ of 200 resamples .* set a prior above 0"):
        elo_ratings(rows, "y", prior=0, resamples=200)


@pytest.mark.parametrize("prior", [0, 1])
def test_policies_without_a_common_scale_are_refused(prior: float) -> None:
    rows = [
        compared(prompt, a, b, outcome)
        for prompt in range(4)
        for a, b in (("a", "b"), ("c", "d"))
        for outcome in ("a", "b")
    ]
    with pytest.raises(InputError, match="no comparison that counts connects a, b with c, d"):
        elo_ratings(rows, "a", prior=prior)


def test_a_dropped_tie_connects_nothing() -> None:
    rows = [compared(i, "a", "b", o) for i in range(3) for o in ("a", "b")]
    rows += [compared(i, "b", "c", "tie") for i in range(3)]
    elo_ratings(rows, "a", resamples=10)
    with pytest.raises(InputError, match="connects a, b with c"):
        elo_ratings(rows, "a", ties="drop")


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([], "there are no comparisons"),
        ([compared(1, "a", "a", "a")], "compares 'a' with itself"),
        ([compared(1, "sl_cay", "b", "a")], "'sl_cai'.*did you mean 'sl_cay'"),
        ([compared(1, "sl_cai", "b", "a")], "at least two, found 1"),
    ],
)
def test_wrong_input_is_one_sentence(rows: Sequence[PolicyComparison], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        elo_ratings(rows, "sl_cai" if rows and rows[0].policy_a != "a" else "a")


def test_the_seed_decides_and_the_order_of_rows_does_not_matter_to_the_ratings() -> None:
    rows = simulated({"a": 0, "b": 50, "c": 100}, 20, random.Random(1))
    one, again = elo_ratings(rows, "a", seed=4), elo_ratings(rows, "a", seed=4)
    assert one == again
    assert elo_ratings(rows, "a", seed=5).ratings != one.ratings
    turned = [
        compared(r.prompt, r.policy_b, r.policy_a, {"a": "b", "b": "a"}[r.outcome])  # type: ignore[arg-type]
        for r in rows
    ]
    assert values(elo_ratings(turned[::-1], "a")) == pytest.approx(values(one))


def test_intervals_are_of_prompts_and_not_of_rows() -> None:
    """Four copies of every row are no more knowledge."""
    rows = simulated({"a": 0, "b": 100}, 60, random.Random(2))
    once = elo_ratings(rows, "a", prior=1).ratings["b"]
    often = elo_ratings(rows * 4, "a", prior=4).ratings["b"]
    assert (often.value, often.low, often.high) == pytest.approx((once.value, once.low, once.high))


def test_drawing_in_turns_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """25 draws of 60 prompts at once, and by threes."""
    rows = simulated({"a": 0, "b": 100, "c": 30}, 60, random.Random(2))
    at_once = elo_ratings(rows, "a", resamples=25)
    monkeypatch.setattr("constitutional.evaluation.elo._DRAWN_AT_ONCE", 3 * 60)
    assert elo_ratings(rows, "a", resamples=25) == at_once


def test_coverage() -> None:
    """Of 400 simulated evaluations about 95% hold the true difference (standard error 1.1%).

    Three rows of each comparison: an interval over rows would cover about 74%.
    """
    truth = {"zero": 0.0, "b": 80.0, "c": 250.0}
    rng = random.Random(11)
    held = dict.fromkeys(("b", "c"), 0)
    for seed in range(400):
        rows = simulated(truth, 80, rng, copies=3)
        table = elo_ratings(rows, "zero", resamples=200, seed=seed)
        for name in held:
            held[name] += table.ratings[name].low <= truth[name] <= table.ratings[name].high
    for name, count in held.items():
        assert 0.92 <= count / 400 <= 0.98, name
