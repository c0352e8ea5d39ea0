"""What a report is made of, whatever it is written as: sections of paragraphs, tables, pictures.

All texts here are plain and may come from a model or a file of somebody's: the templates escape
every one of them, for HTML and for Markdown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from constitutional.reading.differences import Piece
from constitutional.report.canvas import Key, Panel


class Number(NamedTuple):
    """A cell with a number and its interval. ``sure``: the interval of a difference excludes 0."""

    text: str
    interval: str = ""
    sure: bool = False


class Bar(NamedTuple):
    """A cell with a number and a bar: ``share`` is from 0 to 1."""

    text: str
    share: float


Cell = str | Number | Bar


@dataclass(frozen=True)
class Paragraph:
    """Some sentences. ``tone`` is "note" where they only explain."""

    kind: ClassVar[str] = "paragraph"
    text: str
    tone: str = ""


@dataclass(frozen=True)
class Items:
    """A list; each item is a lead and what is said of it."""

    kind: ClassVar[str] = "items"
    items: Sequence[tuple[str, str]]
    tone: str = ""


@dataclass(frozen=True)
class Pairs:
    """Names and values."""

    kind: ClassVar[str] = "pairs"
    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Table:
    """A table whose first column names the rows."""

    kind: ClassVar[str] = "table"
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""


@dataclass(frozen=True)
class Pictures:
    """Pictures side by side; ``file`` is the picture in the run's folder that shows the same."""

    kind: ClassVar[str] = "pictures"
    name: str
    panels: Sequence[Panel]
    file: Path | None = None
    caption: str = ""
    small: bool = False
    keys: Sequence[Key] = ()


@dataclass(frozen=True)
class Beside:
    """Blocks side by side where there is room, else one below the other."""

    kind: ClassVar[str] = "beside"
    blocks: Sequence[Any]


@dataclass(frozen=True)
class Code:
    """Text that is shown as it is."""

    kind: ClassVar[str] = "code"
    text: str


class Step(NamedTuple):
    """One round of a chain: the principle (its id and text), the critique, and the revision.

    ``changes`` lead from the version before to the revision; there are none where it is the same.
    """

    principle: str
    principle_text: str
    critique: str | None
    revision: str
    changes: Sequence[Piece]
    flags: Sequence[str]


@dataclass(frozen=True)
class ChainCard:
    """A prompt, the first response to it, and the rounds."""

    kind: ClassVar[str] = "chain"
    id: str
    tags: Sequence[str]
    prompt: Sequence[tuple[str, str]]
    response: str
    steps: Sequence[Step]


@dataclass(frozen=True)
class Fold:
    """Blocks that a reader opens. ``warns``: of texts that may offend."""

    kind: ClassVar[str] = "fold"
    title: str
    blocks: Sequence[Any]
    warns: bool = False


@dataclass(frozen=True)
class Section:
    """A part of a report with its heading; ``name`` is its address on the page."""

    name: str
    title: str
    blocks: Sequence[Any]


class Tile(NamedTuple):
    """A number at the head of a report."""

    label: str
    value: str
    interval: str
    note: str


@dataclass(frozen=True)
class Page:
    """A whole report."""

    title: str
    subtitle: str
    sections: Sequence[Section]
    tiles: Sequence[Tile] = ()
