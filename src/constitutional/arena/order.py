"""In which order a rater meets the pairs, and which answer stands first: drawn by a seed.

Every rater has an order of their own, so that votes spread over the pairs; every fifth pair comes
from an order that all share, so that there are pairs which several raters judged and agreement can
be measured. The policies' names take no part, and nothing that was voted does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from constitutional.arena.records import Goal, Pair, Shown
from constitutional.runs.seeds import derive_seed

#: Places in a list of pairs.
Places: TypeAlias = NDArray[np.uint32]

#: One pair of so many is from the order that all raters share.
SHARED = 5


class Orders:
    """The orders of all raters over the pairs of one goal; drawn when first asked for, and kept."""

    def __init__(self, pairs: Sequence[Pair], goal: Goal, seed: int):
        self._seed, self._goal = seed, goal
        # by id, so that the order in which runs are read changes nothing
        self._pairs = sorted((pair for pair in pairs if pair.goal == goal), key=lambda p: p.id)
        self._shared = self._shuffled("all")
        self._own: dict[int, Places] = {}

    def __len__(self) -> int:
        return len(self._pairs)

    def of(self, rater: int) -> Iterator[Pair]:
        """All pairs, each once."""
        if rater not in self._own:
            self._own[rater] = self._shuffled(rater)
        return (self._pairs[place] for place in _woven(self._own[rater], self._shared))

    def shown(self, rater: int, pair: Pair) -> Shown:
        """Which answer this rater sees first."""
        return "ba" if derive_seed(self._seed, "first", rater, pair.id) % 2 else "ab"

    def _shuffled(self, who: int | str) -> Places:
        rng = np.random.default_rng(derive_seed(self._seed, "arena", self._goal, who))
        return rng.permutation(len(self._pairs)).astype(np.uint32)


def _woven(own: Places, shared: Places) -> Iterator[int]:
    """``SHARED - 1`` of ``own`` to one of ``shared``, each place once."""
    seen: set[int] = set()
    sources = (_new(own, seen), _new(shared, seen))
    while len(seen) < len(own):
        for source, size in zip(sources, (SHARED - 1, 1), strict=True):
            yield from islice(source, size)


def _new(places: Places, seen: set[int]) -> Iterator[int]:
    """Those that were not seen when their turn comes."""
    for place in map(int, places):
        if place not in seen:
            seen.add(place)
            yield place
