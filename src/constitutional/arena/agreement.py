"""How far raters agree with each other, and whether one of them favours a place.

Agreement is Krippendorff's alpha (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability"),
chosen over Fleiss' kappa because raters judge different pairs and different numbers of them: any
pair that two raters voted on counts, and no vote is imputed. A vote is a number, 1 for a, 0 for b
and one half for a tie, and the difference is squared: a tie is halfway to either side, as in Elo
ratings. 1 is perfect agreement, 0 what chance would give. Which answer is a is drawn for each pair
(:meth:`.records.Pair.of`), so that alpha does not sink where one policy wins most of the time.
Its interval is a bootstrap over prompts, as that of the ratings.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from constitutional.arena.records import CastVote, Skip
from constitutional.evaluation.intervals import Estimate, proportion

VALUES: Mapping[str, float] = {"a": 1.0, "b": 0.0, "tie": 0.5}
_RESAMPLES = 1000


@dataclass(frozen=True)
class Agreement:
    """``alpha``, whose n counts prompts, and the share of two raters' votes on a pair that are the
    ``same``, whose n counts pairs of answers; a pair with many raters counts no more than another.

    None where it is not known: no pair has two votes, or all votes have one value, which leaves
    alpha without a scale.
    """

    alpha: Estimate | None
    same: Estimate | None


@dataclass(frozen=True)
class RaterReport:
    """One rater. ``first`` is the share of the votes for a side that went to what stood first, one
    half without a bias; ``with_others`` how often the vote was that of another on the same pair.
    """

    rater: str
    votes: int
    ties: int
    skips: int
    first: Estimate | None
    with_others: Estimate | None


def agreement(votes: Sequence[CastVote], *, seed: int = 0) -> Agreement:
    """Of all raters on all pairs that two or more of them voted on."""
    units = [(prompt, values) for prompt, values in _units(votes) if len(values) > 1]
    shares = [
        float(np.mean([one == other for one, other in combinations(values, 2)]))
        for _, values in units
    ]
    return Agreement(_alpha_with_interval(units, seed), proportion(sum(shares), len(shares)))


def rater_reports(votes: Sequence[CastVote], skips: Sequence[Skip]) -> list[RaterReport]:
    """Every rater who voted or skipped, by name."""
    by_rater: dict[str, list[CastVote]] = defaultdict(list)
    by_pair: dict[str, list[CastVote]] = defaultdict(list)
    skipped = Counter(skip.rater for skip in skips)
    for vote in votes:
        by_rater[vote.rater].append(vote)
        by_pair[vote.pair.id].append(vote)
    return [
        _report(rater, by_rater.get(rater, []), skipped[rater], by_pair)
        for rater in sorted({*by_rater, *skipped})
    ]


def alpha(units: Sequence[Sequence[float]]) -> float | None:
    """Krippendorff's alpha for interval data; each unit holds the values that it was given.

    Units of one value say nothing and are left out. None where nothing is left or nothing differs.
    """
    found = _sums([unit for unit in units if len(unit) > 1])
    return _alpha_of(found.sum(axis=0)) if len(found) else None


def _report(
    rater: str, votes: Sequence[CastVote], skips: int, by_pair: Mapping[str, Sequence[CastVote]]
) -> RaterReport:
    sided = [vote for vote in votes if vote.choice != "tie"]
    first = sum(vote.choice == vote.shown[0] for vote in sided)
    shares = []
    for vote in votes:
        others = [other for other in by_pair[vote.pair.id] if other.rater != rater]
        if others:
            shares.append(sum(o.choice == vote.choice for o in others) / len(others))
    return RaterReport(
        rater=rater,
        votes=len(votes),
        ties=len(votes) - len(sided),
        skips=skips,
        first=proportion(first, len(sided)),
        with_others=proportion(sum(shares), len(shares)),
    )


def _units(votes: Sequence[CastVote]) -> list[tuple[str, list[float]]]:
    """The values that each pair was given, with the pair's prompt."""
    units: dict[str, tuple[str, list[float]]] = {}
    for vote in votes:
        _, values = units.setdefault(vote.pair.id, (vote.pair.prompt_id, []))
        values.append(VALUES[vote.choice])
    return list(units.values())


def _alpha_with_interval(
    units: Sequence[tuple[str, Sequence[float]]], seed: int
) -> Estimate | None:
    value = alpha([values for _, values in units])
    places: dict[str, int] = {}
    where = [places.setdefault(prompt, len(places)) for prompt, _ in units]
    if value is None or len(places) < 2:
        return None
    by_prompt = np.zeros((len(places), 4))
    np.add.at(by_prompt, where, _sums([values for _, values in units]))
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(places), np.full(len(places), 1 / len(places)), size=_RESAMPLES)
    drawn = [_alpha_of(row) for row in draws @ by_prompt]
    known = [each for each in drawn if each is not None]
    low, high = np.percentile(known, [2.5, 97.5])
    return Estimate(value=value, low=float(low), high=float(high), n=len(places))


def _sums(units: Sequence[Sequence[float]]) -> np.ndarray:
    """(units, 4): the values' number, sum, sum of squares, and the disagreement within the unit.

    The last is the mean squared difference over the unit's ordered pairs times its number of
    values. All four add up over units.
    """
    rows = []
    for values in units:
        n, total, squares = len(values), sum(values), sum(v * v for v in values)
        within = (2 * n * squares - 2 * total * total) / (n - 1)
        rows.append((n, total, squares, within))
    return np.array(rows, dtype=float).reshape(-1, 4)


def _alpha_of(sums: np.ndarray) -> float | None:
    n, total, squares, within = map(float, sums)
    between = (2 * n * squares - 2 * total * total) / (n - 1) if n > 1 else 0.0
    # the smallest difference of one vote in a million is far above this
    if between <= 1e-9:
        return None
    return 1 - within / between
