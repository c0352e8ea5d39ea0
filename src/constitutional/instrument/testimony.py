"""What each principle alone says of each comparison, asked as AI feedback asks.

A model is shown the multiple-choice question of the paper (section 4.1) once for each principle and
in both orders of the answers, and says how probably a is better. What is asked once is kept in a
folder, block by block.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from constitutional.constitution import Constitution
from constitutional.engines.base import Engine
from constitutional.feedback import FeedbackConfig, FeedbackModel, Pair
from constitutional.feedback.verdicts import by_principle, combined
from constitutional.instrument.fitting import CERTAIN, Floats
from constitutional.runs import Progress, RunFolder, one_by_one
from constitutional.runs.records import Comparison

#: A principle whose probability is this near one half has said nothing of a pair.
SILENT = 0.1


class Testimony(NamedTuple):
    """What P principles say of N comparisons.

    ``log_odds`` (N, P) is above 0 where a is better, within ±6, and 0 where the principle was not
    asked or its verdict could not be read; ``asked`` and ``read`` (N, P) say which. ``speaks``
    (N, P) is True where the probability is at least 0.1 away from one half.
    """

    principles: tuple[str, ...]
    log_odds: Floats
    asked: NDArray[np.bool_]
    read: NDArray[np.bool_]

    @property
    def speaks(self) -> NDArray[np.bool_]:
        """Where a principle takes a side."""
        bar = math.log((0.5 + SILENT) / (0.5 - SILENT))
        # a hair of rounding must not silence a probability of exactly 0.6
        return self.read & (np.abs(self.log_odds) >= bar - 1e-9)

    @property
    def votes(self) -> NDArray[np.int8]:
        """1 for a, -1 for b, 0 for neither, (N, P)."""
        return (np.sign(self.log_odds) * self.speaks).astype(np.int8)

    def columns(self, numbers: Sequence[int]) -> Testimony:
        """Of these principles only."""
        kept = list(numbers)
        names = tuple(self.principles[number] for number in kept)
        return Testimony(names, self.log_odds[:, kept], self.asked[:, kept], self.read[:, kept])

    def rows(self, numbers: NDArray[np.integer[Any]] | Sequence[int]) -> Testimony:
        """On these comparisons only."""
        return Testimony(
            self.principles, self.log_odds[numbers], self.asked[numbers], self.read[numbers]
        )


def testify(
    run: RunFolder,
    stage: str,
    tester: Engine,
    constitution: Constitution,
    comparisons: Sequence[Comparison],
    *,
    block: int,
    seed: int,
    progress: Progress,
) -> Testimony:
    """Ask ``tester`` what each principle of ``constitution`` says; what is kept is not asked again.

    The few-shot examples of the constitution stand before each question. The readings are kept in
    ``stage`` of ``run`` as comparisons, whose own label is then the mean over all principles.
    """
    config = FeedbackConfig(orders="both", principles_per_pair=len(constitution.comparing))
    model = FeedbackModel(tester, constitution, config, seed)
    kept = run.stage_records(
        stage,
        inputs={
            "constitution": constitution.fingerprint,
            "tester": tester.fingerprint,
            "seed": str(seed),
        },
        record_type=Comparison,
        items=[_asked(comparison) for comparison in comparisons],
        block_size=block,
        make=one_by_one(lambda pairs: model.label(pairs)),
        progress=progress,
        title=f"asking {len(constitution.comparing)} principles",
    )
    return read_testimony([p.id for p in constitution.comparing], kept)


def read_testimony(principles: Sequence[str], comparisons: Iterable[Comparison]) -> Testimony:
    """What the readings that stand on comparisons say, for these ids of principles."""
    place = {name: number for number, name in enumerate(principles)}
    odds, asked, read = [], [], []
    for comparison in comparisons:
        row, was_asked, was_read = (
            np.zeros(len(place)),
            np.zeros(len(place), bool),
            np.zeros(len(place), bool),
        )
        for group in by_principle(comparison.readings):
            number = place.get(group[0].principle)
            if number is None:
                continue
            was_asked[number] = True
            probability = combined(group)
            if probability is not None:
                was_read[number] = True
                row[number] = _odds(probability)
        odds.append(row)
        asked.append(was_asked)
        read.append(was_read)
    shape = (len(odds), len(place))
    return Testimony(
        tuple(principles),
        np.array(odds, dtype=float).reshape(shape),
        np.array(asked, dtype=bool).reshape(shape),
        np.array(read, dtype=bool).reshape(shape),
    )


def labels_of(comparisons: Iterable[Comparison]) -> Floats:
    """The probability that a is better, (N,). Raises ValueError for one without a label."""
    found = []
    for comparison in comparisons:
        if comparison.prob_a is None:
            raise ValueError(f"comparison {comparison.id} has no label")
        found.append(comparison.prob_a)
    return np.array(found, dtype=float)


def _asked(comparison: Comparison) -> Pair:
    return Pair(comparison.id, comparison.prompt, comparison.a, comparison.b)


def _odds(probability: float) -> float:
    if probability in (0.0, 1.0):
        return CERTAIN if probability else -CERTAIN
    odds = math.log(probability) - math.log1p(-probability)
    return min(max(odds, -CERTAIN), CERTAIN)
