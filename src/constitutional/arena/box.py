"""An arena that is open: the pairs of some runs, a votes database, and what raters do there."""

from __future__ import annotations

import threading
import time
from typing import NamedTuple

from constitutional.arena.database import Database
from constitutional.arena.order import Orders
from constitutional.arena.pairs import Pool
from constitutional.arena.records import GOALS, Ballot, Goal, Judgement, Pair, Rater
from constitutional.arena.results import Results, results
from constitutional.arena.votes import (
    add_pairs,
    cast,
    judged,
    standing,
    take_back,
    version,
)
from constitutional.errors import InputError

#: After a count of the votes it rests so many times as long as that took.
_REST = 9


class _Counted(NamedTuple):
    version: str
    results: Results
    until: float


class Turn(NamedTuple):
    """What a rater sees: the next pair (None when all are judged), how many are done, of how many,
    and the last judgement, which can be taken back.
    """

    ballot: Ballot | None
    done: int
    of: int
    last: Judgement | None


class Arena:
    """The pairs of ``pool`` and the votes on them. ``seed`` decides all orders."""

    def __init__(self, database: Database, pool: Pool, *, seed: int = 0):
        self.database, self.pool = database, pool
        self._pairs: dict[str, Pair] = {pair.id: pair for pair in pool.pairs}
        self._orders = {goal: Orders(pool.pairs, goal, seed) for goal in GOALS}
        self._seed = seed
        self._counted: _Counted | None = None
        self._counting = threading.Lock()
        add_pairs(database, pool.pairs)

    @property
    def goals(self) -> tuple[Goal, ...]:
        """Those that there are pairs for."""
        return tuple(goal for goal in GOALS if len(self._orders[goal]))

    def turn(self, rater: Rater, goal: Goal) -> Turn:
        """What the rater sees next."""
        with self.database.reading() as connection:
            done = judged(connection, rater.id)
        here = [j for j in done if j.pair in self._pairs and self._pairs[j.pair].goal == goal]
        seen = {judgement.pair for judgement in here}
        orders = self._orders[goal]
        pair = next((pair for pair in orders.of(rater.id) if pair.id not in seen), None)
        ballot = None if pair is None else Ballot(pair, orders.shown(rater.id, pair))
        return Turn(ballot, len(here), len(orders), here[-1] if here else None)

    def cast(self, judgement: Judgement) -> None:
        """Count a judgement, once. Raises InputError; see :func:`.votes.cast`."""
        if judgement.pair not in self._pairs:
            raise InputError("the vote names a pair that is not judged here: open the arena again")
        cast(self.database, judgement)

    def take_back(self, rater: Rater, judgement: str) -> None:
        """Undo a judgement. Raises InputError; see :func:`.votes.take_back`."""
        take_back(self.database, rater.id, judgement)

    def results(self) -> tuple[str, Results]:
        """What the votes say, and the version that it is of.

        Votes that came within ten times what the last count took are not in it yet, so that to
        count takes a tenth of a processor at most, however many people look on.
        """
        with self._counting:
            began = time.monotonic()
            if self._counted is not None and began < self._counted.until:
                return self._counted.version, self._counted.results
            with self.database.reading() as connection:
                seen = version(connection)
                votes, skips = standing(connection, self._pairs)
            found = results(self.pool.pairs, votes, skips, seed=self._seed)
            now = time.monotonic()
            self._counted = _Counted(seen, found, now + _REST * (now - began))
            return seen, found
