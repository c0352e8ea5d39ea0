"""The results of a run as a table on the screen, and the figures beside ``metrics.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from constitutional.report.figures import draw_figures

#: How a policy is called where people read.
POLICIES = {
    "pretrained": "pretrained",
    "helpful": "helpful-only",
    "sl_cai": "SL-CAI",
    "rl_cai": "RL-CAI",
}
MEASURES = {
    "harmful_compliance": "harmful compliance",
    "reasoned_refusal": "reasoned refusal",
    "evasion": "evasion",
    "over_refusal": "over-refusal",
    "benign_correct": "benign correct",
    "ill_formed": "ill-formed",
}
_GROUPS = {"held_out": "held-out prompts", "seen": "seen prompts"}

Metrics = Mapping[str, Any]


def write_report(metrics: Metrics, folder: Path, console: Console | None = None) -> None:
    """Show the tables, draw the figures into ``folder``, and say where everything lies."""
    console = console or Console(width=None if Console().is_terminal else 110)
    for table in tables(metrics):
        console.print(table)
    if "revision_rounds" not in metrics:
        console.print("The recipe names no judge: the answers are kept, and no harm is measured.")
    counts = metrics["revisions"]
    console.print(
        f"{counts['revisions']} revisions: {counts['unchanged']} left the answer as it was, "
        f"{counts['left_out']} left out of training for their form."
    )
    draw_figures(metrics, folder)
    console.print(f"Took {metrics['seconds']['total']:.0f} s. Everything is in {folder}")


def tables(metrics: Metrics) -> list[Table]:
    """One table for each group of prompts, and one of the rounds of revision."""
    made = []
    for group, title in _GROUPS.items():
        rows = {
            POLICIES[name]: policy[group]
            for name, policy in metrics["policies"].items()
            if group in policy
        }
        if rows:
            made.append(_table(f"Behaviour on {title}, judged", "policy", rows))
    rounds: Sequence[Metrics] = metrics.get("revision_rounds", ())
    if rounds:
        rows = {str(k): entry for k, entry in enumerate(rounds)}
        made.append(_table("The training prompts, by round of revision", "round", rows))
    if "elo" in metrics:
        made.append(_elo_table(metrics["elo"]))
    return made


def _elo_table(elo: Mapping[str, Metrics]) -> Table:
    table = Table(title="Elo, SL-CAI at 0", caption="95% intervals by bootstrap over prompts")
    table.add_column("policy", no_wrap=True)
    for goal in elo:
        table.add_column(goal, justify="right", no_wrap=True)
    for name, shown in POLICIES.items():
        ratings = [elo[goal].get(name) for goal in elo]
        if any(ratings):
            table.add_row(shown, *(_rating(rating) for rating in ratings))
    return table


def _rating(estimate: Metrics | None) -> str:
    if estimate is None:
        return "-"
    return f"{estimate['value']:.0f} ({estimate['low']:.0f} to {estimate['high']:.0f})"


def _table(title: str, key: str, rows: Mapping[str, Metrics]) -> Table:
    measures = [m for m in MEASURES if any(m in row for row in rows.values())]
    largest = max(row[m]["n"] for row in rows.values() for m in measures if m in row)
    table = Table(title=title, caption=f"percent, with 95% intervals; n up to {largest}")
    table.add_column(key, no_wrap=True)
    for measure in measures:
        table.add_column(MEASURES[measure].replace(" ", "\n"), justify="right", no_wrap=True)
    for name, row in rows.items():
        table.add_row(name, *(_cell(row.get(measure)) for measure in measures))
    return table


def _cell(estimate: Metrics | None) -> str:
    if estimate is None:
        return "-"
    low, high = (f"{100 * estimate[end]:.0f}" for end in ("low", "high"))
    return f"{100 * estimate['value']:.1f} ({low}-{high})"
