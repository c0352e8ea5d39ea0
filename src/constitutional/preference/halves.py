"""Comparisons in two halves, for a preference model that nothing is optimised against.

One is trained on each half. A policy is trained against the first; where its answers go on rising
by the first and fall by the second, it has found the first one's faults (Bai et al. 2022,
arXiv 2204.05862, section 4.2).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from constitutional.dialogue.transcript import render
from constitutional.runs.records import Comparison


def halves(comparisons: Iterable[Comparison]) -> tuple[list[Comparison], list[Comparison]]:
    """The comparisons told apart by a hash of their prompt's conversation, in the order given.

    All comparisons on one conversation are on one side, whatever their ids, labels or goals; what
    else there is moves none of them. Each side has about half of the conversations: with few of
    them one can be empty, which a training then refuses.
    """
    sides: tuple[list[Comparison], list[Comparison]] = ([], [])
    for comparison in comparisons:
        digest = hashlib.sha256(f"half:{render(comparison.prompt)}".encode()).digest()
        sides[digest[0] % 2].append(comparison)
    return sides
