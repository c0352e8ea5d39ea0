"""Pairs of answers that end in a number, and an engine's way of preferring the larger one."""

from __future__ import annotations

import re

from constitutional.dialogue import Conversation
from constitutional.feedback import Pair

LAST_OPTIONS = re.compile(r"\n \(A\) \[\[\[(.*?)\]\]\]\n \(B\) \[\[\[(.*?)\]\]\]", re.DOTALL)


def options(text: str) -> tuple[str, str]:
    """The two responses in the last question of a prompt."""
    a, b = LAST_OPTIONS.findall(text)[-1]
    return a, b


def by_worth(text: str, choices: tuple[str, ...]) -> tuple[float, float]:
    """Log-odds by the number that each response ends in, and 0.4 more for being option (A)."""
    first, second = (int(answer.rsplit(" ", 1)[1]) for answer in options(text))
    p = 1 / (1 + 2.718 ** -((first - second) / 3 + 0.4))
    return 0.9 * p, 0.9 * (1 - p)


def pair(name: str, a: int, b: int) -> Pair:
    return Pair(name, Conversation.of(f"Question {name}?"), f"Answer {a}", f"Answer {b}")
