"""What foretells labels without any principle: the longer answer, and the words of the answers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from constitutional.instrument.fitting import Floats, fit, won
from constitutional.instrument.testimony import labels_of
from constitutional.runs.records import Comparison

#: The words that a bag has at most: those in most answers of the training comparisons.
MOST_WORDS = 1000
_PENALTY = 1.0
_WORD = re.compile(r"\w+")


def longer(comparisons: Sequence[Comparison]) -> Floats:
    """1 where the better answer is longer in characters, one half where they are equally long."""
    lengths = np.array([float(len(c.a) - len(c.b)) for c in comparisons])
    return won(lengths * np.sign(labels_of(comparisons) - 0.5))


def bag_of_words(training: Sequence[Comparison], new: Sequence[Comparison]) -> Floats:
    """1 where a logistic regression on the words of the answers is right, one half for no side.

    Its inputs are 1 for a word that only a holds, -1 for one that only b holds; penalty 1.
    """
    seen: Counter[str] = Counter()
    for comparison in training:
        seen.update(_words(comparison.a))
        seen.update(_words(comparison.b))
    # of equally frequent words the first in the alphabet, so that one file gives one bag
    words = sorted(seen, key=lambda word: (-seen[word], word))[:MOST_WORDS]
    if not words:
        return np.full(len(new), 0.5)
    weights = fit(_counts(training, words), labels_of(training), _PENALTY)
    return won((_counts(new, words) @ weights) * np.sign(labels_of(new) - 0.5))


def _counts(comparisons: Sequence[Comparison], words: Sequence[str]) -> Floats:
    place = {word: number for number, word in enumerate(words)}
    found = np.zeros((len(comparisons), len(words)))
    for row, comparison in enumerate(comparisons):
        for side, text in ((1.0, comparison.a), (-1.0, comparison.b)):
            for word in _words(text) & place.keys():
                found[row, place[word]] += side
    return found


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))
