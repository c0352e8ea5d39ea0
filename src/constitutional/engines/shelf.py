"""What was read a moment ago, kept for prompts that go on from there.

A critique-revision chain asks for a critique of a transcript and then for a revision of the same
transcript with the critique in it: all but the end has been read. What is kept are the states of
the last request's rows, for as long as a caller holds the shelf open
(:meth:`.LocalEngine.remembering`); outside of that nothing is, so that no answer depends on what
was asked before.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from typing import NamedTuple

import torch

from constitutional.engines.ragged_cache import RowCache
from constitutional.engines.sharing import ROOT_TOKENS
from constitutional.packing.rows import common_length

#: Copying a shorter beginning gains nothing.
WORTH_COPYING = 4
#: Bytes that one request may leave behind in the memory of the CPU; of a GPU it is half of what is
#: free.
HELD_AT_MOST = 2 << 30

Text = tuple[int, ...]


class Found(NamedTuple):
    """The first ``length`` tokens of a text, in a row of a cache."""

    cache: RowCache
    row: int
    length: int


class Read(NamedTuple):
    """The tokens that were read in a row of a cache."""

    text: Sequence[int]
    cache: RowCache
    row: int


_NOTHING = Found(RowCache(0, 0), 0, 0)


class Shelf:
    """What was read, by root and tokens; it is closed, and empty, until it is opened."""

    def __init__(self) -> None:
        self.is_open = False
        self._roots: dict[Text, RowCache] = {}
        self._rows: dict[Text, list[Read]] = {}
        self._next: dict[Text, list[Read]] = {}
        #: Bytes that the request under way has left here.
        self._held = 0

    def open(self) -> None:
        """Keep from now on."""
        self.is_open = True

    def close(self) -> None:
        """Forget all, and keep no more."""
        self.is_open = False
        self.clear()

    def clear(self) -> bool:
        """Forget all; whether there was anything."""
        kept = (self._roots, self._rows, self._next)
        found = any(kept)
        for each in kept:
            each.clear()
        return found

    def known_root(self, root: Sequence[int]) -> int:
        """How much of ``root`` to take for one: as much as was taken before, else all of it.

        The accidental beginning of one request's prompts is not that of the next one's.
        """
        known = (len(text) for text in self._roots if tuple(root[: len(text)]) == text)
        return max((n for n in known if n >= ROOT_TOKENS), default=len(root))

    def root(self, root: Text) -> RowCache | None:
        """The states of a root."""
        return self._roots.get(root)

    def put_root(self, root: Text, cache: RowCache) -> None:
        """Keep the states of a root."""
        if self.is_open:
            self._roots[root] = cache

    def takes(self, size: int, device: torch.device) -> bool:
        """Whether states of so many bytes may be kept: they are only there to save time."""
        if device.type == "cuda":
            return self.is_open and size <= torch.cuda.mem_get_info(device)[0] // 2
        return self.is_open and self._held + size <= HELD_AT_MOST

    def put(self, root: Text, cache: RowCache, texts: Sequence[Sequence[int]]) -> None:
        """Keep the rows of a cache, whose tokens behind ``root`` are ``texts``."""
        if self.is_open:
            self._held += cache.size_of(cache.rows, cache.room)
            rows = self._next.setdefault(root, [])
            rows += [Read(text, cache, row) for row, text in enumerate(texts)]

    def turn(self) -> None:
        """A request has ended: what it left is there for the next one, and nothing else."""
        self._rows = {root: sorted(rows, key=_text) for root, rows in self._next.items()}
        self._next = {}
        self._held = 0

    def longest(self, root: Text, text: Sequence[int]) -> Found:
        """The row behind ``root`` that shares the longest beginning with ``text``; 0 if none."""
        rows = self._rows.get(root, [])
        place = bisect(rows, list(text), key=_text)
        near = rows[max(0, place - 1) : place + 1]  # neighbours in order share the most
        found = [Found(x.cache, x.row, common_length(x.text, text)) for x in near]
        best = max(found, key=lambda each: each.length, default=_NOTHING)
        return best if best.length >= WORTH_COPYING else _NOTHING


def _text(row: Read) -> list[int]:
    return list(row.text)
