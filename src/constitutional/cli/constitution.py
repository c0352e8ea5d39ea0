"""``cai constitution``: check, show and convert constitutions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from constitutional.cli.attribution import attribute
from constitutional.cli.constitution_infer import audit, infer
from constitutional.cli.constitution_merge import merge

app = typer.Typer(
    help="Check, show and convert constitutions.", no_args_is_help=True, rich_markup_mode=None
)
app.command(short_help="Find the principles behind preferences.")(infer)
app.command(short_help="Show which principles labels follow.")(audit)
app.command(short_help="Make a constitution of statements and votes.")(merge)
app.command(short_help="Say which principles pushed a policy.")(attribute)

File = Annotated[
    str,
    typer.Argument(
        help="A constitution file of any known format, or one that ships: 'default', "
        "'microworld:constitution.yaml'."
    ),
]


@app.command()
def show(file: File) -> None:
    """Show the principles and what is asked of the model by each."""
    from rich.console import Console
    from rich.table import Table

    from constitutional.cli.tables import cell
    from constitutional.recipe import named_constitution

    constitution = named_constitution(file)
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
    from constitutional.recipe import named_constitution
    from constitutional.report.names import printable

    constitution = named_constitution(file)
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
    from constitutional.constitution import save_constitution
    from constitutional.recipe import named_constitution

    save_constitution(named_constitution(file), to, form)
    print(f"{to}: written as {form}")


On = Annotated[
    Path | None, typer.Option("--on", help="The folder of a run whose labels are looked at.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command(short_help="Say what is wrong with a constitution, and what to do.")
def lint(file: File, on: On = None, as_json: Json = False) -> None:
    """Halves, duplicates, contradictions; with a run also what its labels say of each principle.

    Exits with 1 where a finding is an error.
    """
    from constitutional.cli.instrument.lint import lint as show_findings

    show_findings(file, on, as_json=as_json)


@app.command(short_help="What differs between two constitutions, and what that does to a run.")
def diff(
    old: Annotated[str, typer.Argument(help="A constitution; with --on, the run's own.")],
    new: Annotated[str, typer.Argument(help="The constitution that it is compared with.")],
    on: On = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Label again what changes, without being asked.")
    ] = False,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Train the preference models on the new labels too.")
    ] = False,
    as_json: Json = False,
) -> None:
    """What differs; with a run the cost of labelling again what changes, then its effect.

    What is asked is kept in RUN/diffs, and is not asked again.
    """
    from constitutional.cli.instrument.diff import diff as show_difference

    show_difference(old, new, on, yes=yes, retrain=retrain, as_json=as_json)
