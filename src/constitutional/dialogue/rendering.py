"""From a conversation to what an engine is sent: the paper's transcript, or a model's own chat.

The same turns serve both styles. As a transcript every role keeps its marker
(:mod:`constitutional.dialogue.transcript`); in a chat whatever a person or the program asks is a
user message, and whatever the model writes is an assistant message. Texts are not altered, but that
what imitates a marker is quoted in a transcript (:mod:`constitutional.dialogue.quoting`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from constitutional.dialogue.conversation import REQUESTING_ROLES, Conversation, Role, Turn
from constitutional.dialogue.transcript import few_shot_prefix, render
from constitutional.engines.base import ChatPrompt, Message, Prompt, Style, TextPrompt
from constitutional.errors import InputError


def prompt_for(
    conversation: Conversation,
    awaiting: Role,
    style: Style,
    few_shots: Sequence[Conversation] = (),
    system: str | None = None,
) -> Prompt:
    """The prompt after which a model writes the turn ``awaiting`` of ``conversation``.

    ``transcript``: the few-shot examples, then the conversation, then the open turn, as one text.
    ``chat``: the few-shot examples are earlier turns of the same chat, ``system`` stands first.

    Raises ValueError for a ``system`` text in transcript style, whose form has no place for one,
    and for a chat in which a requesting role is awaited: a chat model writes only its own turns.
    Raises InputError where turns in a chat do not alternate.
    """
    if style == "transcript":
        if system is not None:
            raise ValueError("a transcript has no system text: use style 'chat', or leave it out")
        return TextPrompt(few_shot_prefix(few_shots) + render(conversation, awaiting))
    if awaiting in REQUESTING_ROLES:
        raise ValueError(f"a chat model writes the assistant's turns, not a {awaiting!r}")
    messages = chat_messages(conversation, few_shots)
    if not messages or messages[-1].role != "user":
        found = (
            f"ends in a turn of {conversation.last.role!r}" if conversation.turns else "is empty"
        )
        raise InputError(
            f"in chat style a {awaiting!r} answers a request, but the conversation {found}"
        )
    if system is not None:
        messages = (Message("system", system), *messages)
    return ChatPrompt(messages)


def chat_messages(
    conversation: Conversation, few_shots: Sequence[Conversation] = ()
) -> tuple[Message, ...]:
    """The turns as chat messages, those of the few-shot examples first.

    Raises InputError, naming the turn, where two user or two assistant messages would follow each
    other: most chat templates refuse that or render it in a form no model was trained on.
    """
    messages: list[Message] = []
    before: Turn | None = None
    for where, turn in _places(conversation, few_shots):
        asks = turn.role in REQUESTING_ROLES
        if before is not None and asks == (before.role in REQUESTING_ROLES):
            side = "user" if asks else "assistant"
            raise InputError(
                f"in chat style user and assistant alternate, but {where} ({turn.role}) follows "
                f"a {before.role} turn, so that two {side} messages would stand in a row"
            )
        messages.append(Message("user" if asks else "assistant", turn.text))
        before = turn
    return tuple(messages)


def _places(
    conversation: Conversation, few_shots: Sequence[Conversation]
) -> Iterator[tuple[str, Turn]]:
    """Every turn in order with the words that say where it stands."""
    for number, example in enumerate(few_shots, start=1):
        for index, turn in enumerate(example.turns, start=1):
            yield f"turn {index} of few-shot example {number}", turn
    for index, turn in enumerate(conversation.turns, start=1):
        yield f"turn {index}", turn
