"""A real browser: Chromium, driven by Playwright. What it may not do fails every test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
#: Where pictures are kept for a person to look at.
PICTURES = Path(__file__).parents[2] / "tests-output" / "screenshots"
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}
_OPTIONS = (
    "--no-sandbox",  # tests may run as root, where the sandbox does not start
    # nothing of its own accord: what asks for a page is a test
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--no-first-run", "--disable-default-apps", "--dns-prefetch-disable"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without Chromium these tests are skipped, but where it has to be there they fail."""
    if CHROMIUM is None and os.environ.get("CONSTITUTIONAL_CI") != "1":
        why = pytest.mark.skip(reason="Chromium is not installed: apt-get install chromium")
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(why)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    assert CHROMIUM is not None, "Chromium has to be there: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*_OPTIONS])
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Callable[..., Page]]:
    """Opens an address in a context of its own: ``open_page(address, size="phone")``.

    The test fails when the page, or one that it leads to, asks anything but its own server, when a
    script of it fails, or when it does what its policy forbids. Further arguments are Playwright's
    for a context, such as ``java_script_enabled``.
    """
    wrong: list[str] = []
    with ExitStack() as contexts:

        def open_(address: str, *, size: str = "desktop", warned: bool = True, **how: Any) -> Page:
            home = urlsplit(address)

            def watch(route: Route) -> None:
                asked = urlsplit(route.request.url)
                if (asked.scheme, asked.netloc) == (home.scheme, home.netloc):
                    route.continue_()
                else:
                    wrong.append(f"asked for {route.request.url}")
                    route.abort()

            width, height = SIZES[size]
            context = chromium.new_context(viewport={"width": width, "height": height}, **how)
            contexts.callback(context.close)
            context.set_default_timeout(20_000)
            context.route("**/*", watch)
            if warned and home.scheme == "http":
                context.add_cookies([{"name": "cai_warned", "value": "yes", "url": address}])
            page = context.new_page()
            page.on("pageerror", lambda error: wrong.append(f"script: {error}"))
            page.on("console", lambda said: said.type == "error" and wrong.append(said.text))
            page.goto(address)
            return page

        yield open_
    assert wrong == []


@pytest.fixture
def picture() -> Callable[[Page, str], None]:
    """Keeps what a page looks like: ``picture(page, "chains-phone")``."""

    def keep(page: Page, name: str) -> None:
        PICTURES.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=PICTURES / f"{name}.png", animations="disabled")

    return keep


@pytest.fixture
def accessible() -> Callable[[Page], None]:
    """Fails where axe finds something serious on a page, or what is wider than its screen."""
    axe = Axe()

    def check(page: Page) -> None:
        page.wait_for_load_state("load")  # a key may have led here, and the style come last
        found = axe.run(page, options={"resultTypes": ["violations"]}).response["violations"]
        serious = [
            f"{one['id']}: {node['html']} {node['failureSummary']}"
            for one in found
            if one["impact"] in ("serious", "critical")
            for node in one["nodes"]
        ]
        assert serious == [], page.url
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), page.url

    return check
