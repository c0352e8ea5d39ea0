"""Curves as SVG that the server draws: numbers in, places on a canvas out. Style is the sheet's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from constitutional.web.formats import decimal

#: Step and value.
Point = tuple[float, float]

WIDTH, HEIGHT = 340, 170
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 8, 22
_TICKS = 4


@dataclass(frozen=True)
class Line:
    """A curve; ``look`` chooses its colour."""

    name: str
    points: Sequence[Point]
    look: int = 0
    dashed: bool = False


@dataclass(frozen=True)
class Chart:
    """Curves over one axis of steps, and where everything stands on a canvas of fixed size."""

    title: str
    lines: Sequence[Line]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the canvas."""
        return WIDTH, HEIGHT

    @cached_property
    def _marks(self) -> list[float]:
        """The values that are marked; the curves lie between the first and the last."""
        values = [y for line in self.lines for _, y in line.points]
        return nice_ticks(min(values), max(values))

    @cached_property
    def _range(self) -> tuple[float, float, float, float]:
        xs = [x for line in self.lines for x, _ in line.points]
        right = max(xs) if max(xs) > min(xs) else min(xs) + 1
        return min(xs), right, self._marks[0], self._marks[-1]

    def x(self, step: float) -> float:
        """Where a step is."""
        low, high, _, _ = self._range
        return round(_LEFT + (WIDTH - _LEFT - _RIGHT) * (step - low) / (high - low), 1)

    def y(self, value: float) -> float:
        """Where a value is."""
        _, _, low, high = self._range
        return round(_TOP + (HEIGHT - _TOP - _BOTTOM) * (high - value) / (high - low), 1)

    @property
    def plain(self) -> tuple[int, int, int, int]:
        """Left, right, top and bottom of the field within the axes."""
        return _LEFT, WIDTH - _RIGHT, _TOP, HEIGHT - _BOTTOM

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Where a value is marked, and how it is written."""
        digits = _digits(self._marks[1] - self._marks[0])
        return [(self.y(value), decimal(value, digits)) for value in self._marks]

    @property
    def steps(self) -> tuple[float, float]:
        """The first and the last step."""
        low, high, _, _ = self._range
        return low, high

    def path(self, line: Line) -> str:
        """The curve, as the path of an SVG."""
        return " ".join(
            f"{'L' if number else 'M'}{self.x(x)} {self.y(y)}"
            for number, (x, y) in enumerate(line.points)
        )

    @property
    def said(self) -> str:
        """The curves in words, for whoever does not see them."""
        parts = []
        for line in self.lines:
            (first, begin), (last, end) = line.points[0], line.points[-1]
            values = [value for _, value in line.points]
            parts.append(
                f"{line.name}: {decimal(begin, 3)} at step {first:g}, {decimal(end, 3)} at step "
                f"{last:g}, between {decimal(min(values), 3)} and {decimal(max(values), 3)}"
            )
        return f"{self.title}, by step. {'; '.join(parts)}."


def chart(title: str, lines: Sequence[Line]) -> Chart | None:
    """A chart of those lines that have points; None where none has."""
    there = [line for line in lines if line.points]
    return Chart(title, there) if there else None


def points(history: Sequence[Mapping[str, Any]], key: str) -> list[Point]:
    """Step and value of an entry of a history, where it has a number."""
    return [
        (entry["step"], entry[key])
        for entry in history
        if isinstance(entry.get(key), int | float) and math.isfinite(entry[key])
    ]


def nice_ticks(low: float, high: float) -> list[float]:
    """Round values, evenly spaced, from at most ``low`` to at least ``high``."""
    if high - low < 1e-12 * max(1.0, abs(high)):
        pad = abs(high) / 2 or 0.5
        low, high = low - pad, high + pad
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    width = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * (1 - 1e-9))
    first, last = math.floor(low / width + 1e-9), math.ceil(high / width - 1e-9)
    return [number * width for number in range(first, last + 1)]


def _digits(width: float) -> int:
    """How many digits tell values apart that are ``width`` from each other, at most 6."""
    return next((n for n in range(6) if abs(round(width, n) - width) < 1e-9 * width), 6)


@dataclass(frozen=True)
class Scale:
    """Intervals in the rows of a table, all on one line of numbers."""

    low: float
    high: float
    width: int = 200

    @classmethod
    def of(cls, estimates: Sequence[Mapping[str, Any]], *, around: float = 0.0) -> Scale:
        """From the lowest to the highest end, ``around`` included."""
        ends = [around, *(e["low"] for e in estimates), *(e["high"] for e in estimates)]
        room = (max(ends) - min(ends) or 1.0) * 0.04
        return cls(min(ends) - room, max(ends) + room)

    def x(self, value: float) -> float:
        """Where a value is, from the left."""
        return round(self.width * (value - self.low) / (self.high - self.low), 1)
