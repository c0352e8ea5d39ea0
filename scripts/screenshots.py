"""Makes the pictures that the documents show of the run browser and of the report, from a run.

    .venv/bin/cai demo --out runs/demo
    .venv/bin/python scripts/screenshots.py runs/demo [--out docs/images]

Starts ``cai serve --scores`` on the run, writes its report, and looks at both with the system's
Chromium.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from playwright.sync_api import Browser, sync_playwright

from constitutional.report.write import write_page


class Picture(NamedTuple):
    """A page to look at, in a window of so many points; ``opened``: the first record of a list."""

    name: str
    path: str
    size: tuple[int, int]
    scheme: str = "light"
    opened: bool = False


DESKTOP, PHONE = (1280, 800), (390, 844)
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
def serving(run: Path, cache: str) -> Iterator[str]:
    """The address of the run in ``cai serve``."""
    command = [sys.executable, "-c", "from constitutional.cli import main; main()", "serve"]
    process = subprocess.Popen(
        [*command, str(run), "--scores", "--port", "0", "--cache", cache],
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


def take(browser: Browser, home: str, picture: Picture, out: Path) -> None:
    """One picture, once the page has all that it shows."""
    width, height = picture.size
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=picture.scheme
    )
    page = context.new_page()
    page.goto(f"{home}/warning?next=/")
    page.get_by_role("button", name="Show them").click()
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
    page.screenshot(path=out / f"{picture.name}.png", animations="disabled")
    context.close()


def take_of_file(browser: Browser, file: Path, picture: Picture, out: Path) -> None:
    """One picture of a page that lies on the disk."""
    width, height = picture.size
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=picture.scheme
    )
    page = context.new_page()
    page.goto(file.as_uri() + picture.path)
    page.screenshot(path=out / f"{picture.name}.png", animations="disabled")
    context.close()


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
        TemporaryDirectory() as cache,
        serving(args.run, cache) as home,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for picture in PICTURES:
            take(browser, home, picture, args.out)
        report = write_page([args.run], Path(cache).resolve() / "report.html")
        for picture in REPORT:
            take_of_file(browser, report, picture, args.out)
        browser.close()


if __name__ == "__main__":
    main()
