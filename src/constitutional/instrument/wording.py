"""What the texts of a constitution tell of it, without any model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import combinations

from constitutional.constitution import Constitution, Principle
from constitutional.instrument.findings import Finding
from constitutional.instrument.polarity import contradict
from constitutional.red_teaming.duplicates import runs_of, words_of

#: Two texts are near duplicates where the Jaccard index of their runs of so many words is at least
#: this share; the measure, and its numbers, are those of the duplicates among red-team prompts.
NEAR_WORDS, NEAR_SHARE = 3, Fraction(7, 10)


def text_findings(constitution: Constitution) -> list[Finding]:
    """Halves, duplicates and contradictions."""
    pairs = list(combinations(constitution.principles, 2))
    return [
        *_halves(constitution),
        *(found for pair in pairs if (found := _contradiction(*pair)) is not None),
        *(found for pair in pairs if (found := _duplicate(*pair)) is not None),
    ]


def _halves(constitution: Constitution) -> Iterator[Finding]:
    """Halves that are missing, which is legal: the paper draws its stages from two lists.

    A critique request without a revision request, or the reverse, is in no constitution: the file
    is refused when it is read.
    """
    principles = constitution.principles
    for use, missing in (("critique", "comparison"), ("comparison", "critique")):
        alone = [p.id for p in principles if p.uses == (use,)]
        if alone:
            yield Finding(
                kind="half missing",
                severity="notice",
                principles=tuple(alone),
                message=f"used for {use} only: the {missing} stage never draws it",
                do=f"add {missing!r} to its 'uses' if both stages are to follow it",
            )
    for written, derived in (("critique", "comparison"), ("comparison", "critique")):
        mixed = [p.id for p in principles if _written(p, written) and _derived(p, derived)]
        if mixed:
            yield Finding(
                kind="half derived",
                severity="notice",
                principles=tuple(mixed),
                message=f"its {written} half is written out, its {derived} half made from 'text'",
                do=f"read what cai constitution show says, or write the {derived} half out too",
            )


def _written(principle: Principle, use: str) -> bool:
    if use == "critique":
        return principle.critique_request is not None
    return principle.comparison_question is not None


def _derived(principle: Principle, use: str) -> bool:
    return use in principle.uses and not _written(principle, use)


def _duplicate(first: Principle, second: Principle) -> Finding | None:
    shares = {part: _share(a, b) for part, a, b in _both(first, second)}
    exact = [part for part, share in shares.items() if share == 1]
    near = [part for part, share in shares.items() if NEAR_SHARE <= share < 1]
    ids = (first.id, second.id)
    if exact:
        whole = len(exact) == len(shares)
        return Finding(
            kind="duplicate",
            severity="error" if whole else "warning",
            principles=ids,
            message=f"the same words in {_listed(exact)}",
            do="keep one of them and give it the sum of both weights"
            if whole
            else "word the two apart, or keep one of them",
        )
    if near:
        share = max(shares[part] for part in near)
        return Finding(
            kind="near duplicate",
            severity="notice",
            principles=ids,
            message=f"nearly the same words in {_listed(near)}: {float(share):.0%} of the runs of "
            f"{NEAR_WORDS} words are shared",
            do="make sure that both are meant: together they are drawn by the sum of their weights",
        )
    return None


def _contradiction(first: Principle, second: Principle) -> Finding | None:
    found = [part for part, a, b in _both(first, second) if contradict(a, b)]
    if not found:
        return None
    return Finding(
        kind="contradiction",
        severity="error",
        principles=(first.id, second.id),
        message=f"says the reverse in {_listed(found)}",
        do="remove one, or say in both when each of them holds",
    )


def _both(first: Principle, second: Principle) -> Iterator[tuple[str, str, str]]:
    """The texts that both have, as they were written: what is derived adds nothing of its own."""
    one, other = _texts(first), _texts(second)
    texts: dict[tuple[str, str], list[str]] = {}
    for part in one:
        if part in other:
            texts.setdefault((one[part], other[part]), []).append(part)
    for (a, b), parts in texts.items():
        yield _listed(parts), a, b


def _texts(principle: Principle) -> dict[str, str]:
    texts: dict[str, str] = {}
    if "critique" in principle.uses:
        texts["critique request"] = principle.critique_request or principle.text
        texts["revision request"] = principle.revision_request or principle.text
    if "comparison" in principle.uses:
        texts["comparison question"] = principle.comparison_question or principle.text
    return texts


def _share(first: str, second: str) -> Fraction:
    """The Jaccard index of their runs of words; 1 only for equal words."""
    one, other = words_of(first), words_of(second)
    if one == other:
        return Fraction(1)
    runs, others = runs_of(one, NEAR_WORDS), runs_of(other, NEAR_WORDS)
    # other words in the same runs are near, and not the same
    return min(Fraction(len(runs & others), len(runs | others)), Fraction(999, 1000))


def _listed(parts: Iterable[str]) -> str:
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last
