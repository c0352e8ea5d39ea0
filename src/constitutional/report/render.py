"""A report as one HTML file or as Markdown. All texts are escaped, whoever wrote them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from constitutional.report.blocks import Bar, Cell, Number, Page, Pictures
from constitutional.report.inline import inline_svg

_LOADER = PackageLoader("constitutional.report")
#: What Markdown, or HTML inside of it, could take for more than text: anywhere, at the beginning of
#: a line, and in what looks like an address.
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|~&$@])|(?<=:)(?=//)|(?<=www)(?=\.)")
_BEGIN = re.compile(r"^(?=[-+#=])|(?<=^\d)(?=[.)]\s)|(?<=^\d\d)(?=[.)]\s)")


def as_html(page: Page) -> str:
    """One file with its style and figures inside: it asks for nothing from anywhere."""
    return _for_html().get_template("report.html").render(page=page)


def as_card(title: str, subtitle: str, blocks: Sequence[Any]) -> str:
    """A piece of HTML for a notebook."""
    card = _for_html().get_template("card.html")
    return card.render(title=title, subtitle=subtitle, shown=blocks)


def _for_html() -> Environment:
    environment = Environment(
        loader=_LOADER,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["svgs"] = _svgs
    return environment


def as_markdown(page: Page, folder: Path) -> str:
    """Tables and texts, and links from a file in ``folder`` to the figures in the run's folder."""
    environment = Environment(
        loader=_LOADER,
        autoescape=False,
        finalize=_in_markdown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    beside = partial(_beside, folder=folder)
    environment.filters |= {"cell": _cell, "fenced": _fenced, "made": Markup, "beside": beside}
    text = environment.get_template("report.md").render(page=page)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _svgs(block: Pictures) -> list[tuple[str, Markup]]:
    """The pictures of a block, with their titles."""
    return [
        (panel.title, inline_svg(panel, f"{block.name}{number}"))
        for number, panel in enumerate(block.panels)
    ]


def _in_markdown(value: Any) -> Any:
    """What is written out between the marks of a template, as plain text on one line.

    Markup is what a filter below has made, and stays.
    """
    if isinstance(value, Markup):
        return value
    return _BEGIN.sub(r"\\", _escaped(str(value)))


def _escaped(text: str) -> str:
    return _SPECIAL.sub(lambda found: f"\\{found[0]}", " ".join(text.split()))


def _cell(cell: Cell) -> Markup:
    """A cell of a table: a number and its interval, bold where a difference is sure."""
    if isinstance(cell, Number):
        interval = f" ({cell.interval})" if cell.interval else ""
        said = _escaped(f"{cell.text}{interval}")
        return Markup(f"**{said}**" if cell.sure else said)
    return Markup(_escaped(cell.text if isinstance(cell, Bar) else cell))


def _beside(file: Path, folder: Path) -> Markup:
    """The way from a folder to a file, as the address of a picture."""
    return Markup(quote(Path(os.path.relpath(file, folder.resolve())).as_posix()))


def _fenced(text: str) -> Markup:
    """A block of code, whose fence is longer than any in the text."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return Markup(f"{fence}\n{text.rstrip()}\n{fence}")
