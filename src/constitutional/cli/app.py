"""The commands of ``cai``."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from constitutional.cli.constitution import app as constitution_app
from constitutional.cli.doctor import doctor
from constitutional.cli.evaluate import app as evaluate_app
from constitutional.cli.export import export
from constitutional.cli.microworld import app as microworld_app
from constitutional.cli.monitor import monitor
from constitutional.cli.plan import plan
from constitutional.cli.red_team import red_team
from constitutional.cli.report import report, show
from constitutional.cli.serve import serve_pm
from constitutional.cli.study import study
from constitutional.cli.votes import app as votes_app
from constitutional.cli.web import serve

app = typer.Typer(
    help="Constitutional AI: from principles in plain language to a helpful and harmless model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,  # its help costs 0.1 s of imports
)
app.add_typer(constitution_app, name="constitution")
app.add_typer(microworld_app, name="microworld")
app.add_typer(evaluate_app, name="eval")
app.add_typer(votes_app, name="votes")
app.command(short_help="Look for the marks of over-training in any model's answers.")(monitor)
app.command(short_help="Let a pretrained model write new prompts.")(red_team)
app.command(short_help="Write a report of a run, or of several side by side.")(report)
app.command(short_help="Show a run in the terminal, finished or in progress.")(show)
app.command(short_help="Look at runs in a browser.")(serve)
app.command("serve-pm", short_help="Serve a preference model to an RL library.")(serve_pm)
app.command(short_help="Hand a run over to OpenRLHF, verl or TRL.")(export)
app.command(short_help="What a recipe takes: tokens, memory, time, disk, money.")(plan)
app.command(short_help="Pre-registered studies: list them, run them, write what they found.")(study)
app.command(short_help="What this machine has, and what is not installed.")(doctor)

Out = Annotated[
    Path | None, typer.Option("--out", help="The run's folder; the same command goes on in it.")
]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Replaces the recipe's seed.")]
Constitutions = Annotated[
    list[str] | None,
    typer.Option(
        "--constitution", help="Replaces the recipe's constitution (a file, or 'default')."
    ),
]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Set malformed prompt lines aside instead of stopping.")
]

Share = Annotated[
    Path | None,
    typer.Option("--share", help="A folder of finished stages: equal ones are taken from there."),
]


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"constitutional {version('constitutional')}")
        raise typer.Exit


@app.callback()
def common(
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Options of every command."""


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(help="The recipe file (YAML).")],
    out: Out = None,
    seed: Seed = None,
    constitution: Constitutions = None,
    skip_bad: SkipBad = False,
    share: Share = None,
) -> None:
    """Run a recipe, or go on with it where it stopped."""
    from constitutional.cli.run import run_recipe

    run_recipe(
        recipe, out=out, seed=seed, constitution=constitution, skip_bad=skip_bad, share=share
    )


@app.command(short_help="Run the whole of it on the embedded microworld.")
def demo(out: Out = None, seed: Seed = None, constitution: Constitutions = None) -> None:
    """Run the whole of it on the embedded microworld, in minutes on two CPU cores."""
    from constitutional.cli.run import run_recipe
    from constitutional.microworld import data_file

    run_recipe(data_file("recipe.yaml"), out=out, seed=seed, constitution=constitution)
