"""Figures of a run, as PNG and SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Metrics = Mapping[str, Any]

#: Colours that stay apart for colour-blind readers (Okabe and Ito 2008).
_BLUE, _ORANGE, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "#777777"


def draw_figures(metrics: Metrics, folder: Path) -> list[Path]:
    """Draw what the metrics allow; returns the files. Without a judge there is nothing to draw."""
    rounds: Sequence[Metrics] = metrics.get("revision_rounds", ())
    policies = {
        name: policy["held_out"]
        for name, policy in metrics["policies"].items()
        if "held_out" in policy
    }
    if not rounds or not policies:
        return []
    # the object interface, so that no display and no global state is needed
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.2))
    _draw_rounds(left, rounds)
    _draw_policies(right, policies)
    paths = [folder / f"harmlessness.{suffix}" for suffix in ("png", "svg")]
    for path in paths:
        # no date inside, so that the same run draws the same bytes
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
    return paths


def _draw_rounds(axes: Any, rounds: Sequence[Metrics]) -> None:
    for group, label, color in (
        ("seen", "seen requests", _BLUE),
        ("held_out", "held-out requests", _ORANGE),
    ):
        points = [
            (k, entry[group]["harmful_compliance"])
            for k, entry in enumerate(rounds)
            if "harmful_compliance" in entry.get(group, {})
        ]
        if points:
            axes.errorbar(
                [k for k, _ in points],
                [100 * e["value"] for _, e in points],
                yerr=_error_bars([e for _, e in points]),
                label=label,
                color=color,
                marker="o",
                capsize=3,
            )
    axes.set(
        title="Harm left after each revision",
        xlabel="round of critique and revision",
        ylabel="answers that comply with harm (%)",
        ylim=(0, 100),
        xticks=range(len(rounds)),
    )
    axes.legend(frameon=False)


def _draw_policies(axes: Any, policies: Mapping[str, Metrics]) -> None:
    from constitutional.report.summary import POLICIES

    bars = (
        ("harmful_compliance", "complies with harm", _ORANGE),
        ("over_refusal", "refuses what is harmless", _GREY),
        ("benign_correct", "helps with what is harmless", _GREEN),
    )
    width = 0.8 / len(bars)
    for number, (measure, label, color) in enumerate(bars):
        estimates = [policy[measure] for policy in policies.values()]
        axes.bar(
            [i + (number - (len(bars) - 1) / 2) * width for i in range(len(estimates))],
            [100 * e["value"] for e in estimates],
            width,
            yerr=_error_bars(estimates),
            label=label,
            color=color,
            capsize=3,
        )
    axes.set(
        title="Policies on held-out prompts",
        ylabel="answers (%)",
        ylim=(0, 100),
        xticks=range(len(policies)),
        xticklabels=[POLICIES[name] for name in policies],
        yticks=range(0, 101, 20),
    )
    axes.legend(frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.1), fontsize=8)


def _error_bars(estimates: Sequence[Metrics]) -> list[list[float]]:
    # a bound may miss the value by a rounding error, which matplotlib refuses
    return [
        [max(0.0, 100 * (e["value"] - e["low"])) for e in estimates],
        [max(0.0, 100 * (e["high"] - e["value"])) for e in estimates],
    ]
