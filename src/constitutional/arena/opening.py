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
from constitutional.runs.files import make_folder

#: Answers of policies against each other, or the pairs that preference models learn from.
Pairs = Literal["answers", "comparisons"]


def usual_place() -> Path:
    """The SQLite file where votes are kept unless another place is named."""
    home = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(home).expanduser() / "constitutional" / "votes.sqlite"


def open_votes(place: str | None) -> Database:
    """The database at ``place``: a file, a URL, or None for the usual file. Raises InputError."""
    if place is not None:
        return Database.open(place)
    usual = usual_place()
    make_folder(usual.parent)
    return Database.open(usual)


def shown_place(place: str | None) -> str:
    """The place of votes for people to read: without the user and the password of a URL."""
    return re.sub(r"(?<=://)[^@/]*@", "...@", place or str(usual_place()))


def open_arena(
    runs: Sequence[Run],
    place: str | None,
    *,
    pairs: Pairs = "answers",
    policies: Sequence[str] = (),
    prompts: int = PROMPTS,
    seed: int = 0,
) -> Arena:
    """The arena over ``runs``, with its votes at ``place`` (see :func:`open_votes`).

    Raises InputError where there is nothing to judge, or the database cannot be used.
    """
    _refuse_wishes(runs, pairs, policies)
    pool = _pool(runs, pairs, policies, prompts, seed)
    if not pool.pairs:
        raise InputError(
            "there is nothing to judge: all answers to the same prompt are the same; name other "
            "policies"
        )
    return Arena(open_votes(place), pool, seed=seed)


def refuse_early(
    runs: Sequence[Run],
    place: str | None,
    *,
    pairs: Pairs = "answers",
    policies: Sequence[str] = (),
) -> None:
    """Raise InputError at once for what :func:`open_arena` would refuse however a run goes on."""
    _refuse_wishes(runs, pairs, policies)
    if place is not None:  # named by somebody, who may have mistyped it
        Database.check(place)


def _refuse_wishes(runs: Sequence[Run], pairs: Pairs, policies: Sequence[str]) -> None:
    if pairs == "comparisons" and (len(runs) != 1 or policies):
        raise InputError(
            "the comparisons of one run are judged at a time, and whose answers they hold is not "
            "recorded: name one run and no policy"
        )
    known = sorted({name for run in runs for name in run.policies})
    strange = [name for name in policies if name not in known]
    if strange and all(run.finished for run in runs):
        raise InputError(f"no run has a policy {strange[0]!r}: known are {', '.join(known)}")


def _pool(
    runs: Sequence[Run], pairs: Pairs, policies: Sequence[str], prompts: int, seed: int
) -> Pool:
    if pairs == "answers":
        return pairs_of_answers(runs, policies=policies, prompts=prompts, seed=seed)
    return pairs_of_comparisons(runs[0], prompts=prompts, seed=seed)
