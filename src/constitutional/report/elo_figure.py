"""Harmlessness against helpfulness Elo with the way of every arm (figures 2 and 3 of the paper)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from constitutional.report.canvas import (
    Metrics,
    Panel,
    counts,
    error_bars,
    label,
    looks,
    new_figure,
)
from constitutional.report.names import in_order, zero

#: More steps than these are not named beside a line.
_NAMED_STEPS = 8


class _Point(NamedTuple):
    helpfulness: Metrics
    harmlessness: Metrics


def elo_figure(metrics: Metrics) -> Any | None:
    """Policies as crosses of two intervals; snapshots small and joined. None without ratings."""
    points = _points(metrics)
    if not in_order(points):
        return None
    figure = new_figure(7, 4.6)
    axes = figure.subplots()
    _draw(axes, metrics, points)
    axes.set_title(_title(metrics, points, "\n"), fontsize=10)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), title="policy")
    return figure


def elo_panels(metrics: Metrics) -> list[Panel]:
    """The same for a page, with its legend below, and the way of RL from close by."""
    points = _points(metrics)
    if not in_order(points):
        return []

    def draw(axes: Any, near: bool = False) -> None:
        _draw(axes, metrics, points)
        if near:
            _show_only(axes, on_the_way)
        axes.figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)

    whole = Panel("Harmlessness against helpfulness Elo", 4.6, 4.4, draw)
    stops = {stop for arm in metrics.get("arms", {}) for stop in _way(metrics, arm, points)}
    on_the_way = [points[policy] for policy in stops]
    if not 1 < len(stops) < len(points):
        return [whole]
    return [whole, Panel("The same, RL from close by", 4.6, 4.4, partial(draw, near=True))]


def elo_caption(metrics: Metrics) -> str:
    """What the picture shows, in a sentence; "" without ratings."""
    points = _points(metrics)
    return _title(metrics, points, " ") if in_order(points) else ""


def _points(metrics: Metrics) -> dict[str, _Point]:
    elo = metrics.get("elo", {})
    helpfulness, harmlessness = elo.get("helpfulness", {}), elo.get("harmlessness", {})
    return {
        name: _Point(helpfulness[name], harmlessness[name])
        for name in helpfulness
        if name in harmlessness
    }


def _title(metrics: Metrics, points: Mapping[str, _Point], between: str) -> str:
    return (
        f"Elo with 95% intervals, {zero(metrics['elo'])} at 0; small: snapshots with their RL step"
        f"{between}({counts(p.harmlessness for p in points.values())} harmful prompts, "
        f"{counts(p.helpfulness for p in points.values())} harmless ones)"
    )


def _draw(axes: Any, metrics: Metrics, points: dict[str, _Point]) -> None:
    final = in_order(points)
    look = looks([*final, *metrics.get("arms", {})])
    for arm, entry in metrics.get("arms", {}).items():
        _draw_way(axes, arm, entry.get("along") or (), points, look[arm]["color"])
    for name in final:
        _draw_cross(axes, [points[name]], **look[name], label=label(name), markersize=8, zorder=3)
    axes.set(xlabel="helpfulness Elo", ylabel="harmlessness Elo")
    axes.grid(alpha=0.3)


def _way(metrics: Metrics, arm: str, points: Mapping[str, _Point]) -> list[str]:
    """What an arm's RL starts from, its snapshots, and the arm, as far as they are rated."""
    along = metrics["arms"][arm].get("along") or ()
    return [name for name in dict.fromkeys([*(e["policy"] for e in along), arm]) if name in points]


def _show_only(axes: Any, points: Sequence[_Point]) -> None:
    """Cut to these points with their intervals, and a margin."""
    for goal, set_limits in (("helpfulness", axes.set_xlim), ("harmlessness", axes.set_ylim)):
        ends = [getattr(point, goal)[end] for point in points for end in ("low", "high")]
        margin = 0.08 * (max(ends) - min(ends)) or 1.0
        set_limits(min(ends) - margin, max(ends) + margin)


def _draw_way(axes: Any, arm: str, along: Any, points: dict[str, _Point], color: str) -> None:
    """From the policy that RL starts from over the snapshots to the arm itself."""
    stops = [(entry["policy"], entry["step"]) for entry in along if entry["policy"] in points]
    way = list(dict.fromkeys([*(policy for policy, _ in stops), *([arm] if arm in points else [])]))
    axes.plot(
        [points[policy].helpfulness["value"] for policy in way],
        [points[policy].harmlessness["value"] for policy in way],
        color=color,
        linewidth=1,
        zorder=1,
        label=None if arm in points else label(arm),
    )
    snapshots = [(points[policy], step) for policy, step in stops if in_order([policy]) == []]
    if not snapshots:
        return
    _draw_cross(
        axes, [p for p, _ in snapshots], color=color, marker=".", linewidth=0.6, markersize=5
    )
    every = -(-len(snapshots) // _NAMED_STEPS)
    for point, step in snapshots[::every]:
        axes.annotate(
            str(step),
            (point.helpfulness["value"], point.harmlessness["value"]),
            xytext=(3, 3),
            textcoords="offset points",
            fontsize=7,
            color=color,
        )


def _draw_cross(axes: Any, points: list[_Point], **how: Any) -> None:
    helpfulness = [point.helpfulness for point in points]
    harmlessness = [point.harmlessness for point in points]
    axes.errorbar(
        [e["value"] for e in helpfulness],
        [e["value"] for e in harmlessness],
        xerr=error_bars(helpfulness),
        yerr=error_bars(harmlessness),
        linestyle="none",
        **{"linewidth": 1.2, **how},
    )
