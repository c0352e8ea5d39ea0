"""What of an arm's comparisons is trained on, and what is only judged on."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from heapq import nsmallest
from itertools import chain
from typing import NamedTuple

from constitutional.preference.halves import halves as in_halves
from constitutional.preference.settings import Goal
from constitutional.runs import Chosen
from constitutional.runs.records import Comparison
from constitutional.runs.seeds import derive_seed
from constitutional.stages.arms import settings
from constitutional.stages.comparisons import Comparisons
from constitutional.stages.context import Context


class Shares(NamedTuple):
    """Comparisons to train on, those for the model that watches, and those to judge both on."""

    train: Sequence[Comparison]
    watch: Sequence[Comparison]
    held_out: Sequence[Comparison]


def shares_of(context: Context, comparisons: Comparisons) -> Shares:
    """The comparisons as the recipe shares them out."""
    rl, _ = settings(context)
    shares = share_out(comparisons, rl.held_out, halves=rl.held_out_model)
    train, watch = (
        limited(share, rl.preference.limit, context.recipe.seed)
        for share in (shares.train, shares.watch)
    )
    return shares._replace(train=train, watch=watch)


def limited(
    comparisons: Sequence[Comparison], limit: int | None, seed: int
) -> Sequence[Comparison]:
    """At most ``limit`` comparisons of each goal, in the order given; None for all.

    Those whose ids, hashed with ``seed``, come first: a larger limit has all that a smaller one
    has, and differs from it in nothing but what is added.
    """
    if limit is None:
        return comparisons
    drawn: dict[Goal, list[tuple[int, int]]] = {}
    for number, comparison in enumerate(comparisons):
        place = derive_seed(seed, "preference limit", comparison.id)
        drawn.setdefault(comparison.goal, []).append((place, number))
    kept = [n for places in drawn.values() for _, n in nsmallest(limit, places)]
    return Chosen((comparisons,), sorted(kept))


def share_out(comparisons: Comparisons, held_out: float, *, halves: bool) -> Shares:
    """The labelled comparisons by a hash of their ids; with ``halves`` what is left is halved."""
    numbers: dict[bool, array[int]] = {False: array("Q"), True: array("Q")}
    for number, comparison in enumerate(chain.from_iterable(comparisons)):
        if comparison.prob_a is not None:
            digest = hashlib.sha256(f"held out:{comparison.id}".encode()).digest()
            numbers[int.from_bytes(digest[:8]) / 2**64 < held_out].append(number)
    train, judge = (Chosen(comparisons, numbers[judges]) for judges in (False, True))
    if not halves:
        return Shares(train, (), judge)
    first, second = in_halves(train)
    return Shares(first, second, judge)
