"""Which principles of a constitution its labels actually follow.

What each principle alone says of a comparison comes from a tester, who is asked for all of them, or
from the readings that stand on the comparisons. A label that one principle made follows it by
construction, so such comparisons say nothing here, and are left out and counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

from constitutional.constitution import Principle
from constitutional.errors import InputError
from constitutional.evaluation.intervals import Estimate
from constitutional.instrument.alike import groups
from constitutional.instrument.comparisons import cluster_of, split
from constitutional.instrument.fitting import Floats, fit, hits, resampled
from constitutional.instrument.inferred import accuracy_of
from constitutional.instrument.testimony import Testimony, labels_of, read_testimony
from constitutional.runs.records import Comparison

#: ``followed``: labels agree with it more often than not, as the whole interval says; ``opposed``:
#: less often; ``silent``: it takes no side on any comparison.
Standing = Literal["followed", "cannot tell", "opposed", "silent"]
_FOLDS, _TIMES, _PENALTY = 5, 200, 1.0


class Audited(BaseModel):
    """A principle against the labels.

    ``agreement`` is over the comparisons on which it and the label take a side. ``weight`` is its
    own in the joint fit, with an interval over resampled conversations; None for one that says the
    same as ``same_as``, which stands for both. ``adds`` is True where that interval is above 0: it
    explains labels beyond the others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    text: str
    asked: int
    unreadable: int
    speaks: int
    agreement: Estimate | None
    standing: Standing
    weight: Estimate | None
    adds: bool
    same_as: str | None = None


class Audit(BaseModel):
    """Labels against a constitution. Shares are of the comparisons whose label has a side.

    ``together``: foretold by the joint fit, each by one that has not seen its conversation.
    ``one_agrees``: a principle says so; ``all_oppose``: those that speak say the other;
    ``none_speaks``: no principle says anything.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    said_by: str
    comparisons: int
    conversations: int
    without_side: int
    left_out: dict[str, int]
    together: Estimate | None
    one_agrees: Estimate | None
    all_oppose: Estimate | None
    none_speaks: Estimate | None
    principles: tuple[Audited, ...]


class Stored(NamedTuple):
    """Comparisons with readings by two principles or more, what they say, and what is left out."""

    comparisons: tuple[Comparison, ...]
    said: Testimony
    left_out: dict[str, int]


def stored_readings(principles: Sequence[Principle], comparisons: Sequence[Comparison]) -> Stored:
    """What the readings on comparisons say. Raises InputError where each has one principle."""
    kept = [c for c in comparisons if len({reading.principle for reading in c.readings}) > 1]
    if not kept:
        raise InputError(
            f"none of the {len(comparisons)} comparisons has readings by two principles: a label "
            "that one principle made follows it by construction; name a --tester, who is asked "
            "what every principle says"
        )
    dropped = len(comparisons) - len(kept)
    why = "with readings by less than two principles"
    said = read_testimony([p.id for p in principles], kept)
    if not said.asked.any():
        raise InputError(
            "the readings are by principles that this constitution does not have: give the one "
            "that the labels were made by"
        )
    return Stored(tuple(kept), said, {why: dropped} if dropped else {})


def audit(
    principles: Sequence[Principle],
    comparisons: Sequence[Comparison],
    said: Testimony,
    *,
    said_by: str,
    seed: int,
    left_out: Mapping[str, int] | None = None,
) -> Audit:
    """Agreement of the labels with each principle alone and with all together."""
    labels = labels_of(comparisons)
    sided = labels != 0.5
    if not sided.any():
        raise InputError("no comparison prefers an answer: every label is one half")
    sides = np.sign(labels - 0.5)
    right = (said.votes * sides[:, None] == 1) & sided[:, None]
    order = sorted(range(len(principles)), key=lambda column: (-right[:, column].sum(), column))
    led = groups([p.comparison for p in principles], said, order)
    weights = _weights(said.log_odds[:, [g[0] for g in led]], labels, comparisons, seed)
    leader = {column: group[0] for group in led for column in group}
    own = {group[0]: weight for group, weight in zip(led, weights, strict=True)}
    speaks = said.speaks
    agrees, anyone = right.any(axis=1), speaks.any(axis=1)
    rows = sided.astype(float)
    return Audit(
        said_by=said_by,
        comparisons=len(comparisons),
        conversations=len({*map(cluster_of, comparisons)}),
        without_side=int((~sided).sum()),
        left_out=dict(left_out or {}),
        together=_together(said.log_odds[:, [g[0] for g in led]], comparisons, seed),
        one_agrees=accuracy_of(agrees.astype(float), comparisons, rows),
        all_oppose=accuracy_of((anyone & ~agrees).astype(float), comparisons, rows),
        none_speaks=accuracy_of((~anyone).astype(float), comparisons, rows),
        principles=tuple(
            _audited(
                principle,
                said.columns([column]),
                accuracy_of(right[:, column].astype(float), comparisons, rows * speaks[:, column]),
                own.get(column),
                None if leader[column] == column else principles[leader[column]].id,
            )
            for column, principle in enumerate(principles)
        ),
    )


def _audited(
    principle: Principle,
    said: Testimony,
    agreement: Estimate | None,
    weight: Estimate | None,
    same_as: str | None,
) -> Audited:
    standing: Standing = "cannot tell"
    if agreement is None:
        standing = "silent"
    elif agreement.low > 0.5:
        standing = "followed"
    elif agreement.high < 0.5:
        standing = "opposed"
    return Audited(
        id=principle.id,
        text=principle.text,
        asked=int(said.asked.sum()),
        unreadable=int((said.asked & ~said.read).sum()),
        speaks=int(said.speaks.sum()),
        agreement=agreement,
        standing=standing,
        weight=weight,
        adds=weight is not None and weight.low > 0,
        same_as=same_as,
    )


def _weights(
    inputs: Floats, labels: Floats, comparisons: Sequence[Comparison], seed: int
) -> list[Estimate]:
    """The weight of each column in the joint fit, with a percentile interval."""
    clusters = [cluster_of(comparison) for comparison in comparisons]
    whole = fit(inputs, labels, _PENALTY)
    draws = resampled(inputs, labels, clusters, _PENALTY, seed=seed, times=_TIMES)
    low, high = np.percentile(draws, [2.5, 97.5], axis=0)
    n = len(set(clusters))
    return [
        Estimate(value=float(value), low=float(bottom), high=float(top), n=n)
        for value, bottom, top in zip(whole, low, high, strict=True)
    ]


def _together(inputs: Floats, comparisons: Sequence[Comparison], seed: int) -> Estimate | None:
    """How often the joint fit foretells labels of conversations that it has not seen."""
    place = {comparison.id: row for row, comparison in enumerate(comparisons)}
    labels, right = labels_of(comparisons), np.full(len(comparisons), np.nan)
    folds = split(comparisons, [1 / _FOLDS] * _FOLDS, seed)
    for fold in folds:
        rows = np.array([place[c.id] for c in fold], dtype=int)
        others = np.setdiff1d(np.arange(len(comparisons)), rows)
        if rows.size and others.size:
            weights = fit(inputs[others], labels[others], _PENALTY)
            right[rows] = hits(inputs[rows], labels[rows], weights)
    # one conversation alone is foretold by none
    known = ~np.isnan(right) & (labels != 0.5)
    return accuracy_of(right, comparisons, known.astype(float))
