"""One row of a prompt file, in any of the known forms, to the conversations it holds.

========================  =========================================================================
key                       what it holds
========================  =========================================================================
``conversation``          a record that this package wrote
``prompt``                one prompt: a text, a transcript that ends in a human turn or in an open
                          ``Assistant:``, or a list of messages that ends in a user message
``rl_prompt``             the same, as in the official sample files
``messages``              a list of ``role``/``content``; when it ends in an answer, each user
                          message in it is a prompt
``transcript``            a dialogue (hh-rlhf's red-team attempts): each human turn is a prompt
``chosen``, ``rejected``  a pair of dialogues (hh-rlhf): each human turn of either is a prompt
========================  =========================================================================

"Each human turn is a prompt" is section 3.2 of the paper: a prompt is the dialogue up to and
including a human turn.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

from pydantic import ValidationError

from constitutional.dialogue.conversation import Conversation, Role, Turn
from constitutional.errors import nearest

KNOWN_KEYS = (
    "conversation",
    "prompt",
    "rl_prompt",
    "messages",
    "transcript",
    "chosen",
    "rejected",
)
EXPECTED = (
    "a key 'prompt', 'messages', 'transcript', 'conversation' or 'rl_prompt', "
    "or a pair 'chosen' and 'rejected'"
)
DEMONSTRATION = "a key 'messages' or 'transcript', or a pair 'prompt' and 'completion'"

# Only the two roles of a dialogue: a "Revision:" inside a prompt is part of its text.
_MARKER = re.compile(r"\n\n(Human|Assistant):")
_ROLES: dict[str, Role] = {"Human": "human", "Assistant": "assistant"}
_MESSAGE_ROLES: dict[str, Role] = {
    "user": "human",
    "human": "human",
    "assistant": "assistant",
}


class MalformedRow(ValueError):
    """A row that is no prompt; the message says what was expected, what was found, what to do."""


class RowPrompts(NamedTuple):
    """The conversations of one row, each ending in a human turn, and what the row says of them."""

    conversations: tuple[Conversation, ...]
    empty_turns: int = 0
    id: str | None = None
    kind: str | None = None
    source: str | None = None
    tags: tuple[str, ...] = ()


def prompts_in(row: object, column: str | None = None) -> RowPrompts:
    """The prompts of one row: an object with one of the known keys, or a bare prompt text.

    ``column`` names the key that holds the prompt in place of the known ones. Raises MalformedRow.
    """
    if isinstance(row, str):
        return RowPrompts((_one_prompt(row, "the line"),))
    if not isinstance(row, Mapping):
        raise MalformedRow(f"expected a JSON object with {EXPECTED}, found {_name(row)}")
    conversations, empty = _conversations(row, column)
    if not conversations:
        raise MalformedRow("no human turn with a text in it: remove the row, or write one")
    if "conversation" in row and column is None:
        return RowPrompts(
            conversations, empty, _id(row), _text(row, "kind"), _text(row, "source"), _tags(row)
        )
    return RowPrompts(conversations, empty, _id(row), tags=_tags(row))


def demonstration_in(row: object) -> Conversation:
    """The whole conversation of one row, which ends in an answer. Raises MalformedRow."""
    if not isinstance(row, Mapping):
        raise MalformedRow(f"expected a JSON object with {DEMONSTRATION}, found {_name(row)}")
    if "messages" in row:
        conversation = _from_messages(row["messages"], "'messages'")
    elif "transcript" in row:
        conversation = _from_transcript(row["transcript"], "'transcript'")
    elif "prompt" in row and "completion" in row:
        asked = _one_prompt(row["prompt"], "'prompt'")
        answer = row["completion"]
        if not isinstance(answer, str):
            raise MalformedRow(f"'completion' must be a text, found {_name(answer)}")
        conversation = Conversation(turns=(*asked.turns, _turn("assistant", answer.strip())))
    else:
        raise MalformedRow(f"expected {DEMONSTRATION}; {_nearest_key(row)}")
    if conversation.last.role != "assistant" or not conversation.last.text.strip():
        raise MalformedRow("a demonstration ends in the assistant's answer: write it")
    return conversation


def _conversations(
    row: Mapping[Any, Any], column: str | None
) -> tuple[tuple[Conversation, ...], int]:
    """The conversations of the row and the number of empty human turns passed over."""
    if column is not None:
        if column not in row:
            keys = [str(key) for key in row]
            raise MalformedRow(f"no column {column!r}: {nearest(column, keys)}")
        return (_one_prompt(row[column], f"{column!r}"),), 0
    if "conversation" in row:
        return (_own_record(row["conversation"]),), 0
    for key in ("prompt", "rl_prompt"):
        if key in row:
            return (_one_prompt(row[key], f"{key!r}"),), 0
    if "messages" in row:
        return _human_prefixes([_from_messages(row["messages"], "'messages'")], only_last=True)
    if "transcript" in row:
        return _human_prefixes([_from_transcript(row["transcript"], "'transcript'")])
    if "chosen" in row and "rejected" in row:
        return _human_prefixes(
            [_from_transcript(row[key], f"{key!r}") for key in ("chosen", "rejected")]
        )
    raise MalformedRow(f"expected {EXPECTED}; {_nearest_key(row)}")


def _nearest_key(row: Mapping[Any, Any]) -> str:
    """Names the key that was likely meant, or lists what was found."""
    if "chosen" in row or "rejected" in row:
        return "found only one side of the pair"
    for key in row:
        close = get_close_matches(str(key).lower(), KNOWN_KEYS, n=1, cutoff=0.75)
        if close:
            return f"found the key {str(key)!r}: did you mean {close[0]!r}?"
    found = ", ".join(repr(str(key)) for key in row) or "no key"
    return f"found {found}: rename the key, or name it as the column"


def _one_prompt(value: object, where: str) -> Conversation:
    """A single prompt from a text, a transcript or a list of messages."""
    if isinstance(value, str):
        if not value.strip():
            raise MalformedRow(f"{where} is empty: write a prompt, or remove the row")
        looks_like_transcript = _MARKER.match(value) or (
            value.startswith("Human:") and "\n\nAssistant:" in value
        )
        if not looks_like_transcript:
            return Conversation(turns=(_turn("human", value),))
        conversation = _from_transcript(value, where)
    else:
        conversation = _from_messages(value, where)
    turns = conversation.turns
    if turns[-1].role == "assistant" and not turns[-1].text.strip():
        turns = turns[:-1]  # the open turn that the model is to fill
    if not turns or turns[-1].role != "human":
        raise MalformedRow(
            f"{where} ends in an answer of the assistant, but a prompt ends in a human turn: "
            "remove the answer, or name the key 'transcript' to use every human turn"
        )
    if not turns[-1].text.strip():
        raise MalformedRow(f"the last human turn of {where} is empty: write it, or remove the row")
    return Conversation(turns=turns)


def _from_transcript(value: object, where: str) -> Conversation:
    """A dialogue from its transcript, with every byte of the texts kept.

    A marker of the role that speaks already opens no turn: "Human: a, Human: b" is one turn whose
    text holds the second marker. Turns alternate, as in a chat they must, and rendering quotes it.
    """
    if not isinstance(value, str):
        raise MalformedRow(f"{where} must be a text, found {_name(value)}")
    text = value if value.startswith("\n\n") else "\n\n" + value.lstrip("\n")
    if not _MARKER.match(text):
        raise MalformedRow(
            f"{where} must begin with 'Human:' after a blank line, found {value.strip()[:40]!r}"
        )
    turns: list[tuple[Role, str]] = []
    parts = _MARKER.split(text)
    for marker, body in zip(parts[1::2], parts[2::2], strict=True):
        role = _ROLES[marker]
        if turns and turns[-1][0] == role:
            turns[-1] = (role, f"{turns[-1][1]}\n\n{marker}:{body}")
        else:
            turns.append((role, body.removeprefix(" ")))
    return Conversation(turns=tuple(_turn(role, body) for role, body in turns))


def _from_messages(value: object, where: str) -> Conversation:
    if not isinstance(value, list) or not value:
        raise MalformedRow(
            f"{where} must be a text or a list of messages with 'role' and 'content', "
            f"found {_name(value)}"
        )
    turns: list[Turn] = []
    for number, message in enumerate(value, start=1):
        turn = _from_message(message, f"message {number} of {where}")
        if turns and turns[-1].role == turn.role:
            raise MalformedRow(
                f"messages {number - 1} and {number} of {where} are both of the {turn.role}: "
                "user and assistant alternate"
            )
        turns.append(turn)
    return Conversation(turns=tuple(turns))


def _from_message(message: object, where: str) -> Turn:
    if not isinstance(message, Mapping):
        raise MalformedRow(f"{where} must be an object with 'role' and 'content'")
    role, content = message.get("role"), message.get("content")
    if role == "system":
        raise MalformedRow(
            f"{where} is a system message, which a prompt set cannot hold: remove it"
        )
    if not isinstance(role, str) or role not in _MESSAGE_ROLES:
        raise MalformedRow(f"{where} has the role {role!r}, expected 'user' or 'assistant'")
    if not isinstance(content, str):
        raise MalformedRow(f"the 'content' of {where} must be a text, found {_name(content)}")
    return _turn(_MESSAGE_ROLES[role], content)


def _own_record(value: object) -> Conversation:
    try:
        conversation = Conversation.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(str(part) for part in first["loc"])
        raise MalformedRow(f"'conversation' is no record of ours: {at}: {first['msg']}") from error
    last = conversation.turns[-1] if conversation.turns else None
    if last is None or last.role != "human" or not last.text.strip():
        raise MalformedRow("'conversation' must end in a human turn with a text")
    return conversation


def _human_prefixes(
    dialogues: Iterable[Conversation], *, only_last: bool = False
) -> tuple[tuple[Conversation, ...], int]:
    """Every prefix that ends in a human turn with a text, each once, and the number of empty ones.

    With ``only_last`` a dialogue that ends in a human turn is one prompt, itself.
    """
    found: dict[Conversation, None] = {}
    empty: set[Conversation] = set()
    for dialogue in dialogues:
        turns = dialogue.turns
        first = len(turns) if only_last and turns[-1].role == "human" else 1
        for end in range(first, len(turns) + 1):
            prefix = Conversation(turns=turns[:end])
            if prefix.last.role != "human":
                continue
            if prefix.last.text.strip():
                found[prefix] = None
            else:
                empty.add(prefix)
    return tuple(found), len(empty)


def _turn(role: Role, text: str) -> Turn:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise MalformedRow(
            f"a text holds half a character ({text[error.start]!r} is no valid Unicode): "
            "save the file as UTF-8, with whole characters"
        ) from error
    return Turn(role=role, text=text)


def _id(row: Mapping[Any, Any]) -> str | None:
    value = row.get("id")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise MalformedRow(f"'id' must be a text or a whole number, found {_name(value)}")
    return _whole(str(value), "id")


def _text(row: Mapping[Any, Any], key: str) -> str | None:
    value = row.get(key)
    if value is None or isinstance(value, str):
        return value if value is None else _whole(value, key)
    raise MalformedRow(f"{key!r} must be a text, found {_name(value)}")


def _tags(row: Mapping[Any, Any]) -> tuple[str, ...]:
    value = row.get("tags")
    if value is None or value == "":
        return ()
    if isinstance(value, str):
        return (_whole(value, "tags"),)
    if isinstance(value, list | tuple) and all(isinstance(tag, str) for tag in value):
        return tuple(_whole(tag, "tags") for tag in value)
    raise MalformedRow(f"'tags' must be a list of texts, found {_name(value)}")


def _whole(text: str, key: str) -> str:
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise MalformedRow(f"{key!r} holds half a character: save the file as UTF-8")
    return text


def _name(value: object) -> str:
    """A value in a JSON user's words."""
    if value is None:
        return "nothing (null)"
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    return names.get(type(value), f"{str(value)[:40]!r}")
