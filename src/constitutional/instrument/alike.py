"""Which principles say the same: by their words, and by what they foretell.

Words alone do not tell ("nothing cruel" and "nothing illegal" differ in one word and in all they
mean), so principles are merged by what they say of comparisons; words only lower the bar.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from rapidfuzz import fuzz, process

from constitutional.instrument.fitting import Floats
from constitutional.instrument.testimony import Testimony

#: Principles whose log-odds have this cosine, over the comparisons, are one.
ALIKE = 0.95
#: The same for two whose words are nearly the same.
ALIKE_IN_WORDS = 0.90
#: Texts with less in common (of 100, rapidfuzz's ratio of the sorted words) are not looked at.
_FAR = 75.0
#: Two words from this likeness on, with the same first letter, are one word misspelt or bent.
_MISSPELT = 85.0

#: Words that say little of what a sentence is about.
_LITTLE = frozenset(
    (
        *("a", "an", "the", "this", "that", "these", "those", "it", "its", "is", "are", "be"),
        *("to", "of", "in", "on", "for", "with", "by", "at", "and", "also", "please", "should"),
        *("must", "shall", "will", "would", "always", "very", "really", "as", "any", "their"),
    )
)
_WORD = re.compile(r"\w+(?:['’]\w+)*")


def plain_words(text: str) -> str:
    """A text but for case, punctuation and blanks."""
    return " ".join(_words(text))


def near_in_words(texts: Sequence[str]) -> set[tuple[int, int]]:
    """The pairs (i < j) of texts that hold the same words, in any order.

    But for words that say little, and for one that is misspelt or bent ("answer", "answers"). So
    *not*, *less* or a number that only one of them holds keeps two apart.
    """
    words = [_words(text) for text in texts]
    in_order = [" ".join(sorted(each)) for each in words]
    scores = process.cdist(in_order, in_order, scorer=fuzz.ratio, score_cutoff=_FAR)
    pairs = zip(*np.nonzero(np.triu(scores, k=1)), strict=True)
    return {(int(i), int(j)) for i, j in pairs if _same_words(words[i], words[j])}


def _same_words(first: Sequence[str], second: Sequence[str]) -> bool:
    mine, other = set(first) - set(second) - _LITTLE, set(second) - set(first) - _LITTLE
    return all(_one_word(word, other) for word in mine) and all(
        _one_word(word, mine) for word in other
    )


def _one_word(word: str, others: set[str]) -> bool:
    letters = not any(c.isdigit() for c in word)
    return letters and any(o[0] == word[0] and fuzz.ratio(o, word) >= _MISSPELT for o in others)


def agreement(first: Floats, second: Floats) -> float:
    """The cosine of what two principles say, as log-odds (N,): 1 alike, 0 unlike, -1 opposite.

    Sure verdicts count more than those near one half. 0 where one of them says nothing at all.
    """
    lengths = np.linalg.norm(first) * np.linalg.norm(second)
    return float(first @ second / lengths) if lengths else 0.0


def groups(
    texts: Sequence[str], said: Testimony, order: Sequence[int], *, fewest: int = 3
) -> list[list[int]]:
    """Columns of ``said`` that say the same, each group led by its first in ``order``.

    Each column in ``order`` joins the first group with whose leader it agrees, where either takes a
    side on ``fewest`` comparisons at least, or leads a new one: members are like their leader, not
    merely like one that is like it. Comparisons on which one of the two was not read are left out.
    """
    near = near_in_words(texts)
    found: list[list[int]] = []
    for column in order:
        for group in found:
            both = said.read[:, group[0]] & said.read[:, column]
            sides = (said.speaks[:, group[0]] | said.speaks[:, column]) & both
            alike = agreement(said.log_odds[both, group[0]], said.log_odds[both, column])
            in_words = (min(group[0], column), max(group[0], column)) in near
            if sides.sum() >= fewest and alike >= (ALIKE_IN_WORDS if in_words else ALIKE):
                group.append(column)
                break
        else:
            found.append([column])
    return found


def _words(text: str) -> list[str]:
    return [word.replace("’", "'") for word in _WORD.findall(text.lower())]
