"""``cai export``: hand a run over to an RL engine of large models."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Target(StrEnum):
    """Whom a run is handed over to."""

    OPENRLHF = "openrlhf"
    VERL = "verl"
    TRL = "trl"


def export(
    target: Annotated[Target, typer.Argument(help="Whom it is for.")],
    run: Annotated[Path, typer.Argument(help="The run's folder; its preference model is trained.")],
    out: Annotated[Path, typer.Option("--out", help="A new folder for the files.")],
    arm: Annotated[
        str | None, typer.Option("--arm", help="Which of the run's arms; the first by default.")
    ] = None,
    base: Annotated[
        Path | None,
        typer.Option("--base", help="Where the recipe's paths start; by default in its folder."),
    ] = None,
    reward_url: Annotated[
        str, typer.Option("--reward-url", help="Where cai serve-pm will be reached.")
    ] = "http://127.0.0.1:8010",
) -> None:
    """Write prompts, preference pairs and a ready command for OpenRLHF, verl or TRL."""
    from constitutional.handover.export import export as write

    notes = write(target.value, run, out, arm=arm, base=base, url=reward_url)
    for note in notes:
        print(f"Note: {note}.", file=sys.stderr)
    print(f"{out}: {', '.join(sorted(path.name for path in out.iterdir()))}")
