"""``cai eval elo``: Elo ratings from recorded human votes."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from constitutional.cli.tables import print_estimates


class TieRule(StrEnum):
    """What a vote for neither counts."""

    HALF = "half"
    DROP = "drop"


def elo(
    files: Annotated[
        list[Path],
        typer.Argument(help="Votes (JSONL): prompt, policy_a, policy_b, vote, goal, rater."),
    ],
    zero: Annotated[
        str | None,
        typer.Option("--zero", help="The policy at 0; sl_cai where it is named, else the first."),
    ] = None,
    ties: Annotated[
        TieRule, typer.Option("--ties", help="Half a win for each, or dropped as in the paper.")
    ] = TieRule.HALF,
    seed: Annotated[int, typer.Option("--seed", min=0, help="For the intervals.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ratings of policies by recorded votes, for each goal, with intervals over prompts."""
    from constitutional.evaluation.votes import elo_of_votes, read_votes

    votes = read_votes(files)
    tables = elo_of_votes(votes, zero, ties=ties.value, seed=seed)
    if as_json:
        print(json.dumps({goal: t.model_dump(mode="json") for goal, t in tables.items()}, indent=2))
        return
    for goal, table in tables.items():
        raters = len({vote.rater for vote in votes if vote.goal == goal})
        counts = [
            f"{table.comparisons} votes on {table.prompts} prompts, raters: {raters}",
            f"{table.tied} ties, {'half a win each' if table.ties == 'half' else 'dropped'}",
            f"{table.zero} is at 0",
        ]
        if table.unbounded:
            counts.append(f"at least so far, not how far: {', '.join(table.unbounded)}")
        print_estimates(
            f"{goal} Elo",
            table.ratings,
            what="policy",
            counted="prompts",
            caption="; ".join(counts),
            digits=0,
        )
