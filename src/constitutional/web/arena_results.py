"""Ratings as the results page draws them: rows with the ends of their intervals on one scale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from constitutional.arena.results import GoalResults
from constitutional.evaluation.elo import EloTable
from constitutional.evaluation.intervals import Estimate


@dataclass(frozen=True)
class Rating:
    """A policy's rating; ``low``, ``value`` and ``high`` are places from 0 to 100 on the scale.

    ``unbounded`` where it says on which side of zero the policy is, and not how far.
    """

    policy: str
    elo: Estimate
    low: float
    value: float
    high: float
    unbounded: bool
    is_zero: bool


@dataclass(frozen=True)
class ShownResults:
    """The results of one goal. ``zero`` is where a rating of 0 is on the scale."""

    found: GoalResults
    ratings: tuple[Rating, ...]
    zero: float


def shown_results(found: GoalResults) -> ShownResults:
    """The same with places on a scale that holds every interval."""
    if found.elo is None:
        return ShownResults(found, (), 0.0)
    ends = [end for e in found.elo.ratings.values() for end in (e.low, e.high)]
    low, high = min(ends), max(ends)
    # two ratings that are both exactly 0 need some width
    span = max(high - low, 1.0)

    def place(elo: float) -> float:
        return round(4 + 92 * (elo - low) / span, 2)

    ratings = tuple(_rating(found.elo, name, place) for name in found.elo.ratings)
    return ShownResults(found, ratings, place(0.0))


def _rating(table: EloTable, name: str, place: Callable[[float], float]) -> Rating:
    elo = table.ratings[name]
    return Rating(
        policy=name,
        elo=elo,
        low=place(elo.low),
        value=place(elo.value),
        high=place(elo.high),
        unbounded=name in table.unbounded,
        is_zero=name == table.zero,
    )
