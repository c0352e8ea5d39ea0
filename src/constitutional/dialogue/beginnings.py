"""Texts that begin alike are encoded once as far as they do: the few-shots of many questions."""

from __future__ import annotations

import os.path
import re
from collections.abc import Callable, Sequence

Encode = Callable[[list[str]], list[list[int]]]

#: Texts are taken together that share so many characters, and are at least so many.
ALIKE, TOGETHER = 512, 8
#: Places at which a text is tried to be cut.
SEAMS = 3
#: The beginning of a line.
_LINE = re.compile(r"(?<=\n)(?=\S)")


def encode_together(encode: Encode, texts: Sequence[str]) -> list[list[int]]:
    """The ids that ``encode`` gives each text, whose common beginnings it encodes once.

    A text is cut at the beginning of a line that all share, with at least one more shared line
    behind it. How a text is cut into tokens there depends on what is near; that the parts give the
    ids of the whole is tried with the first and the last of the texts. Where they do not (a
    tokenizer that puts a blank before every text), all are encoded whole.
    """
    found: dict[int, list[int]] = {}
    whole: list[int] = []
    for numbers in _alike(texts, list(range(len(texts))), ALIKE):
        ids = _by_parts(encode, [texts[number] for number in numbers])
        if ids is None:
            whole += numbers
        else:
            found |= zip(numbers, ids, strict=True)
    found |= zip(whole, encode([texts[number] for number in whole]) if whole else [], strict=True)
    return [found[number] for number in range(len(texts))]


def _alike(texts: Sequence[str], numbers: list[int], shared: int) -> list[list[int]]:
    """Texts with ``shared`` characters in common; more where they part into large enough groups."""
    groups: dict[str, list[int]] = {}
    for number in numbers:
        groups.setdefault(texts[number][:shared], []).append(number)
    found = list(groups.values())
    if shared > ALIKE and min(map(len, found)) < TOGETHER:
        return [numbers]
    parted = []
    for group in found:
        goes_on = len(group) >= TOGETHER and max(len(texts[n]) for n in group) > shared
        parted += _alike(texts, group, 2 * shared) if goes_on else [group]
    return parted


def _by_parts(encode: Encode, texts: list[str]) -> list[list[int]] | None:
    """The ids of texts that begin alike; None where there is nothing to gain, or it does not do."""
    shared = os.path.commonprefix(texts)  # noqa: RUF071  # of characters, as is meant
    seams = _seams(shared) if len(texts) >= TOGETHER else []
    tried = [texts[0], texts[-1]]
    expected = encode(tried) if seams else []
    for seam in seams:
        (head,) = encode([texts[0][:seam]])
        if [head + tail for tail in encode([text[seam:] for text in tried])] == expected:
            return [head + tail for tail in encode([text[seam:] for text in texts])]
    return None


def _seams(shared: str) -> list[int]:
    """Where lines begin that are whole in what is shared, the last ones first."""
    lines = [found.start() for found in _LINE.finditer(shared)]
    return [line for line in lines[-2 : -2 - SEAMS : -1] if line >= ALIKE]
