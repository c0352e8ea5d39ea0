"""``cai constitution``: check, show and convert constitutions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from constitutional.cli.attribution import attribute

app = typer.Typer(
    help="Check, show and convert constitutions.", no_args_is_help=True, rich_markup_mode=None
)
app.command()(attribute)

File = Annotated[str, typer.Argument(help="A constitution file of any known format, or 'default'.")]


@app.command()
def show(file: File) -> None:
    """Show the principles and what is asked of the model by each."""
    from rich.console import Console
    from rich.table import Table

    from constitutional.cli.tables import cell
    from constitutional.constitution import load_constitution

    constitution = load_constitution(file)
    table = Table(
        title=cell(constitution.name), caption=f"fingerprint {constitution.fingerprint[:16]}"
    )
    for column in ("id", "principle", "used to", "source", "weight"):
        table.add_column(column)
    for p in constitution.principles:
        table.add_row(*map(cell, (p.id, p.text, ", ".join(p.uses), p.source, f"{p.weight:g}")))
    Console().print(table)


@app.command()
def check(file: File) -> None:
    """Read a constitution and say what is in it; a wrong file is refused with its line."""
    from constitutional.constitution import load_constitution
    from constitutional.report.names import printable

    constitution = load_constitution(file)
    print(
        f"{printable(constitution.name)}: {len(constitution.critiquing)} principles critique and "
        f"revise, {len(constitution.comparing)} compare; fingerprint {constitution.fingerprint}"
    )


@app.command()
def convert(
    file: File,
    to: Annotated[Path, typer.Argument(help="The file to write.")],
    form: Annotated[
        str, typer.Option("--format", help="yaml, text, or another system's format.")
    ] = "yaml",
) -> None:
    """Write a constitution in another format; no prompt text changes by a byte."""
    from constitutional.constitution import load_constitution, save_constitution

    save_constitution(load_constitution(file), to, form)
    print(f"{to}: written as {form}")
