"""Texts that say the same, word for word or nearly.

Words are compared without case and without punctuation around them. Two texts are near duplicates
when the Jaccard index of their runs of n words is high. A language written without blanks has one
"word" a sentence here, so that of it only equal texts are found.
"""

from __future__ import annotations

import math
from collections import defaultdict
from fractions import Fraction

Words = tuple[str, ...]

_AROUND_WORDS = ".,;:!?…\"'“”‘’()[]¿¡"


def words_of(text: str) -> Words:
    """The words of a text in the form in which they are compared."""
    bare = (word.strip(_AROUND_WORDS) for word in text.casefold().replace("’", "'").split())
    return tuple(word for word in bare if word)


def runs_of(words: Words, n: int) -> frozenset[Words]:
    """All runs of ``n`` words; of a shorter text the whole of it."""
    return frozenset(words[i : i + n] for i in range(max(1, len(words) - n + 1)))


class Texts:
    """Named texts, in which an equal or a near one is looked up."""

    def __init__(self, near_words: int, near_share: float):
        self._n = near_words
        # as it is written: 0.7 of 10 runs is 7, which the binary 0.7 misses by a hair
        self._share = Fraction(str(near_share))
        self._equal: dict[Words, str] = {}
        self._texts: list[tuple[str, frozenset[Words]]] = []
        self._having: defaultdict[Words, list[int]] = defaultdict(list)

    def add(self, name: str, text: str) -> None:
        """Take in a text; of equal ones the first keeps its name."""
        words = words_of(text)
        if words in self._equal:
            return
        self._equal[words] = name
        runs = runs_of(words, self._n)
        for run in runs:
            self._having[run].append(len(self._texts))
        self._texts.append((name, runs))

    def equal(self, text: str) -> str | None:
        """The name of the text with the same words."""
        return self._equal.get(words_of(text))

    def near(self, text: str) -> str | None:
        """The name of the nearest text if it is a near duplicate; of equally near ones the first.

        No near one is missed: it shares at least ``share`` of the runs here, so it has one of any
        ``runs - needed + 1`` of them, and only texts with one of the rarest are looked at (the
        prefix filter of Chaudhuri, Ganti and Kaushik 2006).
        """
        runs = runs_of(words_of(text), self._n)
        needed = math.ceil(self._share * len(runs))
        rarest = sorted(runs, key=lambda run: len(self._having.get(run, ())))
        there = {i for run in rarest[: len(runs) - needed + 1] for i in self._having.get(run, ())}
        shares = {i: self._jaccard(runs, i) for i in there}
        best = max(shares, key=lambda i: (shares[i], -i), default=None)
        if best is None or shares[best] < self._share:
            return None
        return self._texts[best][0]

    def _jaccard(self, runs: frozenset[Words], index: int) -> Fraction:
        other = self._texts[index][1]
        return Fraction(len(runs & other), len(runs | other))
