"""Figures inside of a page: no style of their own, themable, text as text."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import pytest
from small_run import small_metrics

from constitutional.report.behaviour_figure import behaviour_panels
from constitutional.report.canvas import COLOUR_NAMES, keys, looks
from constitutional.report.elo_figure import elo_panels
from constitutional.report.inline import inline_svg

HOSTILE = "<script>alert(1)</script>&\"'"


@pytest.fixture(scope="module")
def metrics() -> dict[str, Any]:
    return small_metrics("rl_cai", HOSTILE)


@pytest.fixture(scope="module")
def svg(metrics: dict[str, Any]) -> str:
    return inline_svg(elo_panels(metrics)[0], "elo0")


def test_it_has_no_style_and_no_link_out(svg: str) -> None:
    root = ElementTree.fromstring(svg)
    for element in root.iter():
        assert element.tag.rpartition("}")[2] not in ("style", "metadata", "script", "image")
        assert "style" not in element.attrib
        assert element.get("href", "#").startswith("#")
    assert "font-family" not in svg


def test_colours_are_the_page_s(svg: str) -> None:
    fills = set(re.findall(r'(?:fill|stroke)="([^"]+)"', svg))
    named = {f"var(--{name})" for name in (*COLOUR_NAMES.values(), "line")}
    assert fills <= {"none", "currentColor"} | named
    assert {"currentColor", "var(--pink)", "var(--line)"} <= fills


def test_a_name_is_text(svg: str) -> None:
    root = ElementTree.fromstring(svg)
    said = ["".join(e.itertext()) for e in root.iter() if e.tag.endswith("}text")]
    assert any(HOSTILE in text for text in said)
    assert "<script" not in svg


def test_two_on_a_page_share_no_id(metrics: dict[str, Any], svg: str) -> None:
    other = inline_svg(elo_panels(metrics)[0], "elo1")
    ids, others = (set(re.findall(r' id="([^"]+)"', text)) for text in (svg, other))
    assert ids and not ids & others
    for text, own in ((svg, ids), (other, others)):
        leads = re.findall(r'(?:href="|url\()#([^")]+)', text)
        assert leads and set(leads) <= own


def test_it_says_what_it_is_and_how_large(svg: str) -> None:
    root = ElementTree.fromstring(svg)
    assert (root.get("role"), root.get("aria-label")) == (
        "img",
        "Harmlessness against helpfulness Elo",
    )
    assert 400 < int(root.attrib["width"]) < 500
    assert "height" not in root.attrib


def test_the_same_panel_gives_the_same_text(metrics: dict[str, Any], svg: str) -> None:
    assert inline_svg(elo_panels(metrics)[0], "elo0") == svg


def test_rl_is_shown_from_close_by(metrics: dict[str, Any]) -> None:
    whole, near = elo_panels(metrics)
    elo = metrics["elo"]["helpfulness"]
    axes = near.figure().axes[0]
    low, high = axes.get_xlim()
    way = [elo[name] for name in elo if name == "sl_cai" or "rl_cai" in name or HOSTILE in name]
    assert low < min(e["low"] for e in way) and max(e["high"] for e in way) < high
    wide = whole.figure().axes[0].get_xlim()
    assert wide[1] - wide[0] > high - low
    without = {"elo": metrics["elo"]}
    assert len(elo_panels(without)) == 1


def test_a_legend_of_a_page_is_that_of_the_figure() -> None:
    names = ["rl_cai", "mine"]
    found = looks(names)
    for name, key in zip(names, keys(names), strict=True):
        assert COLOUR_NAMES[found[name]["color"]] == key.colour
    assert len({key.mark for key in keys(names)}) == 2


def test_the_legend_of_the_bars_is_whole(metrics: dict[str, Any]) -> None:
    panel = behaviour_panels(metrics)[1]
    figure = panel.figure()
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.x1
