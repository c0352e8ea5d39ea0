"""The report in a real browser: opened from the disk, by eye, by keyboard, on paper."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.report.report_runs import small_folder
from tests.web_runs import HELP

from constitutional.report.write import write_page

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="module")
def report(folder: Path) -> str:
    """The address of a report, and beside it a comparison."""
    runs = [small_folder(folder / name, name="demo") for name in ("demo", "again")]
    write_page(runs, folder / "comparison.html")
    return write_page(runs[:1]).as_uri()


@pytest.fixture
def page(open_page: Open, report: str) -> Iterator[Page]:
    # the page forbids all scripts, and axe is one
    yield open_page(report, bypass_csp=True)


@pytest.mark.parametrize("size", ["desktop", "phone"])
@pytest.mark.parametrize("name", ["report", "comparison"])
def test_it_opens_from_the_disk(
    open_page: Open,
    report: str,
    folder: Path,
    picture: Callable[[Page, str], None],
    accessible: Callable[[Page], None],
    size: str,
    name: str,
) -> None:
    address = report if name == "report" else (folder / "comparison.html").as_uri()
    page = open_page(address, size=size, bypass_csp=True)
    expect(page.get_by_role("heading", level=1)).to_contain_text("demo")
    assert page.locator("svg[role=img]").count() > 2
    accessible(page)
    picture(page, f"{name}-{size}")


def test_nothing_needs_a_script(open_page: Open, report: str) -> None:
    page = open_page(report, java_script_enabled=False)
    page.get_by_role("link", name="Example chains").click()
    chains = page.locator("#chains")
    expect(chains.get_by_text(HELP).first).to_be_hidden()
    page.get_by_text("Show 10 chains with red-team text").click()
    expect(chains.get_by_text(HELP).first).to_be_visible()
    expect(chains.locator("ins").first).to_be_visible()


def test_the_keyboard_is_enough(page: Page) -> None:
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    summary = page.get_by_text("Show 10 chains with red-team text")
    summary.focus()
    page.keyboard.press("Enter")
    chains = page.locator("#chains article.chain")
    expect(chains).to_have_count(10)
    expect(chains.first).to_be_visible()


def test_it_is_dark_where_the_reader_s_system_is(
    open_page: Open,
    report: str,
    accessible: Callable[[Page], None],
    picture: Callable[[Page, str], None],
) -> None:
    light, dark = (
        open_page(report, color_scheme=scheme, bypass_csp=True) for scheme in ("light", "dark")
    )
    colours = "e => [getComputedStyle(e).backgroundColor, getComputedStyle(e).color]"
    assert light.locator("body").evaluate(colours)[0] == "rgb(255, 255, 255)"
    assert dark.locator("body").evaluate(colours)[0] == "rgb(20, 23, 27)"
    for thing in ("text", "use"):
        drawn = dark.locator(f".picture {thing}:not([fill])").first
        assert drawn.evaluate("e => getComputedStyle(e).fill") == "rgb(228, 231, 235)"
    accessible(dark)
    picture(dark, "report-dark")


def test_it_prints_whole(chromium: Browser, report: str) -> None:
    """What is folded on the screen is on the paper, and the list of sections is not."""
    page = chromium.new_page()
    try:
        page.goto(report)
        page.emulate_media(media="print")
        expect(page.locator("nav")).to_be_hidden()
        page.set_viewport_size({"width": 688, "height": 1000})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.locator("article.chain").first.evaluate("e => e.checkVisibility()")
        assert page.pdf(format="A4").startswith(b"%PDF")
    finally:
        page.close()
