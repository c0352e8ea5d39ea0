"""A bag of words as a preference model: the baseline that any other has to beat.

P(first is better) = sigma(w . (x_first - x_second)), where x counts the words of an answer, each by
log(1 + count). There is no intercept, so that exchanging the answers exchanges the probabilities.
The loss is the mean logistic loss plus l2/2 |w|^2, which is convex; l2 is the one of
:data:`STRENGTHS` with the least loss on folds of the training pairs, all pairs of a cluster in one
fold. The words of the conversation are the same for both answers and so weigh nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from constitutional.evaluation.phrases import words
from constitutional.runs.seeds import derive_seed

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
FOLDS = 5
#: A word counts from so many training answers on: what is rarer tells nothing that lasts.
MIN_ANSWERS = 3
#: The gradient's largest component, at which the search for the minimum ends.
_TOLERANCE, _STEPS = 1e-6, 2000

Array = NDArray[np.float64]


@dataclass(frozen=True)
class BagOfWords:
    """The weight of each word, and the strength that was chosen."""

    weights: dict[str, float]
    l2: float

    def score(self, text: str) -> float:
        """Higher is better; only differences mean anything."""
        counts = Counter(words(text))
        return sum(
            float(np.log1p(count)) * self.weights[word]
            for word, count in counts.items()
            if word in self.weights
        )


def fit_bag_of_words(
    pairs: Sequence[tuple[str, str]], clusters: Sequence[str], *, seed: int
) -> BagOfWords:
    """From pairs of (better, worse) answers; ``clusters`` says which belong together.

    ``seed`` deals the clusters to the folds. With fewer than two clusters no strength can be
    chosen, and the strongest is taken. Raises ValueError where there is no pair.
    """
    if not pairs:
        raise ValueError("a bag of words needs at least one pair to learn from")
    vocabulary = _vocabulary(pairs)
    rows = np.array([_difference(better, worse, vocabulary) for better, worse in pairs])
    folds = np.array([derive_seed(seed, "bag of words", name) % FOLDS for name in clusters])
    l2 = _best_strength(rows, folds)
    weights = logistic_weights(rows, l2)
    return BagOfWords(dict(zip(vocabulary, weights.tolist(), strict=True)), l2)


def logistic_weights(rows: Array, l2: float) -> Array:
    """The minimum of mean log(1 + exp(-rows @ w)) + l2/2 |w|^2; ``rows`` is (pairs, words).

    By Nesterov's gradient descent with the step 1/L, L = |rows|^2 / 4n + l2, begun anew whenever
    momentum goes uphill (O'Donoghue & Candes 2015, arXiv 1204.3982).
    """
    n, width = rows.shape
    weights = ahead = np.zeros(width)
    if not width:
        return weights
    largest = float(np.linalg.norm(rows, 2)) ** 2 / (4 * n) + l2
    momentum = 1.0
    for _ in range(_STEPS):
        gradient = l2 * ahead - rows.T @ _sigma(-rows @ ahead) / n
        if np.abs(gradient).max() < _TOLERANCE:
            return ahead
        after = ahead - gradient / largest
        if gradient @ (after - weights) > 0:
            momentum = 1.0
        further = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = after + (momentum - 1) / further * (after - weights)
        weights, momentum = after, further
    return weights


def _vocabulary(pairs: Sequence[tuple[str, str]]) -> dict[str, int]:
    answers = Counter(word for pair in pairs for text in pair for word in set(words(text)))
    known = sorted(word for word, count in answers.items() if count >= MIN_ANSWERS)
    return {word: place for place, word in enumerate(known)}


def _difference(better: str, worse: str, vocabulary: dict[str, int]) -> Array:
    row = np.zeros(len(vocabulary))
    for sign, text in ((1.0, better), (-1.0, worse)):
        for word, count in Counter(words(text)).items():
            if word in vocabulary:
                row[vocabulary[word]] += sign * np.log1p(count)
    return row


def _best_strength(rows: Array, folds: NDArray[np.int64]) -> float:
    """The strength with the least loss on folds that were left out; of equal ones the strongest."""
    numbers = np.unique(folds)
    if len(numbers) < 2:
        return STRENGTHS[-1]

    def loss(l2: float) -> float:
        out = 0.0
        for number in numbers:
            weights = logistic_weights(rows[folds != number], l2)
            out += float(np.logaddexp(0.0, -rows[folds == number] @ weights).sum())
        return out

    return min(reversed(STRENGTHS), key=loss)


def _sigma(x: Array) -> Array:
    """1 / (1 + exp(-x)), without overflow."""
    half: Array = (1 + np.tanh(x / 2)) / 2
    return half
