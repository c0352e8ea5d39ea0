"""How numbers are written on the pages; what is unknown is a dash, never a number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from constitutional.report.names import is_snapshot, shown, stage_title

UNKNOWN = "–"


def count(value: int | None) -> str:
    """``12 345``: thousands apart, by a narrow blank."""
    return UNKNOWN if value is None else f"{value:,}".replace(",", "\u202f")


def decimal(value: float | None, digits: int = 2) -> str:
    """A number with so many digits behind the point, a true minus sign in front."""
    return UNKNOWN if value is None else f"{value:.{digits}f}".replace("-", "−")


def percent(value: float | None, digits: int = 1) -> str:
    """A share as percent."""
    return UNKNOWN if value is None else f"{100 * value:.{digits}f}%"


def interval(estimate: Mapping[str, Any] | None, *, scale: float = 100, digits: int = 1) -> str:
    """``3.4 to 5.6``: the ends of an estimate's 95% interval, in percent unless scaled."""
    if estimate is None:
        return UNKNOWN
    low, high = (decimal(scale * estimate[end], digits) for end in ("low", "high"))
    return f"{low} to {high}"


def duration(seconds: float | None) -> str:
    """``4.1 s``, ``3 min 08 s``, ``2 h 05 min``."""
    if seconds is None:
        return UNKNOWN
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def words(name: str) -> str:
    """A name of a measure or a stage, for people: no underscores."""
    return name.replace("_", " ")


def policy(name: str) -> str:
    """A policy as people call it; a snapshot with its step."""
    arm, _, step = name.rpartition("@")
    return f"{shown(arm)}, step {step}" if is_snapshot(name) else shown(name)


FILTERS: Mapping[str, Callable[..., str]] = {
    "count": count,
    "decimal": decimal,
    "percent": percent,
    "interval": interval,
    "duration": duration,
    "words": words,
    "stage": stage_title,
}
