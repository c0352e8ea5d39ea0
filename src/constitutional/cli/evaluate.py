"""``cai eval``: score models on fixed questions, judged pairs, recorded votes and harm."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from constitutional.cli.elo import elo
from constitutional.cli.harm_score import harm_score
from constitutional.cli.official import official
from constitutional.cli.pm import pm
from constitutional.cli.styles import PromptStyle as PromptStyle
from constitutional.cli.tables import counting, print_estimates

if TYPE_CHECKING:
    from constitutional.evaluation.choices import ChoiceMetrics, ChoiceRow

app = typer.Typer(
    help="Score models on fixed questions and answers.", no_args_is_help=True, rich_markup_mode=None
)
app.command()(pm)
app.command()(elo)
app.command()(harm_score)
app.command()(official)


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
    from constitutional.evaluation.choices import read_choice_rows, read_cot_examples

    if few_shots is not None and not cot:
        raise InputError("--few-shots are examples of a chain of thought: add --cot")
    rows = read_choice_rows(file)[:limit]
    examples = [] if few_shots is None else read_cot_examples(few_shots)
    found = _ask(
        rows,
        model,
        style,
        both_orders=both_orders,
        cot=cot,
        examples=examples,
        seed=seed,
        batch_size=batch_size,
    )
    if as_json:
        print(found.model_dump_json(indent=2))
    else:
        _print(file.name, found)


def _ask(
    rows: list[ChoiceRow],
    model: str,
    style: PromptStyle,
    *,
    both_orders: bool,
    cot: bool,
    examples: list[str],
    seed: int,
    batch_size: int,
) -> ChoiceMetrics:
    from constitutional.engines import load_engine
    from constitutional.evaluation.choices import evaluate_choices

    engine = load_engine(model, style=style.value, batch_size=batch_size)
    with closing(engine), counting("questions") as show:
        return evaluate_choices(
            rows,
            engine,
            both_orders=both_orders,
            cot=cot,
            examples=examples,
            seed=seed,
            progress=show,
            batch=batch_size,
        )


def _print(name: str, found: ChoiceMetrics) -> None:
    from constitutional.evaluation.intervals import Estimate

    print_estimates(
        f"{name}, {found.model}",
        {key.replace("_", " "): value for key, value in found if isinstance(value, Estimate)},
        what="share",
        counted="conversations",
        caption=f"{found.rows} rows of {found.conversations} conversations, "
        f"{found.unreadable} unreadable",
    )
