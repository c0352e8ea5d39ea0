"""A figure as SVG inside a page: it takes the page's colours and font, light or dark.

What matplotlib writes is rewritten so that no style attribute, style element, link or fixed id is
left: each property becomes an attribute of its own, which a strict Content-Security-Policy allows
and a page's own style sheet may overrule. Texts were text and stay text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BytesIO
from xml.etree import ElementTree

from markupsafe import Markup

from constitutional.report.canvas import COLOUR_NAMES, Panel, drawing

ElementTree.register_namespace("", "http://www.w3.org/2000/svg")
_XLINK = "{http://www.w3.org/1999/xlink}href"
#: Names of the page's colours for those that figures are drawn with (``style.css``).
_VARIABLES = {
    **{colour.lower(): f"var(--{name})" for colour, name in COLOUR_NAMES.items()},
    "#000000": "currentColor",
    "#ffffff": "none",
    "#b0b0b0": "var(--line)",
}
#: Less ink than a figure in a file, which has no page around it.
_ON_A_PAGE = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#777777",
    "xtick.color": "#777777",
    "ytick.color": "#777777",
    "xtick.labelcolor": "#000000",
    "ytick.labelcolor": "#000000",
}
_COLOUR = re.compile(r"#[0-9a-f]{6}\b", re.IGNORECASE)
#: matplotlib says this for all elements, in a style element.
_OF_ALL = {"stroke-linejoin": "round", "stroke-linecap": "butt"}
_SIZE = re.compile(r"(?:^|\s)([\d.]+px)\s")


def inline_svg(panel: Panel, name: str) -> Markup:
    """The panel as an ``svg`` element; ``name`` tells it apart from the others of a page."""
    import matplotlib

    file = BytesIO()
    with drawing(), matplotlib.rc_context(_ON_A_PAGE):
        panel.figure().savefig(file, format="svg", metadata={"Date": None})
    return inline(file.getvalue(), name, panel.title)


def inline(svg: bytes, name: str, title: str) -> Markup:
    """A figure of matplotlib as an element of a page; ``title`` is what a screen reader says."""
    root = ElementTree.fromstring(svg)
    _drop(root, "metadata", "style")
    # points to pixels; the height follows from the viewBox
    width = float(root.attrib["width"].removesuffix("pt")) * 4 / 3
    root.attrib.pop("height")
    for element in root.iter():
        _rename(element, name)
        _unstyle(element)
    root.attrib |= {
        **_OF_ALL,
        # where SVG's own default is black, matplotlib leaves it out
        "fill": "currentColor",
        "width": f"{width:.0f}",
        "role": "img",
        "aria-label": " ".join(title.split()),
    }
    # ElementTree has escaped all text and attributes
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _drop(root: ElementTree.Element, *tags: str) -> None:
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] in tags:
                parent.remove(child)


def _rename(element: ElementTree.Element, name: str) -> None:
    """Ids, and what refers to them, are of this figure alone; a plain href will do."""
    if "id" in element.attrib:
        element.set("id", f"{name}-{element.get('id')}")
    if _XLINK in element.attrib:
        element.set("href", f"#{name}-{element.attrib.pop(_XLINK).removeprefix('#')}")
    clip = element.get("clip-path")
    if clip is not None:
        element.set("clip-path", clip.replace("url(#", f"url(#{name}-"))


def _unstyle(element: ElementTree.Element) -> None:
    style = element.attrib.pop("style", "")
    for key, value in _declarations(style):
        element.set(
            key, _COLOUR.sub(lambda found: _VARIABLES.get(found[0].lower(), found[0]), value)
        )


def _variable(colour: re.Match[str]) -> str:
    return _VARIABLES.get(colour[0].lower(), colour[0])


def _declarations(style: str) -> Iterator[tuple[str, str]]:
    for declaration in style.split(";"):
        key, _, value = (part.strip() for part in declaration.partition(":"))
        if key == "font":
            # the page has a font of its own; what counts is the size
            if size := _SIZE.search(value):
                yield "font-size", size[1]
        elif key and key != "font-family":
            yield key, value
