"""The injections in a real browser: nothing runs, nothing is asked for, nothing is made of them.

The policy is switched off here as well, so that what holds is the escaping alone.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page
from tests.browser.served_runs import serving
from tests.report.report_runs import small_folder
from tests.web.injections import CORPUS
from tests.web.test_injections import run_of
from tests.web_runs import chain, sample

from constitutional.dialogue import Conversation

pytestmark = pytest.mark.slow
Open = Callable[..., Page]
#: All of them with CONSTITUTIONAL_HOSTILE=all (make hostile), else some of each kind.
ALL = os.environ.get("CONSTITUTIONAL_HOSTILE") == "all"
TEXTS = CORPUS if ALL else CORPUS[::16]
#: Whether the policy is switched off. It could only hide what was not escaped.
BYPASSES = {"no policy": True, **({"policy": False} if ALL else {})}
#: What the elements of a page are, with the names of their attributes.
ELEMENTS = """() => [...new Set([...document.querySelectorAll("*")].map(
    e => [e.tagName.toLowerCase(), ...[...e.attributes].map(a => a.name).sort()].join(" ")))]"""


def pages(count: int) -> Iterator[str]:
    """Every kind of page of a run, and that of each record."""
    yield from ("/", "/runs/run", "/runs/run/chains", "/runs/run/comparisons", "/runs/run/training")
    for number in range(1, count + 1):
        yield f"/runs/run/chains/{number}"
        yield f"/runs/run/comparisons/comparisons_ai/{number}?show=differences"


def seen(open_page: Open, home: str, count: int, bypass: bool) -> set[str]:
    """The elements of all pages; whatever opens a dialogue, or fails, is wrong."""
    page = open_page(f"{home}/warning", bypass_csp=bypass)
    opened: list[str] = []
    page.on("dialog", lambda dialog: (opened.append(dialog.message), dialog.dismiss()))
    found: set[str] = set()
    for address in pages(count):
        page.goto(home + address)
        page.mouse.move(200, 300)
        page.keyboard.press("Tab")
        found |= set(page.evaluate(ELEMENTS))
    assert opened == []
    return found


@pytest.mark.parametrize("bypass", BYPASSES.values(), ids=BYPASSES.keys())
def test_no_page_of_a_run_is_more_than_its_templates(
    open_page: Open, tmp_path: Path, bypass: bool
) -> None:
    harmless = tuple(f"word{number}" for number in range(len(TEXTS)))
    run_of(tmp_path / "harmless" / "run", harmless)
    run_of(tmp_path / "hostile" / "run", TEXTS)
    elements = []
    for name in ("harmless", "hostile"):
        with serving(tmp_path / name / "run", "--cache", tmp_path / f"{name}-cache") as home:
            elements.append(seen(open_page, home.rstrip("/"), len(TEXTS), bypass))
    known, found = elements
    assert found - known == set()


@pytest.mark.parametrize("bypass", BYPASSES.values(), ids=BYPASSES.keys())
def test_no_report_is_more_than_its_templates(
    open_page: Open, tmp_path: Path, bypass: bool
) -> None:
    from constitutional.report.write import write_page

    elements = []
    for name, texts in (("harmless", ("word",) * len(TEXTS)), ("hostile", TEXTS)):
        chains = [
            chain(n, id=f"{text} {n}", prompt=Conversation.of(text), response=sample(f"{text} {n}"))
            for n, text in enumerate(texts)
        ]
        written = write_page([small_folder(tmp_path / name, chains=chains, name=texts[0])])
        opened: list[str] = []
        page = open_page(written.as_uri(), bypass_csp=bypass)
        page.on("dialog", lambda dialog, to=opened: (to.append(dialog.message), dialog.dismiss()))
        page.reload()
        elements.append(set(page.evaluate(ELEMENTS)))
        assert opened == []
    known, found = elements
    assert found - known == set()


@contextmanager
def elsewhere(target: str) -> Iterator[str]:
    """A page of another origin on this machine that posts a form to ``target`` by itself."""
    shown = (
        f'<form method=post action="{target}"><input name=next value=/></form>'
        "<script>document.forms[0].submit()</script>"
    ).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(shown)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def test_a_form_of_another_site_is_refused(chromium: Browser, tmp_path: Path) -> None:
    run_of(tmp_path / "run", ("word1", "word2", "word3", "word4"))
    with (
        serving(tmp_path / "run", "--cache", tmp_path / "cache") as home,
        elsewhere(f"{home.rstrip('/')}/warning") as other,
        chromium.new_context() as context,
    ):
        page = context.new_page()
        with page.expect_response(lambda answer: answer.request.method == "POST") as posted:
            page.goto(other)
        assert posted.value.status == 403
        assert not any(cookie["name"] == "cai_warned" for cookie in context.cookies())
        # and the same form from our own page is taken
        page.goto(f"{home.rstrip('/')}/warning")
        with page.expect_response(lambda answer: answer.request.method == "POST") as posted:
            page.locator("form[method=post] button").first.click()
        assert posted.value.status in (302, 303)
