"""The training examples most like an answer's prompt, and the principles that made them."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from constitutional.dialogue import Conversation
from constitutional.evaluation.phrases import words
from constitutional.instrument.attribution.behaviours import BehaviourReader
from constitutional.instrument.attribution.labels import Telling, telling_pairs
from constitutional.instrument.attribution.records import AnswerAttribution, Nearby, Neighbour
from constitutional.instrument.attribution.revisions import Path, about, paths
from constitutional.runs.records import Answer, Chain, Comparison

NEIGHBOURS = 20


class _Near(NamedTuple):
    likeness: float
    number: int
    found: Path | Telling
    said: str


def attribute_answer(
    answer: Answer,
    reader: BehaviourReader,
    *,
    chains: Sequence[Chain] | None,
    comparisons: Sequence[Comparison] | None,
    neighbours: int = NEIGHBOURS,
) -> AnswerAttribution:
    """The ``neighbours`` chains and telling pairs whose prompts are most like the answer's.

    Likeness is the weighted Jaccard index of what two prompts hold: words that humans say in them,
    and tags, each weighing the logarithm of how rare it is among all prompts. Of two equally like
    ones the first in the run is nearer; one that is like in nothing is no neighbour.
    """
    deed = reader.of_answer(answer)
    behaviour = frozenset({deed})
    candidates: list[Path | Telling] = [
        *paths(chains or (), behaviour, reader),
        *telling_pairs(comparisons or (), behaviour, reader),
    ]
    asked = _holds(answer.prompt, answer.tags)
    held, said = {}, {}
    for kind, records in ((Path, chains), (Telling, comparisons)):
        for record in records or ():
            held[kind, record.id] = _holds(record.prompt, record.tags)
            said[kind, record.id] = record.prompt.last.text
    weights = _weights([asked, *held.values()])
    near = heapq.nlargest(
        neighbours,
        (
            _Near(likeness, -number, found, said[type(found), found.id])
            for number, found in enumerate(candidates)
            if (likeness := _likeness(asked, held[type(found), found.id], weights)) > 0
        ),
        key=lambda one: one[:2],
    )
    found = [neighbour for one in near for neighbour in _neighbours(one)]
    return AnswerAttribution(
        id=answer.id,
        policy=answer.policy,
        prompt=answer.prompt.last.text,
        answer=answer.sample.text,
        read_by=reader.name,
        behaviour=deed,
        neighbours=tuple(found),
        principles=tuple(_by_principle(found)),
    )


def _holds(prompt: Conversation, tags: Sequence[str]) -> frozenset[str]:
    said = (word for turn in prompt.turns if turn.role == "human" for word in words(turn.text))
    # no word holds a blank, so that a tag is never taken for one
    return frozenset(said) | {f"tag {tag}" for tag in about(tags)}


def _weights(prompts: Sequence[frozenset[str]]) -> Mapping[str, float]:
    counts = Counter(thing for prompt in prompts for thing in prompt)
    return {thing: math.log(len(prompts) / count) for thing, count in counts.items()}


def _likeness(first: frozenset[str], second: frozenset[str], weights: Mapping[str, float]) -> float:
    # sorted: a sum of floats in the order of a set would differ from process to process
    common, either = (
        math.fsum(weights[thing] for thing in sorted(things))
        for things in (first & second, first | second)
    )
    return common / either if either else 0.0


def _neighbours(near: _Near) -> Iterator[Neighbour]:
    likeness, _, found, said = near
    if isinstance(found, Path):
        turns = (s.principle for s in found.steps if s.after and not s.before)
        turned = next(turns, None)
        yield Neighbour(
            made="revision",
            id=found.id,
            prompt=said,
            likeness=likeness,
            principle=turned or found.steps[0].principle,
            pushed=turned is not None,
            shows=next((s.after for s in reversed(found.steps) if s.after is not None), None),
        )
        return
    for principle, label in found.labels.items():
        yield Neighbour(
            made="label",
            id=found.id,
            prompt=said,
            likeness=likeness,
            principle=principle,
            pushed=label is not None and label > 0.5,
            margin=None if label is None else label - 0.5,
        )


def _by_principle(found: Iterable[Neighbour]) -> list[Nearby]:
    groups: dict[str, list[Neighbour]] = {}
    for neighbour in found:
        groups.setdefault(neighbour.principle, []).append(neighbour)
    nearby = [
        Nearby(
            principle=principle,
            revisions=sum(n.made == "revision" for n in group),
            turned=sum(n.made == "revision" and n.pushed for n in group),
            labels=sum(n.made == "label" for n in group),
            preferred=sum(n.made == "label" and n.pushed for n in group),
            weight=math.fsum(n.likeness for n in group if n.pushed),
        )
        for principle, group in groups.items()
    ]
    return sorted(nearby, key=lambda one: -one.weight)
