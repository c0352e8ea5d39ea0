"""``cai eval official``: a model on the official evaluations and samples, and on judged pairs."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from constitutional.cli.styles import PromptStyle

if TYPE_CHECKING:
    from constitutional.official import Table
    from constitutional.preference.settings import PreferenceConfig


def official(
    model: Annotated[
        str,
        typer.Option(
            "--model", help="A model folder, a name on the hub, or microworld:pretrained."
        ),
    ],
    folder: Annotated[
        Path | None,
        typer.Argument(help="The official data: evals/, samples/, prompts/; without it, skipped."),
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option("--pairs", help="Judged pairs of hh-rlhf, to train and test on."),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", help="The run's folder; the same command goes on in it.")
    ] = Path("runs/official"),
    style: Annotated[PromptStyle, typer.Option("--style")] = PromptStyle.AUTO,
    cot: Annotated[
        bool, typer.Option("--cot/--no-cot", help="Ask with a chain of thought as well.")
    ] = True,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, help="The first rows of each evaluation and of the pairs."),
    ] = None,
    learning_rate: Annotated[
        float, typer.Option("--learning-rate", help="Of the preference model.")
    ] = 1e-5,
    epochs: Annotated[float, typer.Option("--epochs", help="Of the preference model.")] = 1.0,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1)] = 16,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Official evaluations, official samples and a preference model on judged pairs: one table."""
    from constitutional.official import Order, official_table
    from constitutional.runs import Progress, interruptible

    order = Order(
        model=model,
        folder=None if folder is None else str(folder),
        pairs=None if pairs is None else str(pairs),
        style=style.value,
        cot=cot,
        limit=limit,
        seed=seed,
        batch_size=batch_size,
        preference=_training(learning_rate, epochs, batch_size),
    )
    command = "cai " + shlex.join(sys.argv[1:])
    with interruptible(out, command):
        table = official_table(order, out, command=command, progress=Progress())
        if as_json:
            print(table.model_dump_json(indent=2))
        else:
            _print(table)


def _training(learning_rate: float, epochs: float, batch_size: int) -> PreferenceConfig:
    """How the preference model is trained; InputError names the option that is wrong."""
    from pydantic import ValidationError

    from constitutional.errors import InputError
    from constitutional.preference.settings import PreferenceConfig

    try:
        return PreferenceConfig(
            learning_rate=learning_rate,
            epochs=epochs,
            batch_size=batch_size,
            max_length=1024,
            checkpoint_steps=20,
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"--{str(first['loc'][0]).replace('_', '-')}: {first['msg']}") from None


def _print(table: Table) -> None:
    from rich.console import Console
    from rich.table import Table as RichTable

    from constitutional.cli.tables import cell

    notes = [f"{part} skipped: {why}" for part, why in table.skipped.items()]
    notes += [
        f"{of}: {', '.join(f'{name} {value:.4g}' for name, value in counts.items())}"
        for of, counts in table.counts.items()
    ]
    shown = RichTable(
        title=cell(f"official data, {table.model}, seed {table.seed}"),
        caption=cell("\n".join(notes)),
        caption_justify="left",
    )
    for column in ("measure", "value", "95% interval", "n", ""):
        shown.add_column(column, overflow="fold")
    before = ""
    for line in table.lines:
        if line.of != before:
            shown.add_section()
            shown.add_row(cell(line.of), "", "", line.counted, style="bold")
        before, e = line.of, line.estimate
        shown.add_row(
            cell(f"  {line.measure}"),
            "none" if e is None else f"{e.value:.3f}",
            "" if e is None else f"{e.low:.3f} to {e.high:.3f}",
            "" if e is None else str(e.n),
            cell(line.note),
        )
    Console().print(shown)
