"""What changed between two versions of a text, by words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import Literal, NamedTuple

_PIECES = re.compile(r"\s+|\w+|[^\w\s]")


class Change(NamedTuple):
    """A stretch of text that both versions have, or only the new one, or only the old one."""

    kind: Literal["same", "added", "removed"]
    text: str


def word_changes(before: str, after: str) -> list[Change]:
    """The way from ``before`` to ``after``: all but the added is ``before``, all but the removed
    is ``after``. A word is changed as a whole; what stands in the place of another follows it.
    """
    return list(_joined(_changes(_PIECES.findall(before), _PIECES.findall(after))))


def _changes(old: list[str], new: list[str]) -> Iterator[Change]:
    # a word that is frequent in a long text matters as any other
    for tag, i, j, k, m in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            yield Change("same", "".join(old[i:j]))
            continue
        if i < j:
            yield Change("removed", "".join(old[i:j]))
        if k < m:
            yield Change("added", "".join(new[k:m]))


def _joined(changes: Iterator[Change]) -> Iterator[Change]:
    """Blanks alone between changes are changed too: a phrase is easier to read in one piece."""
    held: list[Change] = []
    for change in changes:
        if change.kind != "same" or (held and not change.text.strip()):
            held.append(change)
            continue
        yield from _phrase(held)
        held = []
        yield change
    yield from _phrase(held)


def _phrase(held: list[Change]) -> Iterator[Change]:
    after: list[Change] = []
    while held and held[-1].kind == "same":
        after.insert(0, held.pop())
    removed = "".join(change.text for change in held if change.kind != "added")
    added = "".join(change.text for change in held if change.kind != "removed")
    if removed:
        yield Change("removed", removed)
    if added:
        yield Change("added", added)
    yield from after
