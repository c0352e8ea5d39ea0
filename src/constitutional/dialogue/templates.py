"""Chat templates: the form in which a model was taught to read a conversation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jinja2 import TemplateError

from constitutional.dialogue.control import guarded_turn
from constitutional.engines.base import Message
from constitutional.engines.thoughts import (
    begins_with_thought,
    with_thought_closed,
    without_thoughts,
)
from constitutional.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: Put before templates that state the day: a run that goes on the next day must ask the same. It is
#: the day that Llama 3's template falls back on. The last part keeps a line break that follows.
_CALENDAR = (
    "{%- macro strftime_now(form) -%}{{ form | replace('%d', '26') | replace('%m', '07')"
    " | replace('%b', 'Jul') | replace('%B', 'July') | replace('%Y', '2024') | replace('%y', '24')"
    " | replace('%a', 'Fri') | replace('%A', 'Friday') | replace('%H', '12') | replace('%M', '00')"
    " | replace('%S', '00') }}{%- endmacro %}{{ '' }}"
)
_TEMPLATE_ERRORS = (TemplateError, ValueError, TypeError)


def apply_template(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, awaiting_answer: bool
) -> str:
    """The messages as the chat template writes them, open for the assistant if asked.

    A system prompt goes to the head of the first request where the template has no place for one
    (it refuses it, as Gemma's does, or leaves it out). Control tokens that are spelt out in a
    message are guarded (:mod:`constitutional.dialogue.control`). Raises ModelError.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ModelError(
            "the tokenizer has no chat template: use style: transcript, or pass a chat template"
        )
    messages = guarded_messages(tokenizer, messages)
    system = messages[0].content if messages and messages[0].role == "system" else ""
    refused: Exception | None = None
    for form in (messages, _folded(messages)) if system else (messages,):
        try:
            text = _rendered(tokenizer, form, awaiting_answer)
        except _TEMPLATE_ERRORS as error:
            refused = refused or error
            continue
        if system.strip() in text:
            return with_thought_closed(text) if awaiting_answer else text
    why = refused or "it leaves the system prompt out"
    raise ModelError(f"the chat template refuses these messages: {why}") from refused


def guarded_messages(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]
) -> list[Message]:
    """The messages as a template is to get them: with guards, and without earlier thoughts."""
    return [Message(m.role, guarded_turn(tokenizer, _said(m))) for m in messages]


def _said(message: Message) -> str:
    """The text of a message; an answer's without a thought at its head, which templates drop."""
    if message.role != "assistant" or not begins_with_thought(message.content):
        return message.content
    return without_thoughts(message.content) or message.content


def _rendered(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], awaiting_answer: bool
) -> str:
    """Templates with a thinking mode are asked for the plain one: the thoughts of a model are
    neither a critique nor a revision.
    """
    text: str = tokenizer.apply_chat_template(
        [{"role": message.role, "content": message.content} for message in messages],
        chat_template=undated(tokenizer.get_chat_template()),
        tokenize=False,
        add_generation_prompt=awaiting_answer,
        enable_thinking=False,
    )
    return text


def undated(template: str) -> str:
    """The chat template with the same day every day."""
    return _CALENDAR + template if "strftime_now" in template else template


def _folded(messages: Sequence[Message]) -> list[Message]:
    """The messages with the system prompt at the head of the first request."""
    system, *rest = messages
    if not rest or rest[0].role != "user":
        raise ModelError("the chat template has no place for a system prompt without a request")
    return [Message("user", f"{system.content}\n\n{rest[0].content}"), *rest[1:]]
