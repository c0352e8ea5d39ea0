"""Which answer each principle's labels preferred, and how decidedly."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from constitutional.dialogue import prompt_id
from constitutional.feedback.verdicts import by_principle, combined, mean
from constitutional.instrument.attribution.behaviours import BehaviourReader, Deed
from constitutional.instrument.attribution.contrast import Case, mean_by_prompt, push
from constitutional.instrument.attribution.records import LabelPush
from constitutional.instrument.attribution.revisions import about, share_by_prompt
from constitutional.runs.records import Comparison


class Telling(NamedTuple):
    """A pair of which one answer alone has the behaviour.

    ``labels``: by principle, the probability that this answer is the better one; None: not read.
    """

    id: str
    prompt: str
    about: tuple[str, ...]
    labels: Mapping[str, float | None]


def telling_pairs(
    comparisons: Iterable[Comparison], behaviour: Collection[Deed], reader: BehaviourReader
) -> list[Telling]:
    """The pairs that tell something of the behaviour. Probabilities are those before any clamp."""
    found = []
    for comparison in comparisons:
        if not comparison.readings:
            continue
        a, b = (
            reader.read(comparison.prompt, text) in behaviour
            for text in (comparison.a, comparison.b)
        )
        if a != b:
            labels = dict(_labels(comparison, a))
            prompt = prompt_id(comparison.prompt)
            found.append(Telling(comparison.id, prompt, about(comparison.tags), labels))
    return found


def _labels(comparison: Comparison, a_has_it: bool) -> Iterator[tuple[str, float | None]]:
    for readings in by_principle(comparison.readings):
        prob_a = combined(readings)
        flipped = prob_a is not None and not a_has_it
        yield readings[0].principle, 1 - prob_a if flipped and prob_a is not None else prob_a


def label_push(pairs: Sequence[Telling], principle: str) -> LabelPush:
    """The account of one principle."""
    asked = [pair for pair in pairs if principle in pair.labels]
    read = [(pair.prompt, label) for pair in asked if (label := pair.labels[principle]) is not None]
    pushed = push(case for pair in pairs for case in _cases(pair, principle))
    return LabelPush(
        pairs=len(asked),
        unread=len(asked) - len(read),
        preferred=share_by_prompt((prompt, label > 0.5) for prompt, label in read),
        margin=mean_by_prompt((prompt, label - 0.5) for prompt, label in read),
        telling=mean_by_prompt((prompt, abs(label - 0.5)) for prompt, label in read),
        push=pushed.estimate,
        unknown=pushed.unknown,
    )


def _cases(pair: Telling, principle: str) -> Iterator[Case]:
    """The pair's label, and what the other principles give it; nothing where none is read."""
    whole = mean([label for label in pair.labels.values() if label is not None])
    if whole is not None:
        others = [p for name, p in pair.labels.items() if name != principle and p is not None]
        yield Case(pair.prompt, pair.about, whole, mean(others))
