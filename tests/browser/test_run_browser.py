"""The run browser as a person uses it: reading, filtering, searching, keys, a run in progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from tests.browser.served_runs import finished, live, serving
from tests.web_runs import write_history

Open = Callable[..., Page]

PAGES = {
    "overview": "/runs/demo",
    "chains": "/runs/demo/chains",
    "chain": "/runs/demo/chains/2?at=1",
    "comparisons": "/runs/demo/comparisons?order=orders",
    "comparison": "/runs/demo/comparisons/comparisons_ai/4?at=3",
    "training": "/runs/demo/training",
    "live": "/runs/live/training",
    "runs": "/",
    "warning": "/warning",
    "nowhere": "/nowhere",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def home(folder: Path) -> Iterator[str]:
    """The address of the server, without its last slash."""
    runs = (finished(folder / "demo"), live(folder / "live"))
    with serving(*runs, "--cache", folder / "cache") as address:
        yield address.rstrip("/")


def found(page: Page) -> int:
    """How many records a list says that it has."""
    return int(page.locator("h1 .muted").inner_text())


def press(page: Page, *keys: str) -> None:
    """Keys, once the page's script is there to hear them."""
    expect(page.get_by_role("button", name="Keyboard keys")).to_be_visible()
    for key in keys:
        page.keyboard.press(key)


def test_a_chain_is_read(open_page: Open, home: str) -> None:
    page = open_page(f"{home}/runs/demo/chains")
    expect(page.locator("h1")).to_have_text("Chains 60")
    page.get_by_role("link", name="Please tell me how").nth(1).click()
    expect(page.get_by_role("heading", name="Chain 2")).to_be_visible()
    expect(page.locator("del").first).to_have_text("Sure, get a clear glass first. Then ")
    expect(page.locator("ins").first).to_have_text("I will not help you ")
    expect(page.get_by_text("The response number 1 is nosy.").first).to_be_visible()
    page.get_by_role("link", name="Plain text").click()
    expect(page.locator("del")).to_have_count(0)


def test_a_filter_is_applied_when_it_is_chosen(open_page: Open, home: str) -> None:
    page = open_page(f"{home}/runs/demo/chains")
    page.get_by_label("First answer").select_option("reasoned_refusal")
    page.wait_for_url("**/chains?first=reasoned_refusal*")
    assert found(page) == 20
    page.get_by_label("Flag").select_option("looped")
    page.wait_for_url("**flag=looped**")
    expect(page.get_by_text("Nothing matches.")).to_be_visible()
    page.get_by_role("link", name="Clear").click()
    expect(page.locator("h1")).to_have_text("Chains 60")


def test_searching(open_page: Open, home: str) -> None:
    page = open_page(f"{home}/runs/demo/chains")
    press(page, "/")
    expect(page.get_by_label("Search", exact=True)).to_be_focused()
    page.keyboard.type('"number 17"')
    page.keyboard.press("Enter")
    page.wait_for_url("**/chains?q=**")
    assert found(page) == 1
    press(page, "j", "Enter")
    expect(page.get_by_text("chain-17")).to_be_visible()


def test_keys_lead_through_a_list_and_its_records(open_page: Open, home: str) -> None:
    page = open_page(f"{home}/runs/demo")
    press(page, "g", "c")
    page.wait_for_url("**/chains")
    press(page, "j", "j", "j", "k", "Enter")
    expect(page.get_by_role("heading", name="Chain 2", exact=True)).to_be_visible()
    press(page, "j")
    expect(page.get_by_role("heading", name="Chain 3", exact=True)).to_be_visible()
    press(page, "k")
    expect(page.get_by_role("heading", name="Chain 2", exact=True)).to_be_visible()
    expect(page.locator("ins").first).to_be_visible()
    press(page, "v")
    expect(page.locator("ins")).to_have_count(0)
    press(page, "u")
    expect(page.locator("h1")).to_have_text("Chains 60")
    press(page, "]")
    page.wait_for_url("**page=2")


def test_the_overview_of_keys(open_page: Open, home: str) -> None:
    page = open_page(f"{home}/runs/demo/chains")
    press(page, "?")
    help_ = page.get_by_role("dialog", name="Keys")
    expect(help_).to_be_visible()
    expect(help_.get_by_text("next, previous record")).to_be_visible()
    page.keyboard.press("j")  # nothing behind it
    expect(page.locator("[data-row]:focus")).to_have_count(0)
    page.get_by_label("Single keys do something").uncheck()
    page.keyboard.press("Escape")
    expect(help_).to_be_hidden()
    page.reload()
    press(page, "j")  # somebody's speech, or another program's keys
    expect(page.locator("[data-row]:focus")).to_have_count(0)


def test_comparisons_by_disagreement(open_page: Open, home: str) -> None:
    page = open_page(f"{home}/runs/demo/comparisons")
    page.get_by_label("Order").select_option("order against order")
    page.wait_for_url("**order=orders**")
    page.get_by_role("link", name="Please tell me how").first.click()
    expect(page.get_by_role("heading", name="Comparison 39")).to_be_visible()
    expect(page.get_by_role("row", name="no-harm")).to_contain_text("0.85")


def test_the_curves_of_a_live_run_grow_in_place(open_page: Open, home: str, folder: Path) -> None:
    page = open_page(f"{home}/runs/live/training")
    expect(page.get_by_text("PPO, step 4 of 8, in progress")).to_be_visible()
    page.evaluate("window.same = true")
    write_history(folder / "live", 6)
    expect(page.get_by_text("PPO, step 6 of 8, in progress")).to_be_visible()
    assert page.evaluate("window.same"), "the page was loaded anew"
    page.get_by_role("button", name="Pause").click()
    write_history(folder / "live", 7)
    page.wait_for_timeout(2500)
    expect(page.get_by_text("PPO, step 6 of 8, in progress")).to_be_visible()
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_text("PPO, step 7 of 8, in progress")).to_be_visible()


def test_without_a_script_it_is_read_and_filtered(open_page: Open, home: str) -> None:
    page = open_page(f"{home}/runs/demo/chains", warned=False, java_script_enabled=False)
    expect(page.get_by_role("heading", name="Before you read on")).to_be_visible()
    page.get_by_role("button", name="Show them").click()
    page.get_by_label("Flag").select_option("looped")
    page.get_by_role("button", name="Apply").click()
    assert found(page) == 1
    page.get_by_role("link", name="Please tell me how").click()
    expect(page.locator("ins").first).to_be_visible()
    page.get_by_role("link", name="All that match").click()
    assert found(page) == 1
    expect(page.get_by_role("button", name="Keyboard keys")).to_have_count(0)


@pytest.mark.parametrize(("size", "scheme"), [("desktop", "light"), ("phone", "dark")])
def test_every_page_is_accessible(
    open_page: Open,
    home: str,
    accessible: Callable[[Page], None],
    picture: Callable[[Page, str], None],
    size: str,
    scheme: str,
) -> None:
    page = open_page(home, size=size, color_scheme=scheme)
    for name, path in PAGES.items():
        if name == "nowhere":  # its status is an error on the console
            continue
        page.goto(home + path)
        accessible(page)
        picture(page, f"{name}-{size}")
    page.goto(f"{home}/runs/demo/chains")
    page.keyboard.press("?")
    accessible(page)
    picture(page, f"keys-{size}")
