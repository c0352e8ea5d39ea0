"""What a run's labels tell of each principle."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations

from constitutional.constitution import Constitution
from constitutional.evaluation.intervals import Estimate, proportion
from constitutional.feedback.pairs import FEW
from constitutional.feedback.verdicts import by_principle, combined, in_order
from constitutional.instrument.correlation import correlation
from constitutional.instrument.findings import Finding
from constitutional.instrument.labelled import LabelledRun, Labels
from constitutional.instrument.shifts import TELLING, tells
from constitutional.runs.records import Comparison

#: Position decides too often where that is certainly more often than in so many comparisons.
POSITION = 0.25


def label_findings(constitution: Constitution, run: LabelledRun) -> list[Finding]:
    """What the labels of the run say of the principles that it and ``constitution`` share."""
    asked = {p.id: p.comparison for p in run.constitution.comparing}
    known = [p.id for p in constitution.comparing if asked.get(p.id) == p.comparison]
    strange = tuple(p.id for p in constitution.comparing if p.id not in known)
    found = []
    if strange:
        found.append(
            Finding(
                kind="not checked",
                severity="notice",
                principles=strange,
                message="the run has no labels by it as it is worded here",
                do="see what it would do by cai constitution diff with --on",
            )
        )
    for labels in run.labels:
        found += _of(labels, known)
    return found


def _of(labels: Labels, known: Sequence[str]) -> Iterator[Finding]:
    """The findings of one stage. Pairs of equal answers tell nothing, and are left out."""
    differ = [c for c in labels.comparisons if c.a.split() != c.b.split()]
    judged = {name: dict[str, float]() for name in known}
    for comparison in differ:
        for group in by_principle(comparison.readings):
            p = combined(group)
            if group[0].principle in judged and p is not None:
                judged[group[0].principle][comparison.id] = p
    by_id = {comparison.id: comparison for comparison in differ}
    yield from _telling(judged)
    yield from _position(labels, differ, known)
    yield from _length(judged, by_id)
    yield from _opposing(labels, judged)
    yield from _kinds(judged, differ)


def _telling(judged: dict[str, dict[str, float]]) -> Iterator[Finding]:
    """Principles that are so specific that they match few comparisons."""
    for name, labels in judged.items():
        share = proportion(sum(map(tells, labels.values())), len(labels))
        if share is None:
            yield Finding(
                kind="never used",
                severity="notice",
                principles=(name,),
                message="the run has no readable label by it",
                do="raise its weight or compare more pairs, if it is to count",
                n=0,
            )
        elif share.value < FEW:
            yield Finding(
                kind="rarely tells",
                severity="warning" if share.high < FEW else "notice",
                principles=(name,),
                message=f"its label is within {TELLING:g} of 1/2 on all but {_percent(share)} of "
                "the comparisons that it judged",
                do="word it more widely, lower its weight, or compare several principles a pair "
                "(principles_per_pair)",
                estimate=share,
                n=share.n,
            )


def _position(
    labels: Labels, comparisons: Iterable[Comparison], known: Sequence[str]
) -> Iterator[Finding]:
    """Principles by which the place of an answer decides; where both orders were asked.

    Only comparisons count on which the principle has a side in one of the orders: between answers
    that are alike by it, the place may well decide.
    """
    if labels.config.orders != "both":
        yield Finding(
            kind="not checked",
            severity="notice",
            principles=(),
            message=f"position: {labels.stage} shows each pair in one order only",
            do="set 'orders: both' in the recipe's feedback to measure and to average it out",
        )
        return
    same = {name: list[bool]() for name in known}
    for group in (g for comparison in comparisons for g in by_principle(comparison.readings)):
        ab, ba = in_order(group, "ab"), in_order(group, "ba")
        if group[0].principle not in same or ab is None or ba is None:
            continue
        if tells(ab) or tells(ba):
            # a is option (A) in the first order and (B) in the second
            same[group[0].principle].append((ab - 0.5) * (ba - 0.5) < 0)
    for name, letters in same.items():
        share = proportion(sum(letters), len(letters))
        if share is not None and share.low > POSITION:
            yield Finding(
                kind="position decides",
                severity="warning",
                principles=(name,),
                message=f"the same letter wins in both orders in {_percent(share)} of the "
                "comparisons on which it has a side (a coin: 50%)",
                do="ask it in plainer words, or of a better feedback model; keep 'orders: both'",
                estimate=share,
                n=share.n,
            )


def _length(judged: dict[str, dict[str, float]], by_id: dict[str, Comparison]) -> Iterator[Finding]:
    """Principles by which the longer answer wins more or less often than by chance."""
    for name, labels in judged.items():
        longer = [
            (len(by_id[key].a) > len(by_id[key].b)) == (p > 0.5)
            for key, p in labels.items()
            if p != 0.5 and len(by_id[key].a) != len(by_id[key].b)
        ]
        share = proportion(sum(longer), len(longer))
        if share is not None and not share.low <= 0.5 <= share.high:
            yield Finding(
                kind="length decides",
                severity="notice",
                principles=(name,),
                message=f"the longer answer wins in {_percent(share)} of comparisons (chance: 50%)",
                do="read some of them: where length is not the merit, say in the principle what is",
                estimate=share,
                n=share.n,
            )


def _opposing(labels: Labels, judged: dict[str, dict[str, float]]) -> Iterator[Finding]:
    """Principles whose labels on the same pairs go against each other.

    So many pairs of principles are tried that some would seem to by chance: the interval that has
    to lie below 0 is Bonferroni's, at 95% for all of them together, and it is the one reported.
    """
    if labels.config.principles_per_pair < 2:
        yield Finding(
            kind="not checked",
            severity="notice",
            principles=(),
            message=f"opposing labels: {labels.stage} judges each pair by one principle only",
            do="set 'principles_per_pair: 2' or more to see principles on the same pairs",
        )
        return
    pairs = list(combinations(judged, 2))
    for first, second in pairs:
        both = [key for key in judged[first] if key in judged[second]]
        r = correlation(
            [judged[first][key] for key in both],
            [judged[second][key] for key in both],
            level=1 - 0.05 / len(pairs),
        )
        if r is not None and r.high < 0:
            yield Finding(
                kind="labels oppose",
                severity="warning",
                principles=(first, second),
                message=f"their labels on the same {r.n} pairs go against each other: correlation "
                f"{r.value:.2f} ({r.low:.2f} to {r.high:.2f}, Bonferroni)",
                do="decide which of them is to win, and say so in the other or by their weights",
                estimate=r,
                n=r.n,
            )


def _kinds(
    judged: dict[str, dict[str, float]], comparisons: Sequence[Comparison]
) -> Iterator[Finding]:
    """Kinds of prompts, by their tags, on which no principle has a side."""
    told: dict[str, list[bool]] = {}
    for comparison in comparisons:
        mine = [labels[comparison.id] for labels in judged.values() if comparison.id in labels]
        if mine:
            for tag in dict.fromkeys(comparison.tags):
                told.setdefault(tag, []).append(any(map(tells, mine)))
    if not told:
        yield Finding(
            kind="not checked",
            severity="notice",
            principles=(),
            message="coverage: the prompts of the comparisons have no tags",
            do="give the red-team prompts the kind of harm as a tag",
        )
    for tag, hits in sorted(told.items()):
        share = proportion(sum(hits), len(hits))
        if share is not None and share.value < FEW:
            yield Finding(
                kind="kind not moved",
                severity="warning" if share.high < FEW else "notice",
                principles=(),
                message=f"prompts tagged {tag!r}: some principle has a side on {_percent(share)} "
                "of the comparisons",
                do="add a principle that speaks of it, or raise the weight of the one that does",
                estimate=share,
                n=share.n,
            )


def _percent(share: Estimate) -> str:
    return (
        f"{100 * share.value:.0f}% ({100 * share.low:.0f} to {100 * share.high:.0f}, n {share.n})"
    )
