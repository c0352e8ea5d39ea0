"""``cai plan``: what a recipe will take, before anything is spent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def plan(
    recipe: Annotated[Path, typer.Argument(help="The recipe file (YAML).")],
    gpu: Annotated[
        str | None,
        typer.Option("--gpu", help="Plan for these, such as H100:8; else for this machine."),
    ] = None,
    gpu_usd: Annotated[
        float | None,
        typer.Option("--gpu-usd", min=0, help="What a GPU hour costs you in dollars."),
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(
            "--shape",
            help="A model that is not here: NAME=config.json, or NAME=52B (a known size).",
        ),
    ] = None,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate", help="Measure lengths and rates with the recipe's models for about 5 s."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Prompts, tokens, operations, memory, time and disk of every stage, and what does not fit."""
    from constitutional.planning.hardware import parse_gpus
    from constitutional.recipe import load_recipe

    # torch takes seconds to import: what is wrong is refused before
    gpus = None if gpu is None else parse_gpus(gpu)
    read = load_recipe(recipe)

    from constitutional.planning.reading import plan_recipe

    found = plan_recipe(read, recipe.parent, gpus=gpus, shapes=shape or (), calibrate=calibrate)
    if as_json:
        print(found.model_dump_json(indent=2))
        return
    from constitutional.report.plan import print_plan

    print_plan(found, gpu_usd)
