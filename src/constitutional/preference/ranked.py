"""Ranked answers, for preference model pretraining (Askell et al. 2021, arXiv 2112.00861, s. 4).

A file has a question a row, with its answers and their scores: ``prompt`` (a text, a transcript or
messages) and ``answers``, a list of objects with ``text`` and either ``score`` or the ``upvotes``
and ``accepted`` of a forum.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from math import isfinite, log2
from pathlib import Path
from typing import Any

from constitutional.dialogue.conversation import Conversation
from constitutional.dialogue.prompt_files import read_rows
from constitutional.dialogue.prompt_rows import MalformedRow, prompts_in
from constitutional.errors import InputError
from constitutional.preference.settings import Goal
from constitutional.runs.records import Comparison
from constitutional.runs.seeds import derive_seed


@dataclass(frozen=True)
class Ranked:
    """Answers to a prompt with a score each; higher is better."""

    id: str
    prompt: Conversation
    answers: tuple[tuple[str, float], ...]


def read_ranked(spec: str | Path) -> list[Ranked]:
    """All questions of a file. Raises InputError with file and line for a row that is none."""
    found: list[Ranked] = []
    ids: dict[str, int] = {}
    for number, row in enumerate(read_rows(spec), start=1):
        try:
            if row.problem is not None:
                raise MalformedRow(row.problem)
            ranked = _ranked(row.value, str(number))
            if number != (first := ids.setdefault(ranked.id, number)):
                raise MalformedRow(
                    f"the id {ranked.id!r} is that of row {first} too: give each its own"
                )
            found.append(ranked)
        except MalformedRow as error:
            raise InputError(str(error), path=spec, line=row.line) from None
    if not found:
        raise InputError("no ranked answers found: expected rows with 'answers'", path=spec)
    return found


def _ranked(row: object, number: str) -> Ranked:
    answers = row.get("answers") if isinstance(row, Mapping) else None
    if not isinstance(answers, list) or len(answers) < 2:
        raise MalformedRow("expected a 'prompt' and 'answers', a list of two or more with scores")
    asked = prompts_in(row)
    if len(asked.conversations) != 1:
        raise MalformedRow("expected one prompt in a row")
    scored = tuple(_answer(answer) for answer in answers)
    return Ranked(asked.id or number, asked.conversations[0], scored)


def _answer(answer: Any) -> tuple[str, float]:
    text = answer.get("text") if isinstance(answer, Mapping) else None
    if not isinstance(text, str) or not text.strip():
        raise MalformedRow(f"an answer needs a 'text', found {answer!r:.60}")
    if "upvotes" in answer:
        votes, accepted = answer["upvotes"], answer.get("accepted", False)
        if isinstance(votes, int) and isinstance(accepted, bool):
            return text, float(stack_exchange_score(votes, accepted=accepted))
        raise MalformedRow("'upvotes' must be a whole number, and 'accepted' true or false")
    score = answer.get("score")
    if isinstance(score, bool) or not isinstance(score, int | float) or not isfinite(score):
        raise MalformedRow(f"an answer needs a 'score' or 'upvotes', found {answer!r:.60}")
    return text, float(score)


def stack_exchange_score(upvotes: int, *, accepted: bool) -> int:
    """The score of an answer by Askell et al. 2021 (arXiv:2112.00861): -1 below zero votes."""
    return -1 if upvotes < 0 else round(log2(1 + upvotes)) + accepted


def ranked_pairs(
    ranked: Iterable[Ranked], *, seed: int, goal: Goal = "helpfulness", labeller: str = "ranking"
) -> list[Comparison]:
    """Every pair of answers with different scores, in an order drawn by ``seed``."""
    pairs = []
    for question in ranked:
        for (i, (one, first)), (j, (two, second)) in combinations(enumerate(question.answers), 2):
            if first != second:
                better, worse = (one, two) if first > second else (two, one)
                id_ = f"{question.id}/{i}-{j}"
                pair = Comparison(
                    id=id_,
                    prompt=question.prompt,
                    a=better,
                    b=worse,
                    goal=goal,
                    labeller=labeller,
                    prob_a=1.0,
                )
                pairs.append(pair.swap() if derive_seed(seed, "order", id_) % 2 else pair)
    return pairs


def binarised(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """Each A > B as "GOOD:A > BAD:A" and "BAD:B > GOOD:B" (Askell et al. 2021, section 4).

    What is learned is then which answer is good. The word stands where the answer begins. With
    P(A > B) = p, both pairs are true with p; in the second, too, side a is the one said to be true.
    """
    pairs = []
    for c in comparisons:
        for side, answer, (first, second) in (
            ("a", c.a, ("GOOD:", "BAD:")),
            ("b", c.b, ("BAD:", "GOOD:")),
        ):
            words = {"id": f"{c.id}/{side}", "a": first + answer, "b": second + answer}
            pairs.append(c.model_copy(update={**words, "readings": ()}))
    return pairs
