"""The paper's transcript form: ``\\n\\nHuman: ...\\n\\nAssistant: ...``.

Markers and spacing are those of the official files (``CritiqueRequest`` in one word, one blank
after the colon); section 3.1 of the paper prints "Critique Request", which no official file does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from constitutional.dialogue.conversation import Conversation, Role, Turn
from constitutional.dialogue.quoting import MARKERS, TRANSCRIPT, Form, quoted, unquoted

_ROLES = {marker: role for role, marker in MARKERS.items()}
_MARKER = re.compile(r"\n\n(" + "|".join(MARKERS.values()) + r"):")

#: A sample ends where the next turn would begin. The markers carry their blank line and colon, so a
#: critique that merely speaks of "the human" is not cut short.
STOP_STRINGS: tuple[str, ...] = tuple(f"\n\n{marker}:" for marker in MARKERS.values())


def opening(role: Role) -> str:
    """The text that opens a turn of ``role`` and after which the model writes."""
    return f"\n\n{MARKERS[role]}:"


def render(
    conversation: Conversation, awaiting: Role | None = None, form: Form = TRANSCRIPT
) -> str:
    """The transcript of a conversation, with an open turn of ``awaiting`` at its end if given.

    A marker of ``form`` within a text is quoted, so that it opens no turn.
    """
    text = "".join(f"{opening(turn.role)} {quoted(turn.text, form)}" for turn in conversation.turns)
    return text if awaiting is None else text + opening(awaiting)


def few_shot_prefix(examples: Iterable[Conversation]) -> str:
    """Few-shot examples, one after the other; the next transcript follows without a separator.

    The official examples each end in an open human turn, so that a plain concatenation gives the
    same bytes; the one example without it (number 3) is a slip that this form repairs.
    """
    return "".join(render(example) for example in examples)


def parse(text: str, form: Form = TRANSCRIPT) -> Conversation:
    """Read a transcript back; the inverse of :func:`render` where one blank follows each marker.

    An open last turn (a marker with nothing after it) is left out. Raises ValueError when the text
    does not begin with a marker.
    """
    if not text.startswith("\n\n"):
        text = "\n\n" + text.lstrip("\n")
    parts = _MARKER.split(text)
    if parts[0].strip() or len(parts) < 3:
        raise ValueError(
            "expected a transcript that begins with 'Human:' or 'Assistant:' on a line of its own, "
            f"found {text.strip()[:40]!r}"
        )
    turns = [
        Turn(role=_ROLES[marker], text=unquoted(body.removeprefix(" "), form))
        for marker, body in zip(parts[1::2], parts[2::2], strict=True)
    ]
    if turns and not turns[-1].text.strip():
        turns.pop()
    return Conversation(turns=tuple(turns))
