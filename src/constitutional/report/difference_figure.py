"""Differences between two runs with their intervals, one below the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from constitutional.evaluation.intervals import Estimate
from constitutional.report.canvas import BLUE, GREY, Panel, error_bars


def difference_panel(title: str, differences: Sequence[tuple[str, Estimate]]) -> Panel:
    """Shares by name, in percentage points; those whose interval does not hold 0 are blue."""

    def draw(axes: Any) -> None:
        for place, (_, estimate) in enumerate(differences):
            plain = estimate.model_dump()
            sure = estimate.low > 0 or estimate.high < 0
            axes.errorbar(
                [100 * estimate.value],
                [place],
                xerr=error_bars([plain], 100),
                color=BLUE if sure else GREY,
                marker="o",
                markersize=4,
                capsize=2,
                linewidth=1.2,
            )
        axes.axvline(0, color="black", linewidth=0.8, linestyle=":")
        axes.set_yticks(range(len(differences)), [name for name, _ in differences], fontsize=8)
        axes.set_xlabel("points", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.invert_yaxis()

    return Panel(title, 3.2, 0.8 + 0.28 * len(differences), draw)
