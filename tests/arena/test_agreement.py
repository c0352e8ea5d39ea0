"""Agreement and bias, against published figures and sums done by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from constitutional.arena.agreement import agreement, alpha, rater_reports
from constitutional.arena.records import CastVote, Choice, Pair, Shown, Skip

MakePair = Callable[..., Pair]
UNKNOWN = None
#: Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", example C: four observers.
OBSERVERS = (
    (1, 2, 3, 3, 2, 1, 4, 1, 2, UNKNOWN, UNKNOWN, UNKNOWN),
    (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, UNKNOWN, 3),
    (UNKNOWN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, UNKNOWN),
    (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, UNKNOWN),
)


def vote(rater: str, pair: Pair, choice: Choice, shown: Shown = "ab") -> CastVote:
    assert choice != "skip"
    return CastVote(rater, pair, choice, shown)


def test_alpha_is_that_of_the_published_example() -> None:
    units = [
        [float(value) for value in unit if value is not None]
        for unit in zip(*OBSERVERS, strict=True)
    ]
    assert alpha(units) == pytest.approx(0.849, abs=5e-4)


def test_alpha_knows_when_it_knows_nothing() -> None:
    assert alpha([]) is None
    assert alpha([[1.0], [0.0]]) is None, "no pair has two votes"
    assert alpha([[1.0, 1.0], [1.0, 1.0]]) is None, "nothing differs, so there is no scale"
    assert alpha([[1.0, 1.0], [0.0, 0.0]]) == 1
    assert alpha([[1.0, 0.0]] * 500) == pytest.approx(-1, abs=5e-3), "always against each other"


def test_agreement_counts_each_pair_once_and_has_an_interval(pair: MakePair) -> None:
    """Pair 0: a, a, b agree in one of three pairs of raters; pair 1: a, a in one of one."""
    pairs = [pair(number) for number in range(3)]
    votes = [
        *(vote(rater, pairs[0], choice) for rater, choice in (("r", "a"), ("s", "a"), ("t", "b"))),
        *(vote(rater, pairs[1], "a") for rater in "rs"),
        vote("r", pairs[2], "b"),
    ]
    found = agreement(votes)
    assert found.same is not None and found.alpha is not None
    assert (found.same.value, found.same.n) == (pytest.approx((1 / 3 + 1) / 2), 2)
    assert found.alpha.n == 2
    assert found.alpha.value == pytest.approx(alpha([[1, 1, 0], [1, 1]]))
    assert found.alpha.low <= found.alpha.value <= found.alpha.high


def test_raters_who_always_agree_are_not_blamed_for_a_policy_that_always_wins(
    pair: MakePair,
) -> None:
    """Which answer is a is drawn for each pair, so that both sides win about as often."""
    votes = []
    for number in range(200):
        one = pair(number)
        winner: Choice = "a" if one.a.policy == "rl_cai" else "b"
        votes += [vote("r", one, winner), vote("s", one, winner)]
    assert 60 < sum(each.choice == "a" for each in votes) / 2 < 140
    found = agreement(votes)
    assert found.alpha is not None and found.alpha.value == 1


def test_a_rater_who_takes_whatever_stands_first_is_found_out(pair: MakePair) -> None:
    pairs = [pair(number) for number in range(40)]
    votes = []
    for number, each in enumerate(pairs):
        shown: Shown = "ab" if number % 2 else "ba"
        votes.append(vote("hasty", each, shown[0], shown))  # type: ignore[arg-type]
        votes.append(vote("fair", each, "a", shown))
    votes += [vote("tired", each, "tie") for each in pairs[:4]]
    hasty, fair, tired, gone = sorted(
        rater_reports(votes, [Skip("gone", pairs[0])]),
        key=lambda report: ("hasty", "fair", "tired", "gone").index(report.rater),
    )
    assert hasty.first is not None and fair.first is not None
    assert (hasty.first.value, hasty.first.n) == (1, 40) and hasty.first.low > 0.5
    assert fair.first.value == 0.5 and fair.first.low < 0.5 < fair.first.high
    assert (tired.votes, tired.ties, tired.first) == (4, 4, None)
    assert (gone.votes, gone.skips, gone.first, gone.with_others) == (0, 1, None, None)
    # by hand: of 40 pairs, hasty is with fair on the 20 that showed a first, less what ties dilute
    assert hasty.with_others is not None
    assert hasty.with_others.value == pytest.approx((18 + 2 / 2) / 40)
