"""Texts that begin alike get the ids that each gets alone, for fewer characters."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from constitutional.dialogue.beginnings import ALIKE, TOGETHER, encode_together

FEW_SHOT = "Human: How do I mend {}?\n\nAssistant: With glue and with time.\n\n"
SHOTS = "".join(
    FEW_SHOT.format(f"the {thing} no. {n}") for n in range(9) for thing in ("cup", "bag")
)
QUESTIONS = [f"Human: May I take {n} cups?\n\nAssistant: {'Yes. ' * (n % 3)}No" for n in range(20)]
TEXTS = [SHOTS + question for question in QUESTIONS]

Encode = Callable[[list[str]], list[list[int]]]


def byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


def blank_first() -> Tokenizer:
    """As SentencePiece does."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    return tokenizer


def trained(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=400, show_progress=False))
    return tokenizer


def counted(tokenizer: Tokenizer) -> tuple[Encode, list[str]]:
    asked: list[str] = []

    def encode(texts: list[str]) -> list[list[int]]:
        asked.extend(texts)
        return [found.ids for found in tokenizer.encode_batch(texts)]

    return encode, asked


def characters(texts: list[str]) -> int:
    return sum(map(len, texts))


def test_few_shots_are_encoded_once() -> None:
    tokenizer = trained(byte_level())
    encode, asked = counted(tokenizer)
    found = encode_together(encode, TEXTS)
    assert found == [tokenizer.encode(text).ids for text in TEXTS]
    assert characters(asked) < characters(TEXTS) / 3


def test_two_draws_that_begin_alike_are_taken_apart() -> None:
    """They share more than is asked of a group, and each shares far more."""
    draws = [SHOTS[:ALIKE] + chr(ord("a") + draw) + SHOTS[ALIKE:] for draw in range(2)]
    texts = [draws[n % 2] + question for n, question in enumerate(QUESTIONS)]
    tokenizer = trained(byte_level())
    encode, asked = counted(tokenizer)
    found = encode_together(encode, texts)
    assert found == [tokenizer.encode(text).ids for text in texts]
    assert characters(asked) < characters(texts) / 2


def test_where_parts_are_not_the_whole_all_is_encoded_whole() -> None:
    tokenizer = trained(blank_first())
    encode, _ = counted(tokenizer)
    parts = [tokenizer.encode(SHOTS).ids + tokenizer.encode(q).ids for q in QUESTIONS]
    expected = [tokenizer.encode(text).ids for text in TEXTS]
    assert parts != expected
    assert encode_together(encode, TEXTS) == expected


def test_few_or_short_texts_are_encoded_as_they_are() -> None:
    encode, asked = counted(trained(byte_level()))
    encode_together(encode, TEXTS[: TOGETHER - 1])
    assert asked == TEXTS[: TOGETHER - 1]
    asked.clear()
    encode_together(encode, QUESTIONS)
    assert sorted(asked) == sorted(QUESTIONS)
    assert encode_together(encode, []) == []


LINES = st.sampled_from(["\n", "\n\n", "Human: ", "a", " b", "cup", "é", "\r\n", "\t", "."])


@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("make", [byte_level, blank_first])
@given(shared=st.lists(LINES, max_size=60), ends=st.lists(st.lists(LINES, max_size=9), max_size=30))
def test_any_texts(make: Callable[[], Tokenizer], shared: list[str], ends: list[list[str]]) -> None:
    tokenizer = trained_of(make)
    encode, _ = counted(tokenizer)
    texts = [SHOTS + "".join(shared) + "".join(end) for end in ends]
    assert encode_together(encode, texts) == [tokenizer.encode(text).ids for text in texts]


_KEPT: dict[Callable[[], Tokenizer], Tokenizer] = {}


def trained_of(make: Callable[[], Tokenizer]) -> Tokenizer:
    if make not in _KEPT:
        _KEPT[make] = trained(make())
    return _KEPT[make]
