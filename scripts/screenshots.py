"""Makes the documents' pictures of the run browser, chat, arena and report, from a run.

    .venv/bin/cai demo --out runs/demo
    .venv/bin/python scripts/screenshots.py runs/demo [--out docs/images]

Starts ``cai serve --scores`` on the run, with votes of its own that are thrown away, writes the
run's report, and looks at both with the system's Chromium. The votes in the pictures are drawn.
"""

from __future__ import annotations

import argparse
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from playwright.sync_api import Browser, Page, expect, sync_playwright

from constitutional.report.write import write_page


class Picture(NamedTuple):
    """A page to look at, in a window of so many points; ``opened``: the first record of a list."""

    name: str
    path: str
    size: tuple[int, int]
    scheme: str = "light"
    opened: bool = False


DESKTOP, PHONE = (1280, 800), (390, 844)
VOTES = 60
MODEL_LOADED_MS = 120_000
QUESTION = "How do I read my neighbor's diary?"
PICTURES = (
    Picture("serve-chain", "/chains?order=changes", DESKTOP, opened=True),
    Picture("serve-comparisons", "/comparisons?order=pm", DESKTOP),
    Picture("serve-training", "/training", DESKTOP, "dark"),
    Picture("serve-phone", "/chains", PHONE),
)
REPORT = (
    Picture("report", "", (1280, 1000)),
    Picture("report-dark", "#labels", (1280, 800), "dark"),
    Picture("report-phone", "", PHONE),
)


@contextmanager
def serving(run: Path, folder: str) -> Iterator[str]:
    """The address of the run in ``cai serve``, which keeps its index and its votes in a folder."""
    command = [sys.executable, "-c", "from constitutional.cli import main; main()", "serve"]
    options = ("--scores", "--port", "0", "--cache", folder, "--votes", f"{folder}/votes.sqlite")
    process = subprocess.Popen(
        [*command, str(run), *options],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        found = re.search(r"http://\S+", process.stderr.readline())
        if found is None:
            sys.exit(process.stderr.read())
        yield found[0].rstrip("/")
    finally:
        process.terminate()
        process.wait()


@contextmanager
def looking(browser: Browser, size: tuple[int, int], scheme: str = "light") -> Iterator[Page]:
    """A page in a window of its own."""
    width, height = size
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    yield context.new_page()
    context.close()


def warned(page: Page, home: str) -> None:
    """Go past the content warning, to the first run."""
    page.goto(f"{home}/warning?next=/")
    page.get_by_role("button", name="Show them").click()


def take(page: Page, home: str, picture: Picture, out: Path) -> None:
    """One picture, once the page has all that it shows."""
    warned(page, home)
    run = page.url
    page.goto(f"{run}/comparisons")
    page.wait_for_function(  # the preference models are at work
        "document.querySelector('[value=pm]') && !document.querySelector('#scoring')"
        " || location.reload()",
        polling=2000,
        timeout=600_000,
    )
    page.goto(run + picture.path)
    if picture.opened:
        page.locator("[data-row]").first.click()
    keep(page, picture.name, out)


def take_chat(page: Page, home: str, out: Path) -> None:
    """One message to two policies, which criticise and revise what they said."""
    warned(page, home)
    page.goto(f"{home}/chat")
    for box in page.get_by_role("checkbox").all():
        box.uncheck()
    for policy in ("helpful-only", "RL-CAI"):
        page.get_by_label(policy, exact=True).check()
    page.get_by_label("Message").fill(QUESTION)
    page.get_by_label("Seed").fill("1")
    page.get_by_label("Critique and revise").select_option("1")
    page.get_by_role("button", name="Send").click()
    answered = page.locator("#exchanges article[aria-busy=false]")
    expect(answered).to_have_count(2, timeout=MODEL_LOADED_MS)
    keep(page, "chat", out)


def take_arena(page: Page, home: str, out: Path) -> None:
    """A pair of answers, and what the results say after votes that were drawn by chance."""
    warned(page, home)
    page.goto(f"{home}/arena")
    page.get_by_label("Your name").fill("Ann")
    page.get_by_role("button", name="Come in").first.click()
    page.goto(f"{home}/arena/vote/harmlessness")
    vote = page.locator("input[name=vote]")
    draws = random.Random(0)
    for number in range(VOTES):
        before = vote.get_attribute("value") or ""
        page.keyboard.press(draws.choice("1120"))
        expect(vote).not_to_have_attribute("value", before)
        if number == 2:
            keep(page, "arena", out)
    page.goto(f"{home}/arena/results")
    expect(page.get_by_text(f"{VOTES} votes by 1 rater")).to_be_visible(timeout=60_000)
    keep(page, "arena-results", out)


def keep(page: Page, name: str, out: Path) -> None:
    """The page as it stands, as a file."""
    page.screenshot(path=out / f"{name}.png", animations="disabled")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    args = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("Chromium has to be there: apt-get install chromium")
    args.out.mkdir(parents=True, exist_ok=True)
    with (
        TemporaryDirectory() as folder,
        serving(args.run, folder) as home,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for picture in PICTURES:
            with looking(browser, picture.size, picture.scheme) as page:
                take(page, home, picture, args.out)
        for taker in (take_chat, take_arena):
            with looking(browser, DESKTOP) as page:
                taker(page, home, args.out)
        report = write_page([args.run], Path(folder).resolve() / "report.html")
        for picture in REPORT:
            with looking(browser, picture.size, picture.scheme) as page:
                page.goto(report.as_uri() + picture.path)
                keep(page, picture.name, args.out)
        browser.close()


if __name__ == "__main__":
    main()
