"""An arena from what a command names: runs, a place for votes, and which pairs to judge."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from constitutional.arena.box import Arena
from constitutional.arena.database import Database
from constitutional.arena.pairs import PROMPTS, Pool, pairs_of_answers, pairs_of_comparisons
from constitutional.errors import InputError
from constitutional.reading import Run

#: Answers of policies against each other, or the pairs that preference models learn from.
Pairs = Literal["answers", "comparisons"]


def usual_place() -> Path:
    """The SQLite file where votes are kept unless another place is named; its folder is made."""
    home = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    folder = Path(home).expanduser() / "constitutional"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "votes.sqlite"


def shown_place(place: str | Path) -> str:
    """The place of votes for people to read: without the password of a URL."""
    return re.sub(r"(?<=://)[^@/]*@", "...@", str(place))


def open_arena(
    runs: Sequence[Run],
    place: str | Path,
    *,
    pairs: Pairs = "answers",
    policies: Sequence[str] = (),
    prompts: int = PROMPTS,
    seed: int = 0,
) -> Arena:
    """The arena over ``runs``, with its votes at ``place`` (a file, or a PostgreSQL URL).

    Raises InputError where there is nothing to judge, or the database cannot be used.
    """
    pool = _pool(runs, pairs, policies, prompts, seed)
    if not pool.pairs:
        raise InputError(
            "there is nothing to judge: all answers to the same prompt are the same; name other "
            "policies"
        )
    return Arena(Database.open(place), pool, seed=seed)


def _pool(
    runs: Sequence[Run], pairs: Pairs, policies: Sequence[str], prompts: int, seed: int
) -> Pool:
    if pairs == "answers":
        return pairs_of_answers(runs, policies=policies, prompts=prompts, seed=seed)
    if len(runs) != 1 or policies:
        raise InputError(
            "the comparisons of one run are judged at a time, and whose answers they hold is not "
            "recorded: name one run and no policy"
        )
    return pairs_of_comparisons(runs[0], prompts=prompts, seed=seed)
