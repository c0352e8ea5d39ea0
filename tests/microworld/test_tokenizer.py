from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from constitutional.constitution import load_constitution
from constitutional.dialogue import check_vocabulary, unknown_words
from constitutional.dialogue.quoting import MARKERS
from constitutional.errors import InputError
from constitutional.microworld import data_file
from constitutional.microworld.corpus import Corpus
from constitutional.microworld.tokenizer import build_tokenizer


def ids(tokenizer: Any, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False)


def test_documents_come_back_byte_for_byte(tokenizer: Any) -> None:
    """Documents of another seed than the vocabulary's own."""
    for document in islice(Corpus(11).documents(), 5_000):
        assert tokenizer.decode(ids(tokenizer, document)) == document


@given(data=st.data())
def test_any_text_of_known_tokens_comes_back(tokenizer: Any, data: st.DataObject) -> None:
    known = sorted(set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens))
    text = "".join(data.draw(st.lists(st.sampled_from(known), max_size=12)))
    if not unknown_words(tokenizer, text):
        assert tokenizer.decode(ids(tokenizer, text)) == text


def test_the_vocabulary_is_small_and_the_same_every_time(
    tokenizer: Any, documents: list[str]
) -> None:
    assert 200 < len(tokenizer) < 1_000
    few = documents[:2_000]
    assert build_tokenizer(few, 1024).get_vocab() == build_tokenizer(few, 1024).get_vocab()
    assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer)))


def test_role_markers_and_choices_are_single_tokens(tokenizer: Any) -> None:
    texts = [f"\n\n{marker}:" for marker in MARKERS.values()]
    texts += ["\n\nH:", "\n\nA:", " (A)", " (B)", "]]]", " [[["]
    tokens = [ids(tokenizer, text) for text in texts]
    assert all(len(token) == 1 for token in tokens)
    assert len({token[0] for token in tokens}) == len(texts)
    assert tokenizer.unk_token_id not in {token[0] for token in tokens}


@pytest.mark.parametrize("before", ["\n\nThe answer is:", "\n\nHuman:\nSo the answer is:"])
def test_a_choice_is_one_token_after_its_question(tokenizer: Any, before: str) -> None:
    """So that the probability of a choice is that of one token, and the prompt stays as it is."""
    for choice in (" (A)", " (B)"):
        assert ids(tokenizer, before + choice) == ids(tokenizer, before) + ids(tokenizer, choice)
        assert len(ids(tokenizer, choice)) == 1


def test_a_word_has_one_token_with_its_blank(tokenizer: Any) -> None:
    assert len(ids(tokenizer, " a stranger's letter")) == 3
    assert ids(tokenizer, "\n\nHuman: How") == ids(tokenizer, "\n\nHuman:") + ids(tokenizer, " How")


def test_pad_end_and_unknown_are_distinct(tokenizer: Any) -> None:
    special = {tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id}
    assert special == {0, 1, 2}
    assert tokenizer.bos_token is None
    assert not special & set(ids(tokenizer, next(Corpus(0).documents())))


@pytest.mark.parametrize(
    ("word", "near"), [("crul", "cruel"), ("Harmful", "harmful"), ("dangerouss", "dangerous")]
)
def test_an_unknown_word_is_named_with_the_nearest(tokenizer: Any, word: str, near: str) -> None:
    text = f" Answers must not be {word}."
    assert ids(tokenizer, text).count(tokenizer.unk_token_id) == 1
    assert unknown_words(tokenizer, text) == [word]
    with pytest.raises(InputError) as caught:
        check_vocabulary(tokenizer, {"my.yaml, principle p": text})
    message = str(caught.value)
    assert message.startswith("my.yaml, principle p: ")
    assert repr(word) in message
    assert near in message.partition("nearest known words:")[2]


def test_every_word_of_the_corpus_is_known(tokenizer: Any) -> None:
    for document in islice(Corpus(12).documents(), 3_000):
        assert unknown_words(tokenizer, document) == []


def test_every_word_of_the_constitution_is_known(tokenizer: Any) -> None:
    path = data_file("constitution.yaml")
    constitution = load_constitution(path)
    texts = {
        f"{p.id} {name}": text
        for p in constitution.principles
        for name, text in (  # each where it will stand, for a word has its blank with it
            ("critique", f"\n\nCritiqueRequest: {p.critique}"),
            ("revision", f"\n\nRevisionRequest: {p.revision}"),
            ("comparison", f"\n\n\n{p.comparison} Options:"),
        )
    }
    assert len(texts) == 3 * 16
    check_vocabulary(tokenizer, texts)
    # and the words of harm and virtue that its comment offers, wherever they stand
    comment = path.read_text(encoding="utf-8").partition("words of harm are:")[2]
    offered = comment.partition("\nname:")[0].replace("#", " ").replace("\n", " ")
    words = [w.strip(" .") for part in offered.split(",") for w in part.split(";")]
    for word in words:
        last = word.split()[-1]
        check_vocabulary(tokenizer, {"comment": f" Answers must not be {last}. Always be {last}."})
    assert len(words) >= 20


def test_it_is_saved_and_loaded_as_it_is(tokenizer: Any, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    for document in islice(Corpus(13).documents(), 200):
        assert loaded.encode(document) == ids(tokenizer, document)
        assert loaded.decode(loaded.encode(document)) == document
    assert (loaded.pad_token_id, loaded.eos_token_id, loaded.unk_token_id) == (0, 1, 2)
