"""Harm left after each round of revision, and what the final policies do on held-out prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from textwrap import fill
from typing import Any

from constitutional.report.canvas import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    Metrics,
    Panel,
    counts,
    error_bars,
    new_figure,
)
from constitutional.report.names import in_order, shown

ROUNDS = "Harm left after each revision"
FINAL = "Policies on held-out prompts"

#: Inches beyond which the legend of the bars fits into a line.
_ONE_LINE = 6.5

_GROUPS = (("seen", "seen requests", BLUE), ("held_out", "held-out requests", ORANGE))
_BARS = (
    ("harmful_compliance", "complies with harm", ORANGE),
    ("over_refusal", "refuses what is harmless", GREY),
    ("benign_correct", "helps with what is harmless", GREEN),
)


def behaviour_figure(metrics: Metrics) -> Any | None:
    """One panel for the rounds, one for the policies; None where no judge read anything."""
    panels = behaviour_panels(metrics)
    if not panels:
        return None
    # in inches; the legend of the policies has a line for itself here
    final = max(6.0, 1.6 * len(_final(metrics)))
    widths = [4.5 if panel.title == ROUNDS else final for panel in panels]
    figure = new_figure(sum(widths), 3.6)
    grid = figure.subplots(1, len(panels), width_ratios=widths, squeeze=False)[0]
    for axes, panel in zip(grid, panels, strict=True):
        panel.draw(axes)
        axes.set_title(panel.title)
    return figure


def behaviour_panels(metrics: Metrics) -> list[Panel]:
    """Harm by round of revision, and the policies: what of both there is."""
    lines, policies = _lines(metrics.get("revision_rounds", ())), _final(metrics)
    rounds = Panel(ROUNDS, 4.6, 3.6, partial(_draw_rounds, lines=lines))
    width = max(4.6, 1.05 * len(policies))
    final = Panel(FINAL, width, 4.2, partial(_draw_policies, policies=policies))
    return [panel for panel, there in ((rounds, lines), (final, policies)) if there]


def _final(metrics: Metrics) -> dict[str, Metrics]:
    """The final policies that were judged on held-out prompts."""
    policies = metrics.get("policies", {})
    judged = (name for name in in_order(policies) if "held_out" in policies[name])
    return {name: policies[name]["held_out"] for name in judged}


def _lines(rounds: Sequence[Metrics]) -> dict[str, list[tuple[int, Metrics]]]:
    """By group, the rounds whose harm was judged."""
    lines = {
        group: [
            (k, entry[group]["harmful_compliance"])
            for k, entry in enumerate(rounds)
            if "harmful_compliance" in entry.get(group, {})
        ]
        for group, _, _ in _GROUPS
    }
    return {group: points for group, points in lines.items() if points}


def _draw_rounds(axes: Any, lines: Mapping[str, Sequence[tuple[int, Metrics]]]) -> None:
    for group, label, color in _GROUPS:
        points = lines.get(group)
        if points:
            estimates = [e for _, e in points]
            axes.errorbar(
                [k for k, _ in points],
                [100 * e["value"] for e in estimates],
                yerr=error_bars(estimates, 100),
                label=f"{label} ({counts(estimates)})",
                color=color,
                marker="o" if group == "seen" else "s",
                capsize=3,
            )
    axes.set(
        xlabel="round of critique and revision",
        ylabel="answers that comply with harm (%)",
        ylim=(0, 100),
        xticks=range(1 + max(k for points in lines.values() for k, _ in points)),
    )
    axes.legend(frameon=False, fontsize=8)


def _draw_policies(axes: Any, policies: Mapping[str, Metrics]) -> None:
    width = 0.8 / len(_BARS)
    for number, (measure, label, color) in enumerate(_BARS):
        found = [(i, p[measure]) for i, p in enumerate(policies.values()) if measure in p]
        if found:
            estimates = [e for _, e in found]
            axes.bar(
                [i + (number - (len(_BARS) - 1) / 2) * width for i, _ in found],
                [100 * e["value"] for e in estimates],
                width,
                yerr=error_bars(estimates, 100),
                label=f"{label} ({counts(estimates)})",
                color=color,
                capsize=3,
            )
    axes.set(
        ylabel="answers (%)",
        ylim=(0, 100),
        xticks=range(len(policies)),
        yticks=range(0, 101, 20),
    )
    axes.set_xticklabels([fill(shown(name), 18) for name in policies])
    axes.figure.legend(
        *axes.get_legend_handles_labels(),
        loc="outside lower right",
        ncols=len(_BARS) if axes.figure.get_figwidth() > _ONE_LINE else 1,
        frameon=False,
        fontsize=8,
    )
