from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from constitutional.engines.walk import walk_texts, walk_tokens

# A language of three steps: " (" or " ", then a letter, then ")".
NEXT = {
    "": {" (": math.log(0.5), " ": math.log(0.1), "x": math.log(0.4)},
    " (": {"A": math.log(0.6), "B": math.log(0.3), "Bx": math.log(0.1)},
    " (A": {")": math.log(0.9)},
    " (B": {")": math.log(0.8)},
}


def test_a_choice_is_walked_down_token_by_token_and_shared_beginnings_once() -> None:
    asked: list[tuple[int, str]] = []

    def ask(nodes: Sequence[tuple[int, str]]) -> list[dict[str, float]]:
        asked.extend(nodes)
        return [NEXT[text] for _, text in nodes]

    found = walk_texts(2, [" (A)", " (B)"], ask)
    by_hand = (math.log(0.5 * 0.6 * 0.9), math.log(0.5 * 0.3 * 0.8))
    assert found == [pytest.approx(by_hand)] * 2
    assert sorted(asked) == sorted((p, text) for p in (0, 1) for text in NEXT)


def test_a_choice_that_is_not_among_the_likeliest_is_not_a_number() -> None:
    found = walk_texts(1, [" (A)", " (B)"], lambda nodes: [{" (A)": -0.1, "Sure": -3.0}])
    assert found[0][0] == -0.1
    assert math.isnan(found[0][1])


def test_by_token_ids_each_token_is_asked_for_where_it_stands() -> None:
    table = {((7,), 1): -1.0, ((7, 1), 2): -2.0, ((7, 1), 3): -4.0, ((7,), 5): -8.0}
    asked = []

    def ask(nodes: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]) -> list[list[float]]:
        asked.extend(nodes)
        return [[table[before, token] for token in tokens] for before, tokens in nodes]

    assert walk_tokens([(7,)], [[(1, 2), (1, 3), (5,)]], ask) == [(-3.0, -5.0, -8.0)]
    assert asked == [((7,), (1, 5)), ((7, 1), (2, 3))]
