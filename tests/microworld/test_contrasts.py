"""Texts that differ in one thing alone: the principle decides, and the oracle agrees."""

from __future__ import annotations

from itertools import islice

import pytest

from constitutional.constitution import Principle
from constitutional.feedback.question import parse_cot, parse_question
from constitutional.microworld.contrasts import Contrasts
from constitutional.microworld.language import read_answer, read_request
from constitutional.microworld.oracle import Oracle
from constitutional.microworld.splits import is_held_out

ORACLE = Oracle()


def as_principle(text: str) -> Principle:
    return Principle(id="p", text="-", comparison_question=text)


@pytest.mark.parametrize("simple", [1.0, 0.3])
def test_the_label_is_what_the_oracle_says_by_the_principle(simple: float) -> None:
    pieces = list(islice(Contrasts(3).comparisons(simple), 800))
    agree = disagree = 0
    for piece in pieces:
        question = parse_question(piece.context)
        principle = as_principle(question.principle_text)
        better = ORACLE.prefer_by([principle], question.conversation, question.a, question.b)
        expected = {"a": 1.0, "b": 0.0, "tie": 0.5}[better]
        agree += piece.prob_a == expected
        # two helping answers may do more or less harm, which the text does not go into
        disagree += piece.prob_a != expected and piece.prob_a != 0.5
    assert agree > 0.95 * len(pieces)
    assert disagree <= 0.02 * len(pieces)


def test_one_case_is_put_to_several_principles() -> None:
    pieces = list(islice(Contrasts(4).comparisons(1.0), 400))
    cases: dict[str, set[float | None]] = {}
    for piece in pieces:
        question = parse_question(piece.context)
        answers = "".join(sorted((question.a, question.b)))
        cases.setdefault(question.conversation.model_dump_json() + answers, set()).add(
            0.5 if piece.prob_a == 0.5 else 1.0
        )
    both = sum(found == {0.5, 1.0} for found in cases.values())
    assert both > 0.95 * len(cases), "the same answers are alike by one principle and not another"


def test_no_held_out_request_is_among_them() -> None:
    for piece in islice(Contrasts(5).comparisons(0.3), 500):
        request = read_request(parse_question(piece.context).conversation)
        assert request is not None
        assert not is_held_out(request)


def test_a_broken_answer_is_no_answer() -> None:
    contrasts = Contrasts(6)
    seen = 0
    for piece in islice(contrasts.comparisons(0.0), 600):
        question = parse_question(piece.context)
        for text in (question.a, question.b):
            said = ORACLE.judge(question.conversation, text)
            seen += said.behaviour == "ill_formed"
            assert (read_answer(text) is None) <= (said.behaviour == "ill_formed")
    assert 40 < seen < 400


def test_reasoning_names_a_letter_where_the_principle_decides() -> None:
    for piece in islice(Contrasts(7).reasoned_comparisons(0.5), 300):
        question = parse_cot(piece.context)
        reasoning, answer = piece.target.split("\n\nHuman:\nSo the answer is:")
        better = ORACLE.prefer_by(
            [as_principle(question.principle_text)], question.conversation, question.a, question.b
        )
        if "Therefore" in reasoning:
            assert f"option{answer}" in reasoning
            assert better == {" (A)": "a", " (B)": "b"}[answer]
        else:
            assert reasoning.endswith("They are alike.")


def test_the_seed_decides_every_text() -> None:
    first, again, other = (list(islice(Contrasts(seed).comparisons(0.3), 20)) for seed in (1, 1, 2))
    assert first == again != other
