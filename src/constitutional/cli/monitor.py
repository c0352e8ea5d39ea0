"""``cai monitor``: the over-training monitors on files of answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from constitutional.errors import InputError


def monitor(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Answers: a stage folder of a run, JSON lines with prompt and response, official "
            "samples, or one answer a line."
        ),
    ],
    against: Annotated[
        Path | None, typer.Option("--against", help="Answers of the model it was trained from.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look for evasions, refusals, stock phrases and odd lengths in any model's answers."""
    from constitutional.evaluation.monitors import monitor_answers
    from constitutional.evaluation.texts import read_texts

    if len(set(files)) < len(files):
        raise InputError("a file of answers is named twice: name each once")
    reference = None if against is None else read_texts(against)
    reports = {str(path): monitor_answers(read_texts(path), reference) for path in files}
    if as_json:
        print(json.dumps({path: report.model_dump() for path, report in reports.items()}, indent=2))
        return

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from constitutional.cli.tables import cell

    for path, report in reports.items():
        table = Table(
            title=cell(path), caption=f"{report.answers} answers to {report.prompts} prompts"
        )
        for column in ("monitor", "value", "95% interval", "threshold", "", "examples"):
            table.add_column(column, overflow="fold" if column == "examples" else "ellipsis")
        for found in report.monitors:
            e = found.estimate
            digits = ".1f" if found.name == "length" else ".3f"
            table.add_row(
                found.name,
                format(e.value, digits),
                f"{e.low:{digits}} to {e.high:{digits}}",
                "" if found.threshold is None else format(found.threshold, digits),
                Text("flagged", style="bold red") if found.flagged else "",
                cell("; ".join(" ".join(text.split())[:50] for text in found.examples[:2])),
            )
        Console().print(table)
        for name, reason in report.left_out.items():
            Console(stderr=True).print(cell(f"{name} is left out: {reason}"))
