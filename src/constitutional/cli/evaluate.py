"""``cai eval``: score a model on fixed questions."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Score models on fixed questions.", no_args_is_help=True)


class PromptStyle(StrEnum):
    """How a model is spoken to."""

    AUTO = "auto"
    TRANSCRIPT = "transcript"
    CHAT = "chat"


@app.callback()
def group() -> None:
    """Keeps the commands named, also while there is only one."""


@app.command()
def choices(
    file: Annotated[Path, typer.Argument(help="Questions: prompt, corrects, incorrects (JSONL).")],
    model: Annotated[str, typer.Option("--model", help="A model folder or a name on the hub.")],
    style: Annotated[PromptStyle, typer.Option("--style")] = PromptStyle.AUTO,
    both_orders: Annotated[
        bool, typer.Option("--both-orders", help="Ask with (A) and (B) exchanged as well.")
    ] = False,
    cot: Annotated[
        bool, typer.Option("--cot", help="Let the model think step by step before it answers.")
    ] = False,
    few_shots: Annotated[
        Path | None,
        typer.Option(
            "--few-shots",
            help="Chain-of-thought examples (JSON); rows that they show are split off.",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="The first rows only.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="For the chains of thought.")] = 0,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1)] = 16,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Accuracy by log-probabilities of the answers, with intervals clustered by conversation."""
    from constitutional.errors import InputError
    from constitutional.evaluation.choices import (
        evaluate_choices,
        read_choice_rows,
        read_cot_examples,
    )

    if few_shots is not None and not cot:
        raise InputError("--few-shots are examples of a chain of thought: add --cot")
    rows = read_choice_rows(file)[:limit]
    examples = [] if few_shots is None else read_cot_examples(few_shots)

    from constitutional.engines import load_engine

    def show(done: int, total: int) -> None:
        print(f"\r{done} of {total} questions", end="", file=sys.stderr, flush=True)

    engine = load_engine(model, style=style.value, batch_size=batch_size)
    try:
        found = evaluate_choices(
            rows,
            engine,
            both_orders=both_orders,
            cot=cot,
            examples=examples,
            seed=seed,
            progress=show,
            batch=batch_size,
        )
    finally:
        engine.close()
        print(file=sys.stderr)
    if as_json:
        print(found.model_dump_json(indent=2))
        return

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from constitutional.evaluation.intervals import Estimate

    table = Table(
        title=Text(f"{file.name}, {found.model}"),
        caption=f"{found.rows} rows of {found.conversations} conversations, "
        f"{found.unreadable} unreadable",
    )
    for column in ("share", "value", "95% interval", "conversations"):
        table.add_column(column)
    for name, value in found:
        if isinstance(value, Estimate):
            interval = f"{value.low:.3f} to {value.high:.3f}"
            table.add_row(name.replace("_", " "), f"{value.value:.3f}", interval, str(value.n))
    Console().print(table)
