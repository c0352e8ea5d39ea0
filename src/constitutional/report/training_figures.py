"""What the training of each arm did step by step, and what the snapshots' answers show along it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from constitutional.report.canvas import (
    BLUE,
    Metrics,
    Panel,
    counts,
    error_bars,
    label,
    looks,
    new_figure,
)

#: Entries of the history by panel, the second one dashed (``docs/metrics.md`` defines them).
_PANELS = {
    "reward (raw score of the arm's own PM)": ("reward",),
    "score by the held-out PM": ("reward_held_out",),
    "KL from the start (nats): k1, dashed k3": ("kl_k1", "kl_k3"),
    "entropy (nats a token)": ("entropy",),
    "share clipped": ("clip_share",),
    "explained variance of the values": ("explained_variance",),
    "length (tokens)": ("response_length",),
    "share that ends its text": ("end_of_text_rate",),
    "margin of the label's answer (DPO)": ("margin",),
    "agreement with the labels (DPO)": ("agreement",),
}
_MONITORS = {
    "evasions": "evades",
    "reasoned_refusals": "refuses with reason",
    "over_refusals": "refuses what is harmless",
    "stock_phrases": "says a stock phrase that has grown",
}
_BY = {"judge": "as judged", "text": "by wording"}


#: Inches of a panel among others.
_WIDTH, _HEIGHT = 2.8, 2.3


def curves_figure(metrics: Metrics) -> Any | None:
    """A panel for each entry of the history, a line for each arm; None without a history."""
    return _grid(curve_panels(metrics), "RL by step: means over each step's answers")


def curve_panels(metrics: Metrics) -> list[Panel]:
    """Each entry of the history by itself, as far as some arm has numbers of it."""
    histories = {
        arm: entry["training"]["history"]
        for arm, entry in metrics.get("arms", {}).items()
        if entry.get("training")
    }
    panels = []
    for title, keys in _PANELS.items():
        there = {arm: h for arm, h in histories.items() if any(_points(h, key) for key in keys)}
        if there:
            draw = partial(_draw_curves, keys=keys, histories=there)
            panels.append(Panel(title, _WIDTH, _HEIGHT, draw))
    return panels


def _draw_curves(
    axes: Any, keys: Sequence[str], histories: Mapping[str, Sequence[Metrics]]
) -> None:
    look = looks(histories)
    _label_steps(axes)
    for arm, history in histories.items():
        for key, line in zip(keys, ("-", "--"), strict=False):
            points = _points(history, key)
            axes.plot(
                [step for step, _ in points],
                [value for _, value in points],
                color=look[arm]["color"],
                marker=look[arm]["marker"],
                markersize=3,
                markevery=max(1, len(points) // 8),
                linewidth=1,
                linestyle=line,
                label=f"{label(arm)} (n = {len(history)} steps)" if line == "-" else None,
            )
            # where the training tells, such as the reward of RLOO and GRPO
            widths = dict(_points(history, f"{key}_half_width"))
            band = [(step, value, widths[step]) for step, value in points if step in widths]
            if band:
                axes.fill_between(
                    [step for step, _, _ in band],
                    [value - width for _, value, width in band],
                    [value + width for _, value, width in band],
                    color=look[arm]["color"],
                    alpha=0.2,
                    linewidth=0,
                )


def monitors_figure(metrics: Metrics) -> Any | None:
    """A panel for each monitor, a line for each arm, dotted its threshold; None without any."""
    return _grid(monitor_panels(metrics), "Answers to held-out prompts along RL (%)")


def monitor_panels(metrics: Metrics) -> list[Panel]:
    """Each monitor by itself, as far as some arm has it."""
    alongs = {
        arm: entry["along"] for arm, entry in metrics.get("arms", {}).items() if entry.get("along")
    }
    panels = []
    for name, title in _MONITORS.items():
        lines = {
            arm: [
                (entry["step"], entry["monitors"][name])
                for entry in along
                if name in entry["monitors"]
            ]
            for arm, along in alongs.items()
        }
        lines = {arm: points for arm, points in lines.items() if points}
        if lines:
            found = [monitor for points in lines.values() for _, monitor in points]
            by = " or ".join(sorted({_BY[monitor["by"]] for monitor in found}))
            number = counts(monitor["estimate"] for monitor in found)
            draw = partial(_draw_monitor, lines=lines, look=looks(alongs))
            panels.append(Panel(f"{title}, {by}\n({number} prompts)", _WIDTH, _HEIGHT, draw))
    return panels


def _draw_monitor(
    axes: Any,
    lines: Mapping[str, Sequence[tuple[int, Metrics]]],
    look: Mapping[str, Mapping[str, str]],
) -> None:
    _label_steps(axes)
    for arm, points in lines.items():
        estimates = [monitor["estimate"] for _, monitor in points]
        axes.errorbar(
            [step for step, _ in points],
            [100 * e["value"] for e in estimates],
            yerr=error_bars(estimates, 100),
            label=label(arm),
            capsize=2,
            markersize=4,
            linewidth=1,
            **look[arm],
        )
    threshold = next(iter(lines.values()))[0][1]["threshold"]
    if threshold is not None:
        axes.axhline(100 * threshold, color="black", linewidth=0.8, linestyle=":")
    axes.set_ylim(bottom=0)


def _points(history: Sequence[Metrics], key: str) -> list[tuple[int, float]]:
    """Step and value where there is a number: a training without critic has no values."""
    return [
        (entry["step"], entry[key])
        for entry in history
        if entry.get(key) is not None and math.isfinite(entry[key])
    ]


def loss_panel(title: str, losses: Sequence[tuple[int, float]]) -> Panel:
    """The training loss of another model by step."""

    def draw(axes: Any) -> None:
        _label_steps(axes)
        axes.plot(*zip(*losses, strict=True), color=BLUE, linewidth=1)
        axes.set_ylim(bottom=0)

    return Panel(title, _WIDTH, _HEIGHT, draw)


def _label_steps(axes: Any) -> None:
    axes.set_xlabel("step", fontsize=8)
    axes.tick_params(labelsize=7)


def _grid(panels: Sequence[Panel], title: str) -> Any | None:
    """The panels four to a row, and one legend for all."""
    if not panels:
        return None
    columns = min(4, len(panels))
    rows = -(-len(panels) // columns)
    figure = new_figure(_WIDTH * columns, _HEIGHT * rows + 0.9)
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, panel in zip(grid, panels, strict=False):
        panel.draw(axes)
        axes.set_title(panel.title, fontsize=8)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    figure.suptitle(title, fontsize=10)
    lines: dict[str, Any] = {}
    for axes in grid:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            lines.setdefault(name, handle)
    figure.legend(
        lines.values(), lines.keys(), loc="outside lower center", ncols=4, frameon=False, fontsize=8
    )
    return figure
