"""How far the probabilities of the labels and of the preference models hold, with counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from constitutional.report.canvas import Metrics, Panel, error_bars, label, looks, new_figure

LABELS = "AI labels against the judge"
PREFERENCE_MODELS = "Preference model on held-out comparisons"


class _Bin(NamedTuple):
    """``estimate`` is None for a single soft label, which has no interval."""

    predicted: float
    held: float
    estimate: Metrics | None
    n: int


class _Curve(NamedTuple):
    bins: Sequence[_Bin]
    error: float | None

    @property
    def n(self) -> int:
        return sum(one.n for one in self.bins)


def calibration_figure(metrics: Metrics) -> Any | None:
    """Labels against the judge, preference models against held-out labels; a line for each arm."""
    panels = calibration_panels(metrics)
    if not panels:
        return None
    figure = new_figure(4.6 * len(panels), 4.8)
    axes = figure.subplots(2, len(panels), height_ratios=panels[0].rows, sharex=True, squeeze=False)
    for column, panel in enumerate(panels):
        panel.draw(axes[0][column], axes[1][column])
        axes[0][column].set_title(panel.title, fontsize=10)
    return figure


def calibration_panels(metrics: Metrics) -> list[Panel]:
    """The two by themselves, as far as there are numbers."""
    arms: Mapping[str, Metrics] = metrics.get("arms", {})
    look = looks(arms)
    everything = {LABELS: _of_labels, PREFERENCE_MODELS: _of_preference_model}
    panels = []
    for title, curve_of in everything.items():
        curves = {arm: curve_of(entry) for arm, entry in arms.items()}
        curves = {arm: curve for arm, curve in curves.items() if curve.bins}
        if curves:
            draw = partial(_draw_panel, curves=curves, look=look)
            panels.append(Panel(title, 4.6, 4.4, draw, rows=(2.4, 1)))
    return panels


def _draw_panel(
    above: Any, below: Any, curves: Mapping[str, _Curve], look: Mapping[str, Mapping[str, str]]
) -> None:
    _draw_curves(above, curves, look)
    _draw_counts(below, curves, look)


def _of_labels(arm: Metrics) -> _Curve:
    labels = arm.get("labels") or {}
    agreement = (labels.get("account") or {}).get("agreement") or {}
    bins = [
        _Bin(b["mean_confidence"], b["accuracy"]["value"], b["accuracy"], b["accuracy"]["n"])
        for b in agreement.get("calibration", ())
    ]
    return _Curve(bins, labels.get("ece"))


def _of_preference_model(arm: Metrics) -> _Curve:
    found = arm.get("preference_model") or {}
    card = (found.get("report") or {}).get("all") or {}
    bins = [_Bin(b["confidence"], b["label"], b["estimate"], b["n"]) for b in card.get("curve", ())]
    return _Curve(bins, found.get("ece"))


def _draw_curves(
    axes: Any, curves: Mapping[str, _Curve], look: Mapping[str, Mapping[str, str]]
) -> None:
    axes.plot((0.5, 1), (0.5, 1), color="black", linewidth=0.8, linestyle=":")
    for arm, curve in curves.items():
        error = "" if curve.error is None else f", ECE {curve.error:.3f}"
        axes.errorbar(
            [one.predicted for one in curve.bins],
            [one.held for one in curve.bins],
            yerr=error_bars([one.estimate for one in curve.bins]),
            label=f"{label(arm)} (n = {curve.n}{error})",
            capsize=2,
            markersize=4,
            linewidth=1,
            **look[arm],
        )
    axes.set(ylabel="how often it holds", xlim=(0.49, 1.01), ylim=(0, 1.02))
    axes.legend(frameon=False, loc="lower right", fontsize=7)


def _draw_counts(
    axes: Any, curves: Mapping[str, _Curve], look: Mapping[str, Mapping[str, str]]
) -> None:
    width = 0.04 / len(curves)
    for number, (arm, curve) in enumerate(curves.items()):
        shift = (number - (len(curves) - 1) / 2) * width
        places = [one.predicted + shift for one in curve.bins]
        bars = axes.bar(places, [one.n for one in curve.bins], width, color=look[arm]["color"])
        axes.bar_label(bars, fontsize=6)
    axes.set(xlabel="probability of the answer that it prefers", ylabel="comparisons")
    axes.margins(y=0.2)
