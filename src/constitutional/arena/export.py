"""Votes as files: for Elo ratings elsewhere, and for preference models to learn from."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from constitutional.arena.agreement import VALUES
from constitutional.arena.records import CastVote, Goal, Pair
from constitutional.arena.results import Names
from constitutional.runs.records import Comparison


class Exported(NamedTuple):
    """How many rows were written, and how many were left out, for nothing can be said of them."""

    written: int
    left_out: int


def write_votes(path: Path, pairs: Iterable[Pair], votes: Sequence[CastVote]) -> Exported:
    """One row for each vote, as ``cai eval elo`` reads it; without the policies it is left out."""
    names, left_out = Names(pairs), 0
    with path.open("w", encoding="utf-8") as file:
        for vote in votes:
            row = names.row(vote)
            if row is None:
                left_out += 1
                continue
            file.write(json.dumps(row.model_dump(mode="json")) + "\n")
    return Exported(len(votes) - left_out, left_out)


def write_comparisons(path: Path, votes: Sequence[CastVote], goal: Goal) -> Exported:
    """One row of TRL's form for each pair that was voted on, with the votes as a soft label.

    It is what ``rl.helpfulness`` and ``rl.harmlessness`` of a recipe read as ``file``. Pairs that
    have ties alone are left out.
    """
    # imported here: writing rows is the preference stage's, and nothing else of it is needed
    from constitutional.preference.data import write_trl

    found = comparisons_of(votes, goal)
    left_out = write_trl(found, path)
    return Exported(len(found) - left_out, left_out)


def comparisons_of(votes: Sequence[CastVote], goal: Goal) -> list[Comparison]:
    """One for each pair; ``prob_a`` is a's share of the votes for a side.

    A tie is no label, as in Bai et al. 2022a (arXiv 2204.05862): with nothing but ties ``prob_a``
    is None.
    """
    by_pair: dict[str, list[CastVote]] = defaultdict(list)
    for vote in votes:
        if vote.pair.goal == goal:
            by_pair[vote.pair.id].append(vote)
    return [_comparison(of) for of in by_pair.values()]


def _comparison(votes: Sequence[CastVote]) -> Comparison:
    pair = votes[0].pair
    sided = [VALUES[vote.choice] for vote in votes if vote.choice != "tie"]
    return Comparison(
        id=f"{pair.prompt_id}/{pair.id[:12]}",
        prompt=pair.prompt,
        a=pair.a.text,
        b=pair.b.text,
        tags=pair.tags,
        goal=pair.goal,
        labeller=f"{len(votes)} human vote{'s' if len(votes) > 1 else ''}",
        prob_a=sum(sided) / len(sided) if sided else None,
    )
