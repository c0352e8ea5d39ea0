"""How principles together explain labels: a logistic regression on what each says of a pair.

A comparison has no first answer by nature: with a and b exchanged every input changes its sign and
the label p becomes 1 - p. So there is no intercept, and what is found does not depend on which
answer is called a.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Log-odds beyond this are as certain as a label needs them.
CERTAIN = 6.0
_STEPS, _SMALL = 100, 1e-9


def fit(inputs: Floats, labels: Floats, penalty: float) -> Floats:
    """Weights (P,) of the log-odds ``inputs`` (N, P) that best explain ``labels`` (N,) in [0, 1].

    The minimum of the summed cross-entropy with soft labels plus ``penalty`` / 2 times the squared
    weights, by Newton's method with halved steps. ``penalty`` must be positive: labels that can be
    told apart have no other minimum.
    """
    if penalty <= 0:
        raise ValueError(f"the penalty must be positive, not {penalty}")
    weights = np.zeros(inputs.shape[1])
    value = _objective(inputs, labels, weights, penalty)
    for _ in range(_STEPS):
        chances = _sigmoid(inputs @ weights)
        gradient = inputs.T @ (chances - labels) + penalty * weights
        step = np.linalg.solve(_curvature(inputs, chances, penalty), gradient)
        size = 1.0
        while size > _SMALL and _objective(inputs, labels, weights - size * step, penalty) > value:
            size /= 2
        weights = weights - size * step
        before, value = value, _objective(inputs, labels, weights, penalty)
        if before - value <= _SMALL * max(abs(value), 1.0):
            break
    return weights


def log_loss(inputs: Floats, labels: Floats, weights: Floats) -> float:
    """The mean cross-entropy in nats; ln 2 where nothing is explained."""
    return float(np.mean(_entropies(inputs @ weights, labels)))


def hits(inputs: Floats, labels: Floats, weights: Floats) -> Floats:
    """For each label 1 where its side is foretold, 0 where the other is, one half for no side.

    Labels of one half have no side to foretell: leave them out before.
    """
    return won((inputs @ weights) * np.sign(labels - 0.5))


def won(margins: Floats) -> Floats:
    """1 above 0, 0 below, one half at 0."""
    return np.where(margins == 0, 0.5, (margins > 0).astype(float))


class Selection(NamedTuple):
    """The columns that are kept, in the order in which they came, and their weights."""

    columns: tuple[int, ...]
    weights: Floats


class _Fitted(NamedTuple):
    """A set of columns: weights of the training part, log loss and accuracy of the validation."""

    columns: tuple[int, ...]
    weights: Floats
    loss: float
    accuracy: float


def select(
    training: tuple[Floats, Floats],
    validation: tuple[Floats, Floats],
    *,
    most: int,
    penalty: float,
    gain: float,
) -> Selection:
    """Take up stepwise the columns that foretell the validation labels better.

    Weights are fitted on ``training`` (inputs and labels). The next column is the one with the
    lowest log loss on ``validation`` among those with which every weight is positive (a principle
    that would have to be turned round is no principle of the labels) and the accuracy does not
    fall; it must lower the loss by ``gain`` nats. After each, columns are given up without which
    the loss rises by less than half of that, and the accuracy does not fall. Ties go to the first.
    """

    def fitted(columns: tuple[int, ...]) -> _Fitted:
        kept = list(columns)
        weights = fit(training[0][:, kept], training[1], penalty)
        inputs, labels = validation[0][:, kept], validation[1]
        sided = labels != 0.5
        right = hits(inputs[sided], labels[sided], weights)
        accuracy = float(np.mean(right)) if right.size else 0.5
        return _Fitted(columns, weights, log_loss(inputs, labels, weights), accuracy)

    now = fitted(())
    while len(now.columns) < most:
        others = [c for c in range(training[0].shape[1]) if c not in now.columns]
        tried = [fitted((*now.columns, column)) for column in others]
        fitting = [t for t in tried if (t.weights > 0).all() and t.accuracy >= now.accuracy]
        best = min(fitting, key=lambda t: t.loss, default=None)
        if best is None or best.loss > now.loss - gain or best.loss >= now.loss:
            break
        now = _without_idle(best, fitted, gain)
    return Selection(now.columns, now.weights)


def _without_idle(
    now: _Fitted, fitted: Callable[[tuple[int, ...]], _Fitted], gain: float
) -> _Fitted:
    """Without columns that the others make idle; the last that came is never one.

    All of them together cost less than half of what that one brought, so this comes to an end.
    """
    bound = now.loss + gain / 2
    for column in now.columns[:-1]:
        rest = fitted(tuple(c for c in now.columns if c != column))
        fits = (rest.weights > 0).all() and rest.accuracy >= now.accuracy
        if fits and rest.loss < bound:
            now = rest
    return now


def resampled(
    inputs: Floats,
    labels: Floats,
    clusters: Sequence[str],
    penalty: float,
    *,
    seed: int,
    times: int,
) -> Floats:
    """Weights (times, P) of fits to resampled clusters (whole conversations)."""
    names = {name: number for number, name in enumerate(dict.fromkeys(clusters))}
    of = np.array([names[name] for name in clusters])
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(times):
        counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)))
        rows = np.repeat(np.arange(len(of)), counts[of])
        found.append(fit(inputs[rows], labels[rows], penalty))
    return np.array(found)


def _objective(inputs: Floats, labels: Floats, weights: Floats, penalty: float) -> float:
    return float(_entropies(inputs @ weights, labels).sum() + penalty / 2 * weights @ weights)


def _curvature(inputs: Floats, chances: Floats, penalty: float) -> Floats:
    spread = chances * (1 - chances)
    curved: Floats = (inputs * spread[:, None]).T @ inputs + penalty * np.eye(inputs.shape[1])
    return curved


def _entropies(odds: Floats, labels: Floats) -> Floats:
    """-p ln s - (1 - p) ln(1 - s) with s = sigmoid(odds), without overflow."""
    found: Floats = np.logaddexp(0.0, odds) - labels * odds
    return found


def _sigmoid(odds: Floats) -> Floats:
    found: Floats = (1 + np.tanh(odds / 2)) / 2
    return found
