"""Pairs that people judged, from files, and a preference model's scores of their texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from constitutional.dialogue.conversation import Conversation
from constitutional.dialogue.prompt_files import read_rows
from constitutional.evaluation.pm_accuracy import JudgedPair, read_official_pairs
from constitutional.preference.combined import Response
from constitutional.preference.data import read_hh_rlhf

if TYPE_CHECKING:
    from constitutional.preference.model import PreferenceModel


class JudgedPairs(NamedTuple):
    """The pairs of a file, and how many of its rows were left out, by reason."""

    pairs: list[JudgedPair]
    left_out: Counter[str]


def read_judged_pairs(path: str | Path) -> JudgedPairs:
    """Pairs of an official evaluation file or of hh-rlhf, told apart by the keys of the first row.

    In hh-rlhf nothing tells which answer was shown first.
    """
    first = next(read_rows(path), None)
    if first is not None and isinstance(first.value, Mapping) and "text_correct" in first.value:
        return JudgedPairs(read_official_pairs(path), Counter())
    found = read_hh_rlhf(path, goal="harmlessness", seed=0)
    pairs = [
        JudgedPair(c.prompt, *((c.a, c.b) if c.prob_a == 1 else (c.b, c.a)))
        for c in found.comparisons
    ]
    return JudgedPairs(pairs, found.left_out)


def scores_that_fit(
    model: PreferenceModel, answers: Sequence[tuple[Conversation, str]]
) -> list[float | None]:
    """The raw score of each answer to its conversation; None for more tokens than are read."""
    rows = model.tokens_of([Response(conversation, text) for conversation, text in answers])
    scores = iter(model.scores_of_tokens([row for row in rows if model.fits(row)]))
    return [next(scores) if model.fits(row) else None for row in rows]
