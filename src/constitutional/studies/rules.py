"""What numbers say of a claim. Pure functions; the interval is over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict

from constitutional.evaluation.intervals import mean
from constitutional.studies.measuring import Values
from constitutional.studies.registration import Rule, Term

Verdict = Literal["holds", "does not hold", "cannot tell"]
HOLDS: Verdict = "holds"
FAILS: Verdict = "does not hold"
OPEN: Verdict = "cannot tell"


class Spread(BaseModel):
    """A mean over ``n`` seeds; below two of them there is no interval, and of none no mean."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float | None
    low: float | None
    high: float | None
    n: int


class Decision(BaseModel):
    """A rule with what was found."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    says: str
    difference: tuple[str, ...]
    bound: str
    found: Spread
    verdict: Verdict


def spread(values: Iterable[float]) -> Spread:
    """The mean with Student's 95% interval (:func:`~constitutional.evaluation.intervals.mean`)."""
    listed = list(values)
    if len(listed) < 2:
        return Spread(value=listed[0] if listed else None, low=None, high=None, n=len(listed))
    found = mean(listed)
    return Spread(value=found.value, low=found.low, high=found.high, n=found.n)


def paired(*sides: Mapping[int, float]) -> dict[int, float]:
    """The first less the second, less what the third is more than the fourth.

    There are one, two or four of them; only seeds that all have count.
    """
    signs = (1, -1, -1, 1)
    return {
        seed: sum(sign * side[seed] for sign, side in zip(signs, sides, strict=False))
        for seed in sides[0]
        if all(seed in side for side in sides)
    }


def decide(rule: Rule, values: Values) -> Decision:
    """A rule's difference, paired by seed, and whether its interval is where the rule wants it."""
    found = spread(paired(*(_of(term, values) for term in rule.terms)).values())
    return Decision(
        says=rule.says,
        difference=rule.difference,
        bound=rule.bound,
        found=found,
        verdict=_verdict(rule, found),
    )


def overall(verdicts: Iterable[Verdict]) -> Verdict:
    """Of the study: a claim does not hold where one of its rules does not."""
    listed = list(verdicts)
    if FAILS in listed:
        return FAILS
    return HOLDS if listed and all(verdict == HOLDS for verdict in listed) else OPEN


def _of(term: Term, values: Values) -> Mapping[int, float]:
    return values.get(term.arm, {}).get(term.measure, {})


def _verdict(rule: Rule, found: Spread) -> Verdict:
    low, high = found.low, found.high
    if low is None or high is None:
        return OPEN
    if rule.above is not None:
        return _side(low > rule.above, high <= rule.above)
    if rule.below is not None:
        return _side(high < rule.below, low >= rule.below)
    assert rule.within is not None  # one of the three is there
    return _side(
        -rule.within <= low and high <= rule.within, low > rule.within or high < -rule.within
    )


def _side(inside: bool, outside: bool) -> Verdict:
    return HOLDS if inside else FAILS if outside else OPEN
