"""Numbers of a study, read from its runs; what is not there is counted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from constitutional.reading import Run
from constitutional.studies.derived import DERIVED
from constitutional.studies.registration import Measure, Registration

#: Numbers by arm, measure and seed; a seed without a number is not in it.
Values = Mapping[str, Mapping[str, Mapping[int, float]]]


def number_at(metrics: Any, path: str) -> float | None:
    """The number at a dotted path; None where nothing, or no finite number, stands there."""
    place = metrics
    for part in path.split("."):
        if isinstance(place, Mapping):
            place = place.get(part)
        elif isinstance(place, Sequence) and not isinstance(place, str) and part.isdigit():
            place = place[int(part)] if int(part) < len(place) else None
        else:
            return None
    if isinstance(place, bool) or not isinstance(place, int | float) or not math.isfinite(place):
        return None
    return float(place)


def measured(run: Run, measure: Measure) -> float | None:
    """The measure of one run; None where one of its numbers is missing."""
    if measure.path is None:
        assert measure.derived is not None  # one of the two is there
        return DERIVED[measure.derived](run)
    metrics = run.metrics
    value = number_at(metrics, measure.path)
    if measure.minus is None or value is None:
        return value
    other = number_at(metrics, measure.minus)
    return None if other is None else value - other


def values_of(
    registration: Registration, runs: Mapping[tuple[str, int], Run]
) -> dict[str, dict[str, dict[int, float]]]:
    """All measures of the runs that are done, by arm and seed."""
    values: dict[str, dict[str, dict[int, float]]] = {}
    for arm in registration.arms:
        values[arm] = {}
        for name, measure in registration.measures.items():
            if arm not in registration.arms_of(name):
                continue
            values[arm][name] = {
                seed: value
                for seed in registration.seeds
                if (arm, seed) in runs and (value := measured(runs[arm, seed], measure)) is not None
            }
    return values
