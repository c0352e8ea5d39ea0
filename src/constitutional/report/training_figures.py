"""What the training of each arm did step by step, and what the snapshots' answers show along it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from constitutional.report.canvas import Metrics, counts, error_bars, label, looks, new_figure

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

Draw = Callable[[Any], None]


def curves_figure(metrics: Metrics) -> Any | None:
    """A panel for each entry of the history, a line for each arm; None without a history."""
    histories = {
        arm: entry["training"]["history"]
        for arm, entry in metrics.get("arms", {}).items()
        if entry.get("training")
    }

    def panel(title: str, keys: Sequence[str]) -> Draw | None:
        there = {arm: h for arm, h in histories.items() if any(_points(h, key) for key in keys)}

        def draw(axes: Any) -> None:
            _draw_curves(axes, title, keys, there)

        return draw if there else None

    panels = [panel(title, keys) for title, keys in _PANELS.items()]
    return _grid([draw for draw in panels if draw], "RL by step: means over each step's answers")


def _draw_curves(
    axes: Any, title: str, keys: Sequence[str], histories: Mapping[str, Sequence[Metrics]]
) -> None:
    look = looks(histories)
    axes.set_title(title, fontsize=8)
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
    alongs = {
        arm: entry["along"] for arm, entry in metrics.get("arms", {}).items() if entry.get("along")
    }
    look = looks(alongs)

    def panel(name: str, title: str) -> Draw | None:
        lines = {
            arm: [
                (entry["step"], entry["monitors"][name])
                for entry in along
                if name in entry["monitors"]
            ]
            for arm, along in alongs.items()
        }
        lines = {arm: points for arm, points in lines.items() if points}

        def draw(axes: Any) -> None:
            _draw_monitor(axes, title, lines, look)

        return draw if lines else None

    panels = [panel(name, title) for name, title in _MONITORS.items()]
    return _grid([draw for draw in panels if draw], "Answers to held-out prompts along RL (%)")


def _draw_monitor(
    axes: Any,
    title: str,
    lines: Mapping[str, Sequence[tuple[int, Metrics]]],
    look: Mapping[str, Mapping[str, str]],
) -> None:
    found = [monitor for points in lines.values() for _, monitor in points]
    by = " or ".join(sorted({_BY[monitor["by"]] for monitor in found}))
    number = counts(monitor["estimate"] for monitor in found)
    axes.set_title(f"{title}, {by}\n({number} prompts)", fontsize=8)
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
    threshold = found[0]["threshold"]
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


def _grid(panels: Sequence[Draw], title: str) -> Any | None:
    """The panels four to a row, and one legend for all."""
    if not panels:
        return None
    columns = min(4, len(panels))
    rows = -(-len(panels) // columns)
    figure = new_figure(2.8 * columns, 2.3 * rows + 0.9)
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, draw in zip(grid, panels, strict=False):
        draw(axes)
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=7)
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
