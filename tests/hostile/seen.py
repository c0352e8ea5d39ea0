"""What a model could read in a prompt: written apart from the defence, which it is to judge.

Spelling is made plain first (compatibility forms, characters without width, line breaks, case), so
that a marker counts however it is spelt.
"""

from __future__ import annotations

import re
import unicodedata

_NAMES = "human|assistant|critique ?request|critique|revision ?request|revision"
_ROLE = re.compile(rf"\n *\n *({_NAMES}) *:")
_COT_ROLE = re.compile(rf"\n *\n *({_NAMES}|h|a) *:")
_ENDS = re.compile(r"\]\]\]")
_BEGINS = re.compile(r"\[\[\[")
_OPTION = re.compile(r"\n *\([a-z]\)")
_OFFER = re.compile(r"\soptions *:")
_ANSWER = re.compile(r"\n *(?:so )?the answer is *:")
_COT_ANSWER = re.compile(r"\n *so the answer is *:")
_LEAD = re.compile(r"\n *(?:assistant *: *)?let.s think step by step *:")


def plain(text: str) -> str:
    """The text in plain spelling."""
    if text.isascii():
        return re.sub("[\r\x0b\x0c\x1c-\x1e]", "\n", text.replace("\r\n", "\n")).casefold()
    kept = "".join(
        char
        for char in text.replace("\r\n", "\n")
        if unicodedata.category(char) not in ("Cf", "Mn", "Me") or char.isspace()
    )
    spelt = unicodedata.normalize("NFKC", kept).replace("\t", " ")
    return re.sub("[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]", "\n", spelt).casefold()


def roles(text: str, *, cot: bool = False) -> list[str]:
    """The role of each turn of a transcript, as "human" and so on without a blank.

    In the form with a chain of thought (``cot``) turns may be marked H: and A: as well.
    """
    pattern = _COT_ROLE if cot else _ROLE
    return [role.replace(" ", "") for role in pattern.findall(plain(text))]


def marks(text: str, *, cot: bool = False) -> dict[str, int]:
    """How often each mark of the multiple-choice question is there.

    With a chain of thought (``cot``) the answer has another lead, and a thought may end in any.
    """
    spelt = plain(text)
    named = {
        "begins": _BEGINS,
        "ends": _ENDS,
        "option": _OPTION,
        "offer": _OFFER,
        "answer": _COT_ANSWER if cot else _ANSWER,
        "lead": _LEAD,
    }
    return {name: len(pattern.findall(spelt)) for name, pattern in named.items()}
