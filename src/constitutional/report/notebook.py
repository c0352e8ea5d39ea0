"""A run in a notebook: its table, and figures that show themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from typing import Any

from constitutional.errors import InputError, nearest
from constitutional.reading.run import Run
from constitutional.reading.so_far import metrics_so_far
from constitutional.report.canvas import drawing
from constitutional.report.figures import FIGURES
from constitutional.report.names import in_order
from constitutional.report.one.results import policy_table
from constitutional.report.one.view import View
from constitutional.report.one.what import subtitle
from constitutional.report.render import as_card


class RunFigure:
    """One figure of a run; a notebook shows it, and ``png`` and ``svg`` give its bytes."""

    def __init__(self, name: str, draw: Callable[[], Any]):
        self.name = name
        self._draw = draw

    def png(self) -> bytes:
        """As PNG, 150 dots to an inch."""
        return self._saved("png")

    def svg(self) -> bytes:
        """As SVG; texts are texts."""
        return self._saved("svg")

    def __repr__(self) -> str:
        return f"RunFigure({self.name!r})"

    def _repr_png_(self) -> bytes:
        return self.png()

    def _saved(self, form: str) -> bytes:
        file = BytesIO()
        with drawing():
            figure = self._draw()
            figure.savefig(
                file, format=form, dpi=150, metadata={"Date": None} if form == "svg" else None
            )
        return file.getvalue()


class RunFigures(Mapping[str, RunFigure]):
    """All figures that the numbers of a run allow so far, by their names in its folder."""

    def __init__(self, metrics: Mapping[str, Any]):
        self._metrics = metrics
        with drawing():
            self._there = [name for name, draw in FIGURES.items() if draw(metrics) is not None]

    def __getitem__(self, name: str) -> RunFigure:
        if name not in self._there:
            raise InputError(f"the run has no figure {name!r}: {nearest(name, self._there)}")
        return RunFigure(name, lambda: FIGURES[name](self._metrics))

    def __iter__(self) -> Iterator[str]:
        return iter(self._there)

    def __len__(self) -> int:
        return len(self._there)

    def __repr__(self) -> str:
        return f"RunFigures({', '.join(self._there)})"


def figures_of(run: Run) -> RunFigures:
    """The figures of ``run``, finished or in progress."""
    return RunFigures(metrics_so_far(run))


def card_of(run: Run) -> str:
    """A run as a piece of HTML: what it is, and its policies with their numbers."""
    view = View(run)
    final = in_order(view.policies)
    return as_card(run.name, subtitle(view), [policy_table(view, final, "")] if final else [])
