"""What foretells labels without any principle: the longer answer, and the words of the answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from constitutional.instrument.comparisons import cluster_of
from constitutional.instrument.fitting import Floats, won
from constitutional.instrument.testimony import labels_of
from constitutional.preference.bag_of_words import fit_bag_of_words
from constitutional.runs.records import Comparison


def longer(comparisons: Sequence[Comparison]) -> Floats:
    """1 where the better answer is longer in characters, one half where they are equally long."""
    lengths = np.array([float(len(c.a) - len(c.b)) for c in comparisons])
    return won(lengths * np.sign(labels_of(comparisons) - 0.5))


def bag_of_words(training: Sequence[Comparison], new: Sequence[Comparison], seed: int) -> Floats:
    """1 where a bag of words of the training answers is right, one half where it takes no side.

    It learns from the training comparisons that have a side; at least one must.
    """
    sided = [comparison for comparison in training if comparison.prob_a != 0.5]
    a_wins = labels_of(sided) > 0.5
    pairs = [(c.a, c.b) if a else (c.b, c.a) for c, a in zip(sided, a_wins, strict=True)]
    bag = fit_bag_of_words(pairs, [cluster_of(c) for c in sided], seed=seed)
    margins = np.array([bag.score(comparison.a) - bag.score(comparison.b) for comparison in new])
    return won(margins * np.sign(labels_of(new) - 0.5))
