"""The thoughts of reasoning models: neither a critique nor a revision, and never trained on.

Templates are asked to leave thinking out (:mod:`constitutional.dialogue.tokens`). What a model
thinks all the same, between ``<think>`` and ``</think>``, is taken off its texts here.
"""

from __future__ import annotations

import re

_END = "</think>"
_BEGUN = re.compile(r"\s*<think>")
_OPEN = re.compile(r"<think>\s*\Z")


def begins_with_thought(text: str) -> bool:
    """Whether a text opens a thought itself."""
    return _BEGUN.match(text) is not None


def without_thoughts(text: str) -> str:
    """What follows the thoughts, which a template may have begun; "" where they were cut off."""
    _, ended, after = text.rpartition(_END)
    if ended:
        return after.lstrip()
    return "" if begins_with_thought(text) else text


def with_thought_closed(prompt: str) -> str:
    """A prompt that ends in ``<think>`` with an empty thought instead; any other as it is.

    Some templates open a thought whatever they are asked, and an answer that is begun for the model
    would stand inside it.
    """
    return _OPEN.sub("<think>\n\n</think>\n\n", prompt)
