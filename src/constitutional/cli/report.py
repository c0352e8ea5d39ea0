"""``cai report`` and ``cai show``: a run to read, on paper and in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Runs = Annotated[list[Path], typer.Argument(help="The run's folder, or several to compare.")]


def report(
    runs: Runs,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The file; report.html in the run's folder by default."),
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Write Markdown, not one HTML file.")
    ] = False,
) -> None:
    """Write a report of a run, or of two and more side by side."""
    from constitutional.report.write import write_page

    print(write_page(runs, out, markdown=markdown))


def show(
    run: Annotated[Path, typer.Argument(help="The run's folder; it may be in progress.")],
    chain: Annotated[
        str | None, typer.Option("--chain", help="The id of the chain to show.")
    ] = None,
) -> None:
    """Show a run in the terminal: results, curves, warnings, a chain with its revisions."""
    from constitutional.reading import Run
    from constitutional.report.show import show_run
    from constitutional.report.summary import new_console

    show_run(Run(run), new_console(), chain)
