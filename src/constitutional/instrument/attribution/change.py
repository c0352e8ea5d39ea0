"""A policy against another: what changed in its behaviour, and which principles pushed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Literal, TypeVar

from constitutional.errors import InputError
from constitutional.evaluation.differences import paired_difference
from constitutional.evaluation.intervals import Estimate
from constitutional.instrument.attribution.behaviours import (
    COMPLIES,
    DECLINES,
    BehaviourReader,
    Deed,
)
from constitutional.instrument.attribution.contrast import added
from constitutional.instrument.attribution.labels import label_push, telling_pairs
from constitutional.instrument.attribution.records import Attribution, PrinciplePush
from constitutional.instrument.attribution.revisions import Trained, paths, revision_push
from constitutional.runs.records import Answer, Chain, Comparison

_R = TypeVar("_R", Answer, Chain, Comparison)


def attribute(
    answers: Sequence[Answer],
    before: Sequence[Answer],
    reader: BehaviourReader,
    *,
    chains: Sequence[Chain] | None,
    comparisons: Sequence[Comparison] | None,
    trained: Trained = "all",
    kinds: Sequence[str] = (),
    principles: Sequence[str] = (),
) -> Attribution:
    """Attribute the change from ``before`` to ``answers``: two policies on red-team prompts.

    ``chains`` and ``comparisons`` (by AI) are what stands between the two policies; None where that
    stage does not. ``kinds`` keeps prompts with one of these tags. ``principles`` are those of the
    constitution, which count even where none of them was drawn. Raises InputError where the two
    have no prompt in common.
    """
    found = _observed([*_of(answers, kinds)], [*_of(before, kinds)], reader)
    if found is None:
        said = f" tagged {' or '.join(kinds)}" if kinds else ""
        raise InputError(f"the two policies answered no red-team prompt{said} in common")
    behaviour, observed, differ = found
    ways = None if chains is None else paths(_of(chains, kinds), behaviour, reader)
    pairs = (
        None if comparisons is None else telling_pairs(_of(comparisons, kinds), behaviour, reader)
    )
    names = dict.fromkeys(principles)
    names |= dict.fromkeys(step.principle for way in ways or () for step in way.steps)
    names |= dict.fromkeys(name for pair in pairs or () for name in pair.labels)
    pushes = []
    for name in names:
        revisions = None if ways is None else revision_push(ways, name, trained)
        labels = None if pairs is None else label_push(pairs, name)
        parts = [part.push for part in (revisions, labels) if part is not None]
        pushes.append(
            PrinciplePush(principle=name, revisions=revisions, labels=labels, score=added(parts))
        )
    given: dict[Literal["revisions", "labels"], object] = {"revisions": ways, "labels": pairs}
    return Attribution(
        policy=answers[0].policy,
        against=before[0].policy,
        kinds=tuple(kinds),
        read_by=reader.name,
        behaviour=tuple(sorted(behaviour)),
        observed=observed,
        differ=differ,
        stages=tuple(stage for stage, found in given.items() if found is not None),
        chains=len(ways or ()),
        pairs=len(pairs or ()),
        principles=tuple(sorted(pushes, key=_by_score)),
    )


def _by_score(found: PrinciplePush) -> tuple[bool, float]:
    return found.score is None, 0.0 if found.score is None else -found.score.value


def _observed(
    answers: Sequence[Answer], before: Sequence[Answer], reader: BehaviourReader
) -> tuple[frozenset[Deed], Estimate, int] | None:
    """The direction of the change: to decline, or to comply where that is what became more."""
    after, earlier = ({a.id: reader.of_answer(a) for a in of} for of in (answers, before))

    def change(behaviour: frozenset[Deed]) -> tuple[Estimate, int] | None:
        first, second = (
            {name: deed in behaviour for name, deed in found.items()} for found in (earlier, after)
        )
        return paired_difference(first, second)

    complied = change(COMPLIES)
    if complied is None:
        return None
    behaviour = COMPLIES if complied[0].value > 0 else DECLINES
    found = change(behaviour)
    return None if found is None else (behaviour, *found)


def _of(records: Iterable[_R], kinds: Collection[str]) -> Iterator[_R]:
    """Those with one of the tags; all where none is named."""
    for record in records:
        if not kinds or not set(record.tags).isdisjoint(kinds):
            yield record
