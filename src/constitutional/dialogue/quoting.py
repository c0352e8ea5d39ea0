"""Texts that imitate the marks between fields are quoted, so that no text can end its field.

A prompt is one text with marks between its fields: ``\\n\\nHuman:`` between turns, ``[[[`` and
``]]]`` around options. What a person or a model wrote may hold such a mark too. There, and nowhere
else, a backslash is put before it, as mail programs put ">" before a line that begins with "From "
(RFC 4155); one that is there already gets one more, so that :func:`unquoted` gives back every text.

A model is misled by a mark that is spelt a little otherwise just as well. Marks are therefore
looked for in what is seen of a text: compatibility forms as their plain letters (a full-width
colon), without characters that have no width, whatever the case, after any kind of line break.
Letters of other scripts that look alike are not taken for each other.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from constitutional.dialogue.conversation import Role

MARKERS: dict[Role, str] = {
    "human": "Human",
    "assistant": "Assistant",
    "critique_request": "CritiqueRequest",
    "critique": "Critique",
    "revision_request": "RevisionRequest",
    "revision": "Revision",
}

_QUOTE = "\\"
_BREAKS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
_BLANKS = rf"[^\S{_BREAKS}]*"
_LINE = rf"(?<=[{_BREAKS}]){_BLANKS}"
#: A role marker stands behind a blank line; on a line of its own alone it is a text's business.
_BLANK_LINE = rf"(?:\r\n|[{_BREAKS}]){_BLANKS}(?:\r\n|[{_BREAKS}]){_BLANKS}"
#: Colons that are no compatibility form of ":" and look like it all the same.
_COLON = rf"{_BLANKS}[:\u2236\ua789\u02d0\u05c3]"
_SIMPLE = re.compile(r"[\t-\r\x1c-\x1e -~]*")


@dataclass(frozen=True)
class Form:
    """The marks of one form of prompt, as patterns for what is seen of a text.

    ``lead`` comes before where a mark begins, ``mark`` is it; every bracket of a match of
    ``brackets`` is quoted by itself, or three of them would still stand in a row.
    """

    marks: tuple[tuple[str, str], ...]
    brackets: bool = False

    def places(self, seen: str, quotes: str) -> list[int]:
        """Where in ``seen`` a mark begins, behind as many backslashes as ``quotes`` allows."""
        pattern = _pattern(self, quotes)
        found = []
        for match in pattern.finditer(seen):
            if match.lastgroup == "run":
                inside = range(match.start("run"), match.end("run"))
                found += [place for place in inside if seen[place] != _QUOTE]
            else:
                found.append(match.start(str(match.lastgroup)))
        return found


@lru_cache
def _pattern(form: Form, quotes: str) -> re.Pattern[str]:
    parts = [
        rf"{lead}{quotes}(?P<mark{number}>{mark})" for number, (lead, mark) in enumerate(form.marks)
    ]
    if form.brackets:
        parts += [rf"(?<!\\)(?P<run>(?:{quotes}\[){{3,}}+|(?:{quotes}\]){{3,}}+)"]
    return re.compile("|".join(parts), re.IGNORECASE)


def _spaced(marker: str) -> str:
    """The words of a marker, which may be written apart."""
    return _BLANKS.join(re.findall("[A-Z][a-z]*", marker))


def _roles(*names: str) -> tuple[str, str]:
    return (_BLANK_LINE, rf"(?:{'|'.join(map(_spaced, names))}){_COLON}")


#: The paper's transcript.
TRANSCRIPT = Form((_roles(*MARKERS.values()),))
#: A chain of thought, whose verdict is read in a turn of its own.
REASONING = Form((_roles(*MARKERS.values(), "H", "A"), (_LINE, rf"so the answer is{_COLON}")))
#: The multiple-choice question of AI feedback in both its forms.
QUESTION = Form(
    (
        _roles(*MARKERS.values(), "H", "A"),
        (_LINE, rf"(?:(?:so )?the answer is|let.s think step by step){_COLON}"),
        (_LINE, rf"\({_BLANKS}(?-i:[A-Z]){_BLANKS}\)"),
        (r"(?<=\s)", rf"(?-i:O)ptions{_COLON}"),
    ),
    brackets=True,
)


def quoted(text: str, form: Form = TRANSCRIPT) -> str:
    """The text with a backslash before whatever imitates a mark of ``form``; mostly the text."""
    seen, origin = seen_of(text)
    places = {origin[place] for place in form.places(seen, r"\\*+")}
    if not places:
        return text
    return "".join(_QUOTE + char if at in places else char for at, char in enumerate(text))


def unquoted(text: str, form: Form = TRANSCRIPT) -> str:
    """The inverse of :func:`quoted`."""
    if _QUOTE not in text:
        return text
    seen, origin = seen_of(text)
    places = {origin[place - 1] for place in form.places(seen, r"\\++")}
    return "".join(char for at, char in enumerate(text) if at not in places)


def seen_of(text: str) -> tuple[str, Sequence[int]]:
    """What is seen of a text, and from which of its characters each seen one comes."""
    if _SIMPLE.fullmatch(text):
        return text, range(len(text))
    seen, origin = [], []
    for at, char in enumerate(text):
        for shown in _shown(char):
            seen.append(shown)
            origin.append(at)
    return "".join(seen), origin


@lru_cache(65536)
def _shown(char: str) -> str:
    if char.isspace():
        return char if char in _BREAKS else " "
    # format, combining and control characters have no width; a lone surrogate is kept
    if unicodedata.category(char) in ("Cf", "Mn", "Me", "Cc"):
        return ""
    return unicodedata.normalize("NFKC", char)
