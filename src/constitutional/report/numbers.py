"""Estimates as cells of a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from constitutional.evaluation.intervals import Estimate
from constitutional.report.blocks import Number

#: Where a number is not there: it is unknown, and nothing stands in for it.
NONE = Number("–")


def percent(estimate: Mapping[str, Any] | None) -> Number:
    """A share in percent."""
    if estimate is None:
        return NONE
    low, high = (f"{100 * estimate[end]:.1f}" for end in ("low", "high"))
    return Number(f"{100 * estimate['value']:.1f}", f"{low} to {high}")


def rating(estimate: Mapping[str, Any] | None) -> Number:
    """An Elo rating; the one that the others count from has no interval."""
    if estimate is None:
        return NONE
    # adding 0 makes minus nothing plain nothing
    value, low, high = (round(estimate[part]) + 0 for part in ("value", "low", "high"))
    return Number(str(value), "" if low == high == 0 else f"{low} to {high}")


def plain_number(estimate: Mapping[str, Any] | None, digits: int = 1) -> Number:
    """A number that is no share, such as a length in words."""
    if estimate is None:
        return NONE
    low, high = (f"{estimate[end]:.{digits}f}" for end in ("low", "high"))
    return Number(f"{estimate['value']:.{digits}f}", f"{low} to {high}")


def decimal(value: float | None, digits: int = 3) -> str:
    """A number without an interval."""
    return NONE.text if value is None else f"{value:.{digits}f}"


def shift(estimate: Estimate | None, scale: float = 1.0, digits: int = 1) -> Number:
    """A difference, with its sign; sure where its interval does not hold 0."""
    if estimate is None:
        return NONE
    value, low, high = (scale * end for end in (estimate.value, estimate.low, estimate.high))
    sure = low > 0 or high < 0
    return Number(f"{value:+.{digits}f}", f"{low:+.{digits}f} to {high:+.{digits}f}", sure)


def lasting(seconds: float) -> str:
    """Seconds in the unit that reads best."""
    if seconds < 90:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"


def counted(number: int, one: str, many: str | None = None) -> str:
    """``1 chain``, ``750 chains``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
