"""Sentences that say the same and the opposite: words taken apart into what is said and its sign.

``more harmful`` and ``less harmless`` agree, ``more harmful`` and ``less harmful`` do not. Words of
a small English table stand for an axis and an end of it; words that turn or weigh (not, less,
avoid) have a sign alone. Each axis in a sentence gets the product of its own sign and of those that
turn it, and two sentences contradict each other where they use the same words otherwise and one of
these products differs.

This reads wording, not meaning: it finds what a slip of the pen does, and misses what is said in
other words. A text in another language has no words of the table and no contradiction here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from constitutional.red_teaming.duplicates import words_of

#: Signs of words that say how much, or whether at all.
_TURNS = {
    **dict.fromkeys((
        "not", "never", "no", "without", "less", "least", "fewer", "fewest", "avoid", "avoids",
        "avoiding", "minimise", "minimize", "discourage", "discourages", "discouraging", "forbid",
        "refuse", "reject", "oppose", "worse", "worst", "don't", "doesn't", "shouldn't",
        "mustn't", "isn't", "aren't", "cannot", "can't", "won't",
    ), -1),
    **dict.fromkeys((
        "always", "more", "most", "prefer", "prefers", "preferring", "maximise", "maximize",
        "encourage", "encourages", "encouraging", "allow", "accept", "support", "better", "best",
        "with",
    ), 1),
}  # fmt: skip
#: Two ends of an axis each.
_AXES = (
    ("harmless", "harmful"), ("honest", "dishonest"), ("safe", "unsafe"), ("safe", "dangerous"),
    ("legal", "illegal"), ("lawful", "unlawful"), ("ethical", "unethical"), ("moral", "immoral"),
    ("polite", "impolite"), ("polite", "rude"), ("kind", "unkind"), ("kind", "cruel"),
    ("respectful", "disrespectful"), ("helpful", "unhelpful"), ("true", "false"),
    ("accurate", "inaccurate"), ("appropriate", "inappropriate"), ("open", "evasive"),
    ("long", "short"), ("longer", "shorter"), ("fair", "unfair"), ("biased", "unbiased"),
    ("formal", "informal"), ("direct", "indirect"), ("certain", "uncertain"),
)  # fmt: skip
_ENDS = {
    **{minus: (plus, -1) for plus, minus in _AXES},
    **{plus: (plus, 1) for plus, _ in _AXES},
}
#: Words that say nothing of what is asked; an auxiliary stands with a "not" or without.
_EMPTY = frozenset((
    "a", "an", "the", "do", "does", "should", "must", "please", "that", "which", "is", "are", "be",
    "it", "this", "these", "of", "to",
))  # fmt: skip


class Said(NamedTuple):
    """``about``: the words but for signs and empty ones, axes by their name; ``signs``: in order,
    that of each axis, and at the end that of turning words after which no axis comes.
    """

    about: frozenset[str]
    signs: tuple[int, ...]


def said(text: str) -> Said:
    """A text taken apart."""
    about, signs, sign, turned = [], [], 1, False
    for word in words_of(text):
        if word in _TURNS:
            sign, turned = sign * _TURNS[word], True
        elif word in _ENDS:
            axis, end = _ENDS[word]
            about.append(axis)
            signs.append(sign * end)
            sign, turned = 1, False
        elif word not in _EMPTY:
            about.append(word)
    if turned:
        signs.append(sign)
    return Said(frozenset(about), tuple(signs))


def contradict(first: str, second: str) -> bool:
    """Whether two texts say the same but for a reversed word.

    One may have words that the other lacks, up to one in three, but not each of them some: who
    speaks of another thing contradicts nothing.
    """
    one, other = said(first), said(second)
    few, many = sorted((one.about, other.about), key=len)
    if not few or not few <= many or len(few) * 3 < len(many) * 2:
        return False
    return any(a != b for a, b in _aligned(one.signs, other.signs))


def _aligned(one: tuple[int, ...], other: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Signs beside each other; a text without a sign asserts what it says."""
    length = max(len(one), len(other))
    first, second = (signs + (1,) * (length - len(signs)) for signs in (one, other))
    yield from zip(first, second, strict=True)
