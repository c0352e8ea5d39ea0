"""A study's figure: its measures in its arms, with intervals over the seeds and each seed's dot."""

from __future__ import annotations

import math
from pathlib import Path
from textwrap import fill
from typing import Any

from constitutional.report.canvas import drawing, error_bars, label, looks, new_figure, save
from constitutional.studies.reading import Study
from constitutional.studies.registration import Figure
from constitutional.studies.results import Numbers, Results


def draw(study: Study, results: Results, folder: Path) -> list[Path]:
    """``NAME.png`` and ``NAME.svg``; nothing where no figure is registered, or nothing was run."""
    figure = study.registration.figure
    if figure is None or not results.runs:
        return []
    with drawing():
        if figure.kind == "paths":
            return save(_panels(figure, results, study), folder, study.name)
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


def _panels(figure: Figure, results: Results, study: Study) -> Any:
    """A panel for each arm, with the same axes."""
    arms = list(results.arms)
    canvas = new_figure(max(6.4, 2.8 * len(arms)), 3.6)
    canvas.suptitle(study.registration.title, fontsize=9)
    grid = canvas.subplots(1, len(arms), sharex=True, sharey=True, squeeze=False)
    for axes, arm in zip(grid[0], arms, strict=True):
        _paths(axes, figure, results, study, arm)
        axes.set_title(arm, fontsize=8)
        axes.tick_params(labelsize=8)
        axes.set_xlabel(figure.x_label, fontsize=8)
        if arm == arms[0]:
            axes.set_ylabel(figure.y_label, fontsize=8)
            axes.legend(fontsize=6, frameon=False)
    return canvas


def _paths(axes: Any, figure: Figure, results: Results, study: Study, arm: str) -> None:
    """Lines through the means; the last point of each is marked, with its intervals."""
    measures, looks_of = results.arms[arm], looks(figure.paths)
    for name, path in figure.paths.items():
        there = [at for at in path if all(m in measures and measures[m].seeds for m in at)]
        if not there:
            continue
        scales = [_scale(study, measure) for measure in there[0]]
        points = [[measures[measure].found for measure in at] for at in there]
        across, up = (
            [scale * (point[side].value or 0.0) for point in points]
            for side, scale in enumerate(scales)
        )
        bars = {
            key: error_bars([end.model_dump()], scale)
            for key, end, scale in zip(("xerr", "yerr"), points[-1], scales, strict=True)
            if end.low is not None
        }
        look = looks_of[name]
        axes.plot(across, up, ".-", color=look["color"], linewidth=1, markersize=4)
        last = {"x": across[-1:], "y": up[-1:], **bars, **look}
        axes.errorbar(**last, markersize=4, capsize=2, linewidth=1, label=label(name))


def _bars(axes: Any, figure: Figure, results: Results, study: Study) -> None:
    """Measures side by side, and in each of them the arms."""
    arms = [arm for arm in results.arms if _drawn(results, arm, figure)]
    width = 0.8 / max(1, len(arms))
    looks_of = looks(arms)
    for number, arm in enumerate(arms):
        for name in _drawn(results, arm, figure):
            place, numbers = figure.measures.index(name), results.arms[arm][name]
            scale = _scale(study, name)
            at = place + (number - (len(arms) - 1) / 2) * width
            look = looks_of[arm]
            label = arm if name == _drawn(results, arm, figure)[0] else None
            height = scale * (numbers.found.value or 0.0)
            axes.bar(at, height, 0.9 * width, color=look["color"], alpha=0.35)
            _point(axes, at, numbers, scale, **look, label=label)
            for value in numbers.seeds.values():
                axes.plot(at + 0.25 * width, scale * value, ".", color=look["color"], markersize=3)
    axes.set_xticks(range(len(figure.measures)), [_words(name) for name in figure.measures])
    axes.axhline(0, color="black", linewidth=0.6)
    if len(arms) > 1:
        axes.legend(fontsize=7, frameon=False)


def _drawn(results: Results, arm: str, figure: Figure) -> list[str]:
    """The figure's measures that an arm has numbers of."""
    measures = results.arms[arm]
    return [m for m in figure.measures if m in measures and measures[m].found.value is not None]


def _lines(axes: Any, figure: Figure, results: Results, study: Study) -> None:
    """Each measure as a line over the number that an arm has."""
    places = sorted((x, arm) for arm, x in (figure.x or {}).items())
    looks_of = looks(figure.measures)
    for name in figure.measures:
        scale = _scale(study, name)
        there = [
            (x, numbers)
            for x, arm in places
            if (numbers := results.arms[arm].get(name)) and numbers.found.value is not None
        ]
        values = [scale * (n.found.value or 0.0) for _, n in there]
        look = looks_of[name]
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
    return fill(name.replace("_", " "), 14)
