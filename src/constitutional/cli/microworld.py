"""``cai microworld``: make the embedded models again, and write what its grammar can say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="The embedded microworld: make its models again, write its principles.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def build(
    out: Annotated[Path, typer.Option("--out", help="Where to make it; goes on where it stopped.")],
    size: Annotated[str, typer.Option("--size", help="small, medium, base or large.")] = "base",
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    tokens: Annotated[
        int | None, typer.Option("--tokens", min=100_000, help="Pretraining tokens.")
    ] = None,
) -> None:
    """Make corpus, tokenizer, pretrained and helpful-only model and prompt files from a seed."""
    from constitutional.microworld.build import build_microworld

    build_microworld(out, size=size, seed=seed, tokens=tokens)


@app.command()
def principles(
    file: Annotated[Path, typer.Argument(help="The constitution file to write (YAML).")],
) -> None:
    """Write every principle of its grammar, as candidates for ``cai constitution infer``."""
    from constitutional.constitution import Constitution, save_constitution
    from constitutional.microworld.principles import every_principle

    every = Constitution(name="microworld-grammar", principles=every_principle())
    save_constitution(every, file)
    print(f"{file}: {len(every.principles)} principles")
