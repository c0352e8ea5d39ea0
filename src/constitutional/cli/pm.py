"""``cai eval pm``: a preference model on pairs that people judged."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from constitutional.cli.tables import counting, print_estimates

if TYPE_CHECKING:
    from collections import Counter

    from constitutional.evaluation.pm_accuracy import PairAccuracy


def pm(
    file: Annotated[
        Path,
        typer.Argument(
            help="Judged pairs (JSONL): text_correct and text_incorrect, or chosen and rejected."
        ),
    ],
    model: Annotated[Path, typer.Option("--pm", help="A preference model folder of ours.")],
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    batch_size: Annotated[int, typer.Option("--batch-size", min=1)] = 32,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """How often a preference model prefers the better answer, clustered by conversation."""
    from constitutional.preference.judged import read_judged_pairs

    pairs, left_out = read_judged_pairs(file)

    from constitutional.evaluation.pm_accuracy import pair_accuracy
    from constitutional.preference.judged import scores_that_fit
    from constitutional.preference.model import PreferenceModel

    loaded = PreferenceModel.load(model, device=device)
    loaded.batch_size = batch_size
    with counting("pairs") as show:
        found = pair_accuracy(
            pairs,
            partial(scores_that_fit, loaded),
            model=str(model),
            progress=show,
            batch=4 * batch_size,
        )
    if as_json:
        report = {**found.model_dump(mode="json"), "left_out": dict(left_out)}
        print(json.dumps(report, indent=2))
    else:
        _print(file.name, found, left_out)


def _print(name: str, found: PairAccuracy, left_out: Counter[str]) -> None:
    counts = [
        f"{found.scored} of {found.pairs} pairs scored, {found.conversations} conversations",
        f"{found.too_long} too long",
        f"{found.ties} ties",
        *(f"{n} rows left out: {reason}" for reason, n in left_out.items()),
    ]
    if found.ece is not None:
        counts.append(f"calibration error {found.ece:.3f}")
    print_estimates(
        f"{name}, {found.model}",
        {
            "accuracy": found.accuracy,
            "longer answer": found.longer_answer,
            "always first": found.always_first,
        },
        what="share",
        counted="conversations",
        caption="; ".join(counts),
    )
