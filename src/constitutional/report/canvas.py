"""What all figures share: a canvas without a display, colours, error bars, files.

Names are data: with the settings of :func:`drawing` no text is read as TeX or mathtext, and an SVG
holds it as escaped text. matplotlib is imported late: it takes a second.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from constitutional.report.names import POLICIES, shown

Metrics = Mapping[str, Any]

#: Colours that stay apart for colour-blind readers (Okabe and Ito 2008), but for the yellow, which
#: is not seen on paper.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"
_COLOURS = ("#000000", ORANGE, BLUE, GREEN, "#CC79A7", "#56B4E9", "#E69F00")
#: What a page calls each of them, in its style sheet.
COLOUR_NAMES = {
    "#000000": "ink",
    ORANGE: "orange",
    BLUE: "blue",
    GREEN: "green",
    GREY: "grey",
    "#CC79A7": "pink",
    "#56B4E9": "sky",
    "#E69F00": "amber",
}
#: Marks tell apart what is printed without colour; their number shares no factor with the colours.
_MARKS = ("o", "s", "D", "^", "v", "P", "X", "*")

_GLYPHS = dict(zip(_MARKS, "●■◆▲▼✚✖★", strict=True))

_SETTINGS = {
    "text.usetex": False,
    "text.parse_math": False,
    "svg.fonttype": "none",
    # the ids inside an SVG are drawn from this and not at random
    "svg.hashsalt": "constitutional",
}


class Panel(NamedTuple):
    """A picture to stand by itself on a page, which says its title; ``draw`` gets empty axes.

    ``width`` and ``height`` are in inches. ``rows`` are the relative heights of the axes, which are
    given one above the other.
    """

    title: str
    width: float
    height: float
    draw: Callable[..., None]
    rows: Sequence[float] = (1,)

    def figure(self) -> Any:
        """The picture, drawn."""
        figure = new_figure(self.width, self.height)
        axes = figure.subplots(len(self.rows), 1, height_ratios=self.rows, sharex=True)
        self.draw(*(axes if len(self.rows) > 1 else (axes,)))
        return figure


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


class Key(NamedTuple):
    """An entry of a legend that a page writes: the name of a colour, a mark, and the text."""

    colour: str
    mark: str
    text: str


def keys(policies: Iterable[str]) -> list[Key]:
    """The legend of these policies, each as :func:`looks` has it among all of them."""
    names = list(policies)
    found = looks(names)
    return [
        Key(COLOUR_NAMES[found[name]["color"]], _GLYPHS[found[name]["marker"]], shown(name))
        for name in names
    ]


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
