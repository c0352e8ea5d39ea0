"""Which sampled texts are unfit for training, by their shape alone.

Noisy revisions teach a model to loop or never to stop (Zhang 2025, arXiv 2504.04918). The rules
look at form, never at content: whether a text is harmful is not theirs to say.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Literal

from constitutional.dialogue.quoting import MARKERS

#: Why a text is unfit for training. ``unchanged`` (a revision equal to the version before it) is
#: not among them: an answer with no fault ought to stay as it is.
Flag = Literal["empty", "looped", "role_marker", "cut_off", "failed"]

_ROLE_MARKER = re.compile(
    r"(?:^|\n)[ \t]*(?:" + "|".join(MARKERS.values()) + r"|Critique Request|Revision Request|H|A):"
)
_SPECIAL_TOKEN = re.compile(r"<\|[a-zA-Z0-9_]+\|>|</?(?:start|end)_of_turn>|\[/?INST\]")
LOOP_WORDS, LOOP_TIMES = 4, 4


def flags(
    text: str, ended: Literal["eos", "stop", "length", "filter", "failed"]
) -> tuple[Flag, ...]:
    """What is wrong with the shape of a sampled text; empty when nothing is.

    ``empty``: no letter or digit. ``looped``: some run of 4 words occurs 4 times or more.
    ``role_marker``: a line opens with a role marker, or a chat template's control token occurs.
    ``cut_off``: the token limit ended it, or the filter of a server. ``failed``: a server gave no
    answer, so that there is no text to find fault with.
    """
    if ended == "failed":
        return ("failed",)
    found: list[Flag] = []
    if not any(c.isalnum() for c in text):
        found.append("empty")
    if _is_looped(text):
        found.append("looped")
    if _ROLE_MARKER.search(text) or _SPECIAL_TOKEN.search(text):
        found.append("role_marker")
    if ended in ("length", "filter"):
        found.append("cut_off")
    return tuple(found)


def _is_looped(text: str) -> bool:
    words = text.split()
    runs = Counter(tuple(words[i : i + LOOP_WORDS]) for i in range(len(words) - LOOP_WORDS + 1))
    return bool(runs) and max(runs.values()) >= LOOP_TIMES
