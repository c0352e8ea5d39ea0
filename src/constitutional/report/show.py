"""A run in the terminal: tables, curves in a line each, warnings, and a chain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain as chained
from typing import Any

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from constitutional.errors import InputError
from constitutional.reading.run import Run
from constitutional.report.blocks import ChainCard, Step
from constitutional.report.names import plain, printable, shown, stage_title
from constitutional.report.numbers import counted, lasting
from constitutional.report.one.chains import card, chosen_chains
from constitutional.report.one.view import View
from constitutional.report.one.what import subtitle
from constitutional.report.sparks import sparkline
from constitutional.report.summary import lines, tables
from constitutional.report.warnings import warnings_of

#: Entries of a history that are drawn, with how they are called.
_CURVES = {
    "reward": "reward",
    "reward_held_out": "held-out reward",
    "kl_k1": "KL (k1)",
    "entropy": "entropy",
    "response_length": "length",
    "margin": "margin",
}


def show_run(run: Run, console: Console, chain: str | None = None) -> None:
    """Print it; ``chain`` is the id of the chain to show. Raises InputError for an unknown one."""
    view = View(run)
    example = _example(view, chain)
    console.print(Text(run.name, style="bold"))
    console.print(Text(subtitle(view)))
    if not run.finished:
        console.print(_stages(run))
    for table in tables(view.metrics, console):
        console.print(table)
    for line in chained(lines(view.metrics), _curves(view.metrics)):
        # text and not markup: names and sentences may hold square brackets
        console.print(Text(line))
    for about, said in warnings_of(run, view.metrics):
        console.print(Text.assemble(("Warning: ", "yellow"), f"{about}: {said}"))
    if example is not None:
        for part in _chain(example):
            console.print(part)


def _stages(run: Run) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 2, 0, 0))
    for column in ("stage", "records", "time", "state"):
        table.add_column(column)
    for stage in run.stages:
        records = "" if stage.records is None else f"{stage.records:,}"
        state = "done" if stage.state.done else "in progress"
        name = Text(stage_title(stage.name))
        table.add_row(name, records, lasting(stage.state.seconds), state)
    return table


def _curves(metrics: Mapping[str, Any]) -> Iterator[str]:
    """A line for each entry of each arm's history, from its first value to its last."""
    for arm, entry in metrics.get("arms", {}).items():
        history = (entry.get("training") or {}).get("history") or ()
        for key, name in _CURVES.items():
            values = [step[key] for step in history if step.get(key) is not None]
            if len(values) > 1:
                ends = f"{values[0]:.3g} to {values[-1]:.3g}"
                yield f"{shown(arm)} {name:<16}{sparkline(values)}  {ends}"


def _example(view: View, wanted: str | None) -> ChainCard | None:
    """The chain that was asked for, or the first of the report's examples."""
    if wanted is None:
        return next((card(found, view.principles) for found in chosen_chains(view.run, 1)), None)
    for found in view.run.chains:
        if found.id == wanted:
            return card(found, view.principles)
    raise InputError(f"{view.run.path} has no chain {plain(wanted)!r} so far")


def _chain(found: ChainCard) -> Iterator[RenderableType]:
    """Who says what in two columns; what a revision added is green."""
    rounds = counted(len(found.steps), "round")
    yield Text(f"\nChain {plain(found.id)}: {rounds}; red-team text", style="bold")
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    for role, text in (*found.prompt, ("response", found.response)):
        grid.add_row(role, Text(printable(text)))
    for number, step in enumerate(found.steps, start=1):
        principle = [plain(text) for text in (step.principle, step.principle_text) if text]
        grid.add_row(f"round {number}", Text(": ".join(principle), style="bold"))
        if step.critique is not None:
            grid.add_row("critique", Text(printable(step.critique)))
        grid.add_row("revision", _revision(step))
    yield grid


def _revision(step: Step) -> Text:
    parts = [
        Text(printable(change.text), style="green" if change.kind == "added" else "")
        for change in step.changes
        if change.kind != "removed"
    ]
    flags = [Text(f" [{flag}]", style="yellow") for flag in step.flags]
    return Text.assemble(*(parts or [Text("left as it was", style="dim")]), *flags)
