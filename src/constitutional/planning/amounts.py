"""A number that may not be known exactly, with the range that it lies in."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, model_validator


class Amount(BaseModel):
    """``value`` is the estimate, not negative; ``low`` and ``high`` are its range.

    Sums and products add and multiply the ends: the range is that of all parts being off together.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: float
    value: float
    high: float

    @model_validator(mode="after")
    def _in_order(self) -> Amount:
        if not 0 <= self.low <= self.value <= self.high:
            raise ValueError(f"expected 0 <= low <= value <= high, found {self.ends}")
        return self

    @property
    def ends(self) -> tuple[float, float, float]:
        """All three."""
        return self.low, self.value, self.high

    @property
    def is_exact(self) -> bool:
        """Whether nothing about it is estimated."""
        return self.low == self.high

    def __add__(self, other: Amount | float) -> Amount:
        low, value, high = amount(other).ends
        return Amount(low=self.low + low, value=self.value + value, high=self.high + high)

    def __mul__(self, other: Amount | float) -> Amount:
        low, value, high = amount(other).ends
        return Amount(low=self.low * low, value=self.value * value, high=self.high * high)

    __radd__ = __add__
    __rmul__ = __mul__

    def at_most(self, limit: float) -> Amount:
        """The same, where nothing can be above ``limit``."""
        return between(*(min(end, limit) for end in self.ends))


def between(low: float, value: float, high: float) -> Amount:
    """An estimate and its range."""
    return Amount(low=low, value=value, high=high)


def amount(known: Amount | float) -> Amount:
    """A known number as an amount; an amount as it is."""
    return known if isinstance(known, Amount) else between(known, known, known)


def total(amounts: Iterable[Amount]) -> Amount:
    """The sum; 0 for none."""
    return sum(amounts, start=amount(0))


def largest(amounts: Iterable[Amount]) -> Amount:
    """The largest of each end; 0 for none."""
    ends = [each.ends for each in amounts] or [(0.0, 0.0, 0.0)]
    return between(*(max(column) for column in zip(*ends, strict=True)))
