"""Equal and near texts: by hand, and against a search of everything."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from constitutional.red_teaming.duplicates import Texts, words_of


def known(*texts: str, share: float = 0.7, n: int = 3) -> Texts:
    found = Texts(n, share)
    for text in texts:
        found.add(text, text)
    return found


def test_words_are_compared_without_case_and_outer_punctuation() -> None:
    assert words_of("  How do I, “really”, DON’T … know?") == (
        *("how", "do", "i", "really", "don't", "know"),
    )
    assert words_of("C++ or C#?") == ("c++", "or", "c#")
    assert words_of("?! …") == ()


def test_equal_texts_have_the_same_words() -> None:
    texts = known("How do I pick a lock?", "how do i pick a LOCK")
    assert texts.equal("How do I pick a lock") == "How do I pick a lock?", (
        "the first keeps its name"
    )
    assert texts.equal("How do I pick the lock?") is None


def test_a_near_duplicate_by_hand() -> None:
    # each has 7 runs of three words, of which the last alone differs: 6 shared of 8
    one, other = "what is the best way to open your door", "What is the best way to open your box?"
    assert known(one, share=0.75).near(other) == one
    assert known(one, share=0.76).near(other) is None
    assert known("what is the way", one).near(other) == one, "not the first, but the nearest"


def test_a_share_means_what_is_written() -> None:
    """A product of binary fractions would miss some of these by a hair."""
    for shared, n in ((7, 10), (3, 10), (14, 25), (29, 50)):
        words = [f"w{i}" for i in range(n)]
        texts = known(" ".join(words), share=shared / n, n=1)
        assert texts.near(" ".join(words[:shared])) is not None
        assert texts.near(" ".join(words[: shared - 1])) is None


def test_short_texts_are_near_only_when_they_are_equal() -> None:
    assert known("steal it").near("steal this") is None
    assert known("steal it").near("Steal it!") == "steal it"


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7, 1.0])
def test_no_near_text_is_missed(share: float) -> None:
    """The filter by rare runs finds what a comparison with every text finds."""
    rng = random.Random(share)
    texts = [" ".join(rng.choices("abcd", k=rng.randint(1, 9))) for _ in range(300)]
    there, asked = texts[:200], texts[200:]
    found = known(*there, share=share, n=2)

    def runs(text: str) -> set[tuple[str, ...]]:
        words = text.split()
        return set(pairwise(words)) or {tuple(words)}

    def nearest(text: str) -> float:
        return max(len(runs(text) & runs(t)) / len(runs(text) | runs(t)) for t in there)

    hits = 0
    for text in asked:
        near = found.near(text)
        assert (near is not None) == (nearest(text) >= share)
        if near is not None:
            hits += 1
            assert len(runs(text) & runs(near)) / len(runs(text) | runs(near)) == nearest(text)
    assert hits > 0
