"""A study's figure: its measures in its arms, with intervals over the seeds and each seed's dot."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from constitutional.report.canvas import drawing, error_bars, looks, new_figure, save
from constitutional.studies.reading import Study
from constitutional.studies.registration import Figure
from constitutional.studies.results import Numbers, Results


def draw(study: Study, results: Results, folder: Path) -> list[Path]:
    """``NAME.png`` and ``NAME.svg``; nothing where no figure is registered, or nothing was run."""
    figure = study.registration.figure
    if figure is None or not results.runs:
        return []
    with drawing():
        canvas = new_figure(6.4, 3.6)
        axes = canvas.subplots()
        if figure.kind == "line":
            _lines(axes, figure, results, study)
        else:
            _bars(axes, figure, results, study)
        axes.set_title(study.registration.title, fontsize=9)
        axes.tick_params(labelsize=8)
        _label(axes, figure, study)
        return save(canvas, folder, study.name)


def _bars(axes: Any, figure: Figure, results: Results, study: Study) -> None:
    """Measures side by side, and in each of them the arms."""
    arms = [a for a in results.arms if any(m in results.arms[a] for m in figure.measures)]
    width = 0.8 / max(1, len(arms))
    colours = looks(arms)
    for number, arm in enumerate(arms):
        for place, name in enumerate(figure.measures):
            numbers = results.arms[arm].get(name)
            if numbers is None or numbers.found.value is None:
                continue
            scale = _scale(study, name)
            at = place + (number - (len(arms) - 1) / 2) * width
            colour = colours[arm]["color"]
            label = arm if place == 0 and len(arms) > 1 else None
            axes.bar(at, scale * numbers.found.value, 0.9 * width, color=colour, alpha=0.35)
            _point(
                axes, at, numbers, scale, color=colour, marker=colours[arm]["marker"], label=label
            )
            for value in numbers.seeds.values():
                axes.plot(at + 0.25 * width, scale * value, ".", color=colour, markersize=3)
    axes.set_xticks(range(len(figure.measures)), [_words(name) for name in figure.measures])
    axes.axhline(0, color="black", linewidth=0.6)
    if len(arms) > 1:
        axes.legend(fontsize=7, frameon=False)


def _lines(axes: Any, figure: Figure, results: Results, study: Study) -> None:
    """Each measure as a line over the number that an arm has."""
    places = sorted((x, arm) for arm, x in (figure.x or {}).items())
    colours = looks(figure.measures)
    for name in figure.measures:
        scale = _scale(study, name)
        there = [
            (x, numbers)
            for x, arm in places
            if (numbers := results.arms[arm].get(name)) and numbers.found.value is not None
        ]
        values = [scale * (n.found.value or 0.0) for _, n in there]
        look = colours[name]
        axes.plot([x for x, _ in there], values, color=look["color"], linewidth=1.2)
        for number, (x, numbers) in enumerate(there):
            _point(axes, x, numbers, scale, **look, label=_words(name) if number == 0 else None)
            for value in numbers.seeds.values():
                axes.plot(x, scale * value, ".", color=look["color"], markersize=3, alpha=0.5)
    numbers_on_axis = [x for x, _ in places]
    if min(numbers_on_axis, default=0) > 0 and max(numbers_on_axis) / min(numbers_on_axis) > 8:
        axes.set_xscale("log")
    axes.set_xticks(numbers_on_axis, [f"{x:g}" for x in numbers_on_axis])
    axes.minorticks_off()
    axes.set_xlabel(figure.x_label, fontsize=8)
    if len(figure.measures) > 1:
        axes.legend(fontsize=7, frameon=False)


def _point(axes: Any, x: float, numbers: Numbers, scale: float, **look: Any) -> None:
    found = numbers.found
    bars = None
    if found.value is not None and found.low is not None:
        bars = error_bars([found.model_dump()], scale)
    value = math.nan if found.value is None else scale * found.value
    axes.errorbar([x], [value], yerr=bars, markersize=4, capsize=2, linewidth=1.2, **look)


def _label(axes: Any, figure: Figure, study: Study) -> None:
    units = {study.registration.measures[name].unit for name in figure.measures}
    if units == {"share"}:
        axes.set_ylabel("percent", fontsize=8)


def _scale(study: Study, measure: str) -> float:
    return 100.0 if study.registration.measures[measure].unit == "share" else 1.0


def _words(name: str) -> str:
    return name.replace("_", " ")
