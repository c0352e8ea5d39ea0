"""What all figures share: a canvas without a display, colours, error bars, files.

Names are data: with the settings of :func:`drawing` no text is read as TeX or mathtext, and an SVG
holds it as escaped text. matplotlib is imported late: it takes a second.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from constitutional.report.names import POLICIES, shown

Metrics = Mapping[str, Any]

#: Colours that stay apart for colour-blind readers (Okabe and Ito 2008), but for the yellow, which
#: is not seen on paper.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"
_COLOURS = ("#000000", ORANGE, BLUE, GREEN, "#CC79A7", "#56B4E9", "#E69F00")
#: Marks tell apart what is printed without colour; their number shares no factor with the colours.
_MARKS = ("o", "s", "D", "^", "v", "P", "X", "*")

_SETTINGS = {
    "text.usetex": False,
    "text.parse_math": False,
    "svg.fonttype": "none",
    # the ids inside an SVG are drawn from this and not at random
    "svg.hashsalt": "constitutional",
}


@contextmanager
def drawing() -> Iterator[None]:
    """Figures are made and saved inside."""
    import matplotlib

    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        # a name in a script that the font lacks shows as boxes, and whole in the SVG
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def new_figure(width: float, height: float) -> Any:
    """An empty figure of so many inches, by the object interface: no display, no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Any, folder: Path, name: str) -> list[Path]:
    """``name.png`` and ``name.svg``; the same figure gives the same bytes, so no date is inside."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{suffix}" for suffix in ("png", "svg")]
    for path in paths:
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
        figure.set_layout_engine("none")  # everything has its place, and keeps it
    return paths


def looks(policies: Iterable[str]) -> dict[str, dict[str, str]]:
    """Colour and mark of each policy: one that the paper names looks alike in every figure."""
    order = [*POLICIES, *(name for name in dict.fromkeys(policies) if name not in POLICIES)]
    return {
        name: {"color": _COLOURS[i % len(_COLOURS)], "marker": _MARKS[i % len(_MARKS)]}
        for i, name in enumerate(order)
    }


def label(policy: str) -> str:
    """A policy's name for a legend, which would leave out one that starts with an underscore."""
    name = shown(policy)
    return f" {name}" if name.startswith("_") else name


def error_bars(estimates: Sequence[Metrics | None], scale: float = 1.0) -> list[list[float]]:
    """The lengths below and above the values, for matplotlib; no bar where there is no interval."""
    # a bound may miss the value by a rounding error, which matplotlib refuses
    return [
        [math.nan if e is None else max(0.0, scale * (e["value"] - e["low"])) for e in estimates],
        [math.nan if e is None else max(0.0, scale * (e["high"] - e["value"])) for e in estimates],
    ]


def counts(estimates: Iterable[Metrics]) -> str:
    """``n = 80``, or ``n = 76 to 80`` where it differs."""
    numbers = sorted({e["n"] for e in estimates})
    ends = dict.fromkeys((numbers[0], numbers[-1]))
    return "n = " + " to ".join(map(str, ends))
