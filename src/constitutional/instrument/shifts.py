"""How labels differ between two constitutions: what flips, what moved it, what a PM would see.

Pure functions on comparisons of the same pairs, before and after.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from constitutional.evaluation.differences import paired_difference
from constitutional.evaluation.intervals import Estimate, mean, proportion
from constitutional.instrument.correlation import correlation
from constitutional.runs.records import Comparison

#: A label tells something where it is at least so far from 1/2: below 0.4 or above 0.6.
TELLING = 0.1


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Flip(_Record):
    """A comparison whose label changes its side of 1/2, and the principles that moved it."""

    id: str
    old: float
    new: float
    principles: tuple[str, ...]


class PrincipleShift(_Record):
    """The comparisons that one principle moved. One that several moved counts for each of them.

    ``shift`` is the mean of new less old ``prob_a``; which answer is a is arbitrary, so it may be
    0 while labels move much. ``size`` is the mean of its absolute value, and ``confidence`` that of
    new less old distance from 1/2. None for fewer than two comparisons with both labels.
    """

    principle: str
    comparisons: int
    flips: int
    shift: Estimate | None
    size: Estimate | None
    confidence: Estimate | None


class TellingShift(_Record):
    """Comparisons with a tag (such as a kind of harm) whose label tells something.

    ``difference`` is new less old, paired by comparison.
    """

    tag: str
    old: Estimate | None
    new: Estimate | None
    difference: Estimate | None


class Shift(_Record):
    """From old labels to new ones, over all comparisons of a stage.

    ``flipped`` is over the comparisons that prefer an answer before and after; those with a label
    of exactly 1/2 before or after are ``undecided``, and those without one ``unlabelled``.
    """

    stage: str
    comparisons: int
    labelled_again: int
    unlabelled: int
    undecided: int
    flips: tuple[Flip, ...]
    flipped: Estimate | None
    correlation: Estimate | None
    principles: tuple[PrincipleShift, ...]
    tags: tuple[TellingShift, ...]


class Moved(NamedTuple):
    """A comparison before and after, and the principles that moved it (none: it is the same)."""

    old: Comparison
    new: Comparison
    principles: frozenset[str] = frozenset()

    @property
    def labels(self) -> tuple[float, float] | None:
        """Both labels; None where one is missing."""
        if self.old.prob_a is None or self.new.prob_a is None:
            return None
        return self.old.prob_a, self.new.prob_a

    @property
    def flips(self) -> bool:
        """Whether the preferred answer is another one."""
        return self.labels is not None and (self.labels[0] - 0.5) * (self.labels[1] - 0.5) < 0


def shift(stage: str, moved: Sequence[Moved]) -> Shift:
    """What changed over all comparisons of a stage, the same ones included."""
    both = [labels for m in moved if (labels := m.labels) is not None]
    decided = [labels for labels in both if 0.5 not in labels]
    flips = tuple(_flip(m) for m in moved if m.flips)
    return Shift(
        stage=stage,
        comparisons=len(moved),
        labelled_again=sum(bool(m.principles) for m in moved),
        unlabelled=len(moved) - len(both),
        undecided=len(both) - len(decided),
        flips=flips,
        flipped=proportion(len(flips), len(decided)),
        correlation=correlation([old for old, _ in both], [new for _, new in both]),
        principles=tuple(_by_principle(moved)),
        tags=tuple(_by_tag(moved)),
    )


def tells(probability: float | None) -> bool:
    """Whether a probability is away from 1/2 by ``TELLING``."""
    return probability is not None and abs(probability - 0.5) >= TELLING


def _flip(moved: Moved) -> Flip:
    assert moved.labels is not None
    old, new = moved.labels
    return Flip(id=moved.old.id, old=old, new=new, principles=tuple(sorted(moved.principles)))


def _by_principle(moved: Iterable[Moved]) -> Iterator[PrincipleShift]:
    mine: dict[str, list[Moved]] = {}
    for each in moved:
        for name in each.principles:
            mine.setdefault(name, []).append(each)
    for name, found in sorted(mine.items()):
        both = [labels for m in found if (labels := m.labels) is not None]
        yield PrincipleShift(
            principle=name,
            comparisons=len(found),
            flips=sum(m.flips for m in found),
            shift=_mean([new - old for old, new in both]),
            size=_mean([abs(new - old) for old, new in both]),
            confidence=_mean([abs(new - 0.5) - abs(old - 0.5) for old, new in both]),
        )


def _by_tag(moved: Sequence[Moved]) -> Iterator[TellingShift]:
    counts = Counter(tag for m in moved for tag in dict.fromkeys(m.old.tags))
    for tag in sorted(counts):
        mine = [m for m in moved if tag in m.old.tags]
        old: Mapping[str, bool] = {m.old.id: tells(m.old.prob_a) for m in mine}
        new: Mapping[str, bool] = {m.old.id: tells(m.new.prob_a) for m in mine}
        found = paired_difference(old, new)
        yield TellingShift(
            tag=tag,
            old=proportion(sum(old.values()), len(old)),
            new=proportion(sum(new.values()), len(new)),
            difference=None if found is None else found[0],
        )


def _mean(values: Sequence[float]) -> Estimate | None:
    return mean(values) if len(values) > 1 else None
