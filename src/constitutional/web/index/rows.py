"""What of a record goes into the index."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from constitutional.errors import InputError
from constitutional.evaluation.verdicts import Judge, Verdict
from constitutional.feedback.verdicts import by_principle, in_order
from constitutional.runs.records import Chain, Comparison, Reading, Sample

#: (facet, value), such as ("principle", "no-harm").
Label = tuple[str, str]

#: The value of a facet for what no judge has read.
UNJUDGED = "not judged"


class Entry(NamedTuple):
    """A record's line: the values of its columns, its labels, and its text."""

    values: tuple[object, ...]
    labels: frozenset[Label]
    text: str


CHAIN_COLUMNS = ("changes", "behaviour_first", "behaviour_last", "harm_first", "harm_last")
COMPARISON_COLUMNS = ("prob_a", "order_gap", "principle_gap")


def chain_entry(chain: Chain, judge: Judge | None) -> Entry:
    """A chain's line. Flags are those of any of its samples; verdicts those of its two ends."""
    first, last = (verdict_on(chain, end, judge) for end in (chain.versions[0], chain.versions[-1]))
    flags: set[str] = {flag for sample in chain.versions for flag in sample.flags}
    flags |= {flag for r in chain.rounds if r.critique is not None for flag in r.critique.flags}
    labels = {
        *(("principle", round_.principle) for round_ in chain.rounds),
        *(("flag", flag) for flag in flags or {"none"}),
        *(("tag", tag) for tag in chain.tags),
        ("first", _behaviour(first)),
        ("last", _behaviour(last)),
    }
    values = (
        rounds_that_changed(chain),
        first and first.behaviour.value,
        last and last.behaviour.value,
        first and first.harm,
        last and last.harm,
    )
    critiques = (r.critique.text for r in chain.rounds if r.critique is not None)
    # an answer that stays as it was is found once
    answers = dict.fromkeys(version.text for version in chain.versions)
    asked = (turn.text for turn in chain.prompt.turns)
    return Entry(values, frozenset(labels), "\n".join((chain.id, *asked, *answers, *critiques)))


def verdict_on(chain: Chain, version: Sample, judge: Judge | None) -> Verdict | None:
    """What the judge says of a version; None without one, or where it cannot read the prompt."""
    try:
        return None if judge is None else judge.judge(chain.prompt, version.text)
    except InputError:
        return None


def comparison_entry(comparison: Comparison) -> Entry:
    """A comparison's line; the gaps are those of :func:`order_gap` and :func:`principle_gap`."""
    readings = comparison.readings
    labels = {
        *(("principle", reading.principle) for reading in readings),
        *(("tag", tag) for tag in comparison.tags),
        ("goal", comparison.goal),
        ("labeller", comparison.labeller),
        ("label", _label(comparison.prob_a)),
    }
    if any(reading.prob_a is None for reading in readings):
        labels.add(("reading", "some unreadable"))
    if any(reading.reasoning is not None for reading in readings):
        labels.add(("reading", "with reasoning"))
    values = (comparison.prob_a, order_gap(readings), principle_gap(readings))
    asked = (turn.text for turn in comparison.prompt.turns)
    thoughts = (r.reasoning.text for r in readings if r.reasoning is not None)
    text = "\n".join((comparison.id, *asked, comparison.a, comparison.b, *thoughts))
    return Entry(values, frozenset(labels), text)


def rounds_that_changed(chain: Chain) -> int:
    """How many rounds left another answer than the one before it."""
    return sum(one.text != other.text for one, other in pairwise(chain.versions))


def order_gap(readings: tuple[Reading, ...]) -> float | None:
    """How far the two orders are apart by the principle where they are furthest, from 0 to 1.

    None where no principle was read in both.
    """
    gaps = [abs(ab - ba) for ab, ba in _orders(readings) if ab is not None and ba is not None]
    return max(gaps, default=None)


def principle_gap(readings: tuple[Reading, ...]) -> float | None:
    """How far the two principles are apart that differ most, from 0 to 1.

    A principle's probability is the mean of its orders. None of fewer than two principles.
    """
    means = []
    for orders in _orders(readings):
        read = [p for p in orders if p is not None]
        if read:
            means.append(sum(read) / len(read))
    return max(means) - min(means) if len(means) > 1 else None


def _orders(readings: tuple[Reading, ...]) -> Iterator[tuple[float | None, float | None]]:
    for group in by_principle(readings):
        yield in_order(group, "ab"), in_order(group, "ba")


def _behaviour(verdict: Verdict | None) -> str:
    return UNJUDGED if verdict is None else verdict.behaviour.value


def _label(prob_a: float | None) -> str:
    if prob_a is None:
        return "none"
    if prob_a == 0.5:
        return "even"
    return "a better" if prob_a > 0.5 else "b better"
