"""``cai constitution lint``: findings as a table or as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from constitutional.cli.tables import cell

if TYPE_CHECKING:
    from constitutional.instrument.findings import Finding


def lint(file: str, on: Path | None, *, as_json: bool) -> None:
    """See ``cai constitution lint --help``."""
    from constitutional.instrument.labelled import labelled_run
    from constitutional.instrument.lint import lint as find
    from constitutional.recipe import named_constitution

    run = None if on is None else labelled_run(on)
    found = find(named_constitution(file) if run is None else run.read(file), run)
    if as_json:
        print(json.dumps([finding.model_dump(mode="json") for finding in found], indent=2))
    else:
        _print(file, found, with_run=run is not None)
    if any(finding.severity == "error" for finding in found):
        raise typer.Exit(1)


def _print(file: str, found: Sequence[Finding], *, with_run: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    from constitutional.report.names import printable

    looked = (
        "its texts and the run's labels" if with_run else "its texts; --on RUN reads labels too"
    )
    if not found:
        print(printable(f"{file}: 0 findings. Looked at {looked}."))
        return
    table = Table(
        title=cell(f"{file}: {len(found)} findings"), caption=cell(f"Looked at {looked}.")
    )
    for column in ("", "finding", "principles", "what", "do"):
        table.add_column(column, overflow="fold")
    for f in found:
        who = ", ".join(f.principles) or "all"
        table.add_row(*map(cell, (f.severity, f.kind, who, f.message, f.do)))
    Console().print(table)
