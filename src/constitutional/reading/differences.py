"""What changed from one version of a text to the next, word by word."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from rapidfuzz.distance import Indel

Kind = Literal["same", "removed", "added"]

#: A word, a sign, or white space; nothing of a text is lost between them.
_TOKEN = re.compile(r"\w+(?:['’]\w+)*|\s+|[^\w\s]")
#: Words that have to stay the same between two changes: fewer are read as part of one change, so
#: that a sentence that was written anew is not shown as confetti.
_WORDS_BETWEEN = 2
#: Below this share of words in common a text is shown as written anew: the old one, then the new.
_IN_COMMON = 0.2


class Piece(NamedTuple):
    """A stretch of text, and what became of it."""

    kind: Kind
    text: str


def differences(old: str, new: str) -> list[Piece]:
    """The pieces of both versions in reading order.

    Those that are not ``added`` make up ``old``, those that are not ``removed`` make up ``new``.
    """
    if old == new:
        return [Piece("same", old)] if old else []
    before, after = _TOKEN.findall(old), _TOKEN.findall(new)
    runs = list(_runs(before, after))
    common = sum(_words(run.text) for run in runs if run.kind == "same")
    if common < _IN_COMMON * max(_words(old), _words(new)):
        runs = [Piece("removed", old), Piece("added", new)]
    return [piece for piece in _joined(runs) if piece.text]


def _runs(before: Sequence[str], after: Sequence[str]) -> Iterator[Piece]:
    # the standard library's difflib takes seconds for the texts of models that repeat themselves
    for step in Indel.opcodes(before, after):
        old = "".join(before[step.src_start : step.src_end])
        if step.tag == "equal":
            yield Piece("same", old)
        else:
            yield Piece("removed", old)
            yield Piece("added", "".join(after[step.dest_start : step.dest_end]))


def _joined(runs: Sequence[Piece]) -> list[Piece]:
    """Neighbouring changes as one removal and one addition, short stretches between them too."""
    found: list[Piece] = []
    removed = added = ""
    for number, (kind, text) in enumerate(runs):
        between = 0 < number < len(runs) - 1
        if kind == "same" and not (between and _words(text) < _WORDS_BETWEEN):
            found += [Piece("removed", removed), Piece("added", added), Piece("same", text)]
            removed = added = ""
            continue
        removed += "" if kind == "added" else text
        added += "" if kind == "removed" else text
    return [*found, Piece("removed", removed), Piece("added", added)]


def _words(text: str) -> int:
    return len(re.findall(r"\w+", text))
