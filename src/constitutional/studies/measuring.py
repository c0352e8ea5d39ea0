"""Numbers of a study, read from the ``metrics.json`` of its runs; what is not there is counted."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from constitutional.errors import RunFolderError
from constitutional.reading import Run
from constitutional.runs.files import explain
from constitutional.runs.folder import METRICS
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


class Measured(NamedTuple):
    """A run that is done: its folder, and what it has measured."""

    folder: Path
    metrics: Any


def value_of(run: Measured, measure: Measure) -> float | None:
    """The measure of one run; None where one of its numbers is missing."""
    if measure.derived is not None:
        value = DERIVED[measure.derived](Run(run.folder))
        return value if value is not None and math.isfinite(value) else None
    assert measure.path is not None  # one of the two is there
    value = number_at(run.metrics, measure.path)
    if measure.minus is None or value is None:
        return value
    other = number_at(run.metrics, measure.minus)
    return None if other is None else value - other


def read_metrics(folder: Path) -> Any | None:
    """What a run has measured; None while it is not done."""
    path = folder / METRICS
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise explain(error, path) from error
    except ValueError:
        raise RunFolderError(f"{path} is damaged: give the run's command again") from None


def values_of(
    registration: Registration, runs: Mapping[tuple[str, int], Measured]
) -> dict[str, dict[str, dict[int, float]]]:
    """All measures of the runs that are done, which ``runs`` has by arm and seed."""
    values: dict[str, dict[str, dict[int, float]]] = {}
    for arm in registration.arms:
        values[arm] = {}
        for name, measure in registration.measures.items():
            if arm not in registration.arms_of(name):
                continue
            values[arm][name] = {
                seed: value
                for seed in registration.seeds
                if (arm, seed) in runs and (value := value_of(runs[arm, seed], measure)) is not None
            }
    return values
