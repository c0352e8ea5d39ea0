"""How long each stage took, and what servers were asked."""

from __future__ import annotations

from typing import Any

from constitutional.report.blocks import Bar, Cell, Paragraph, Section, Table
from constitutional.report.names import plain, stage_title
from constitutional.report.numbers import lasting
from constitutional.report.one.view import View


def time_and_cost(view: View) -> Section:
    """Wall seconds of each stage in the order of the work; requests, tokens and money by engine."""
    stages = view.run.stages
    total = sum(stage.state.seconds for stage in stages)
    rows: list[list[Cell]] = [
        [
            stage_title(stage.name),
            "–" if stage.records is None else f"{stage.records:,}",
            Bar(lasting(stage.state.seconds), stage.state.seconds / total if total else 0.0),
            "done" if stage.state.done else "in progress",
        ]
        for stage in stages
    ]
    caption = f"Wall time over all sessions; {lasting(total)} in all. Measuring is not in it."
    blocks: list[Any] = [Table(("stage", "records", "time", "state"), rows, caption)]
    usage = _usage(view)
    blocks.append(
        usage or Paragraph("No server was asked: the run loaded all models itself.", "note")
    )
    return Section("cost", "Time and cost", blocks)


def _usage(view: View) -> Table | None:
    rows: list[list[Cell]] = []
    spent, priced = 0.0, True
    for stage, engines in view.run.usage.items():
        for engine, found in engines.items():
            rows.append(
                [
                    f"{stage_title(stage)}, {plain(engine)}",
                    f"{found['requests']:,}",
                    f"{found['retries']:,}",
                    f"{found['prompt_tokens']:,} ({found['cached_tokens']:,} cached)",
                    f"{found['completion_tokens']:,}",
                    "no prices given" if found["usd"] is None else f"{found['usd']:,.4f}",
                ]
            )
            priced = priced and found["usd"] is not None
            spent += found["usd"] or 0.0
    if not rows:
        return None
    head = ("stage, engine", "requests", "sent again", "prompt tokens", "completion tokens", "USD")
    whole = f"{spent:,.4f} USD in all" if priced else f"{spent:,.4f} USD where prices were given"
    return Table(head, rows, f"What servers were asked: {whole}.")
