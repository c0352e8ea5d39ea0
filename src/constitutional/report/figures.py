"""The figures of a run, as PNG and SVG: all that its metrics allow."""

from __future__ import annotations

from pathlib import Path

from constitutional.report.behaviour_figure import behaviour_figure
from constitutional.report.calibration_figure import calibration_figure
from constitutional.report.canvas import Metrics, drawing, save
from constitutional.report.elo_figure import elo_figure
from constitutional.report.training_figures import curves_figure, monitors_figure

FIGURES = {
    "harmlessness": behaviour_figure,
    "elo": elo_figure,
    "calibration": calibration_figure,
    "rl_curves": curves_figure,
    "rl_monitors": monitors_figure,
}


def draw_figures(metrics: Metrics, folder: Path) -> list[Path]:
    """Draw into ``folder``; returns the files. A figure whose numbers are not there is left out."""
    paths = []
    with drawing():
        for name, draw in FIGURES.items():
            figure = draw(metrics)
            if figure is not None:
                paths += save(figure, folder, name)
    return paths
