"""Opinion groups among people who voted, and what all of them agree on, after Polis.

Small et al. 2021, "Polis: Scaling deliberation by mapping high dimensional opinion spaces": missing
votes are taken as the mean of their statement, people are placed on the first two principal
components, and k-means tells the groups, with the k of 2 to 5 whose silhouette is best.

Departures: people are clustered at once, where Polis makes a hundred small clusters first; the
silhouette is the simplified one (distances to centres, Hruschka et al. 2006), whose cost does not
grow with the square of the people; k-means starts ten times, from seeds, and keeps the best.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from constitutional.instrument.fitting import Floats

Ints = NDArray[np.int_]

#: Who voted on fewer statements than this (or than there are) belongs to no group, as in Polis.
FEWEST_VOTES = 7
#: Fewer people than this are one group: there is nothing to tell apart.
FEWEST_PEOPLE = 10
MOST_GROUPS = 5
#: In no group.
NOBODY = -1
_STARTS, _ROUNDS = 10, 100


def opinion_groups(
    votes: NDArray[np.int8], cast: NDArray[np.bool_], *, seed: int, count: int | None = None
) -> Ints:
    """The group of each person, (N,): 0 is the largest; -1 for those who voted too little.

    ``votes`` (N, S) are 1, -1 and 0, and count where ``cast`` is True. ``count`` fixes the number
    of groups; of one group everybody is who voted. One group where there are too few people, or all
    voted alike.
    """
    found = np.full(len(votes), NOBODY)
    if count == 1:
        found[cast.any(axis=1)] = 0
        return found
    here = np.flatnonzero(cast.sum(axis=1) >= min(FEWEST_VOTES, votes.shape[1]))
    if here.size == 0:
        return found
    places = positions(votes[here], cast[here])
    different = len(np.unique(places.round(9), axis=0))
    most = min(count or MOST_GROUPS, different)
    if most < 2 or (count is None and here.size < FEWEST_PEOPLE):
        found[here] = 0
        return found
    tried = [clustered(places, k, seed) for k in ([most] if count else range(2, most + 1))]
    best = max(tried, key=lambda labels: silhouette(places, labels))
    order = sorted(range(best.max() + 1), key=lambda g: (-(best == g).sum(), np.argmax(best == g)))
    found[here] = np.argsort(order)[best]
    return found


def positions(votes: NDArray[np.int8], cast: NDArray[np.bool_]) -> Floats:
    """People on the first two principal components, (N, 2).

    A vote that was not cast is taken as the mean of the votes cast on its statement, so that it
    moves nobody; whoever cast few is moved outwards in turn, by sqrt(statements / votes cast), as
    Polis does. The sign of each component is such that its largest loading is positive.
    """
    counts = cast.sum(axis=0)
    means = np.divide(
        (votes * cast).sum(axis=0), counts, where=counts > 0, out=np.zeros(len(counts))
    )
    filled = np.where(cast, votes - means, 0.0)
    filled = filled - filled.mean(axis=0)
    _, _, axes = np.linalg.svd(filled, full_matrices=False)
    axes = axes[:2]
    signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])
    placed = filled @ (axes * signs[:, None]).T
    found = np.zeros((len(votes), 2))
    found[:, : placed.shape[1]] = placed
    outwards: Floats = found * np.sqrt(votes.shape[1] / cast.sum(axis=1))[:, None]
    return outwards


def clustered(places: Floats, count: int, seed: int) -> Ints:
    """k-means (Lloyd), begun by k-means++ (Arthur and Vassilvitskii 2007); the best of ten."""
    best, least = np.zeros(len(places), dtype=int), np.inf
    for start in range(_STARTS):
        rng = np.random.default_rng([seed, count, start])
        centres = _begun(places, count, rng)
        for _ in range(_ROUNDS):
            labels = _distances(places, centres).argmin(axis=1)
            moved = np.array(
                [
                    places[labels == g].mean(axis=0) if (labels == g).any() else centres[g]
                    for g in range(count)
                ]
            )
            if np.allclose(moved, centres):
                break
            centres = moved
        spread = float((_distances(places, centres).min(axis=1) ** 2).sum())
        if spread < least - 1e-9:
            best, least = _distances(places, centres).argmin(axis=1), spread
    return _without_gaps(best)


def silhouette(places: Floats, labels: Ints) -> float:
    """The mean of (b - a) / max(a, b): a to one's own centre, b to the nearest other one."""
    centres = np.array([places[labels == g].mean(axis=0) for g in range(labels.max() + 1)])
    if len(centres) < 2:
        return -1.0
    distances = _distances(places, centres)
    own = distances[np.arange(len(places)), labels]
    distances[np.arange(len(places)), labels] = np.inf
    other = distances.min(axis=1)
    larger = np.maximum(own, other)
    return float(np.divide(other - own, larger, where=larger > 0, out=np.zeros(len(own))).mean())


def consensus(agrees: Sequence[int], votes: Sequence[int]) -> float:
    """Group-informed consensus: the product over groups of (agrees + 1) / (votes + 2).

    Small et al. 2021, and Huang et al. 2024 (Collective Constitutional AI, arXiv 2406.07814), which
    call it group-aware. ``votes`` are all that a group cast, passes among them. A group that cast
    none counts as one half.
    """
    return float(np.prod([(a + 1) / (n + 2) for a, n in zip(agrees, votes, strict=True)]))


def _begun(places: Floats, count: int, rng: np.random.Generator) -> Floats:
    centres = [places[rng.integers(len(places))]]
    while len(centres) < count:
        near = _distances(places, np.array(centres)).min(axis=1) ** 2
        total = near.sum()
        chances = near / total if total > 0 else None
        centres.append(places[rng.choice(len(places), p=chances)])
    return np.array(centres)


def _distances(places: Floats, centres: Floats) -> Floats:
    found: Floats = np.linalg.norm(places[:, None, :] - centres[None, :, :], axis=2)
    return found


def _without_gaps(labels: Ints) -> Ints:
    found: Ints = np.unique(labels, return_inverse=True)[1]
    return found
