"""The list that a model is shown, and the prompts that can stand in it.

A heading and some lines that begin with a dash are familiar to any pretrained model, which goes on
with one more line. A chat model gets the same list in a human turn that asks for one more, and its
own turn begins with the dash, so that both are read up to the end of the line.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from constitutional.dialogue.prompts import PromptKind, PromptRecord
from constitutional.engines.base import ChatPrompt, Message, Prompt, Style, TextPrompt
from constitutional.errors import InputError
from constitutional.red_teaming.settings import HEADINGS, RedTeamingConfig

DASH = "-"


def few_shot_pool(
    human: Iterable[PromptRecord], config: RedTeamingConfig
) -> tuple[PromptRecord, ...]:
    """The prompts that fit into a list: one turn, one line, not too long.

    Raises InputError where they are fewer than the few-shots of one list.
    """
    human = tuple(human)
    pool = tuple(record for record in human if _fits(record, config.longest_few_shot))
    if len(pool) < config.few_shots:
        raise InputError(
            f"a list needs {config.few_shots} few-shots, but {len(pool)} of the {len(human)} "
            f"prompts are of one turn, one line and at most {config.longest_few_shot} characters: "
            "ask for fewer few-shots, or give more such prompts"
        )
    return pool


def list_prompt(
    texts: Sequence[str], kind: PromptKind, style: Style, config: RedTeamingConfig
) -> Prompt:
    """The list of ``texts``, after which the model writes the next item."""
    heading = config.heading or HEADINGS[kind]
    shown = heading + "".join(f"\n{DASH} {text}" for text in texts)
    if style == "transcript":
        return TextPrompt(f"\n\n{shown}\n{DASH}")
    asked = Message("user", f"{shown}\n\n{config.request}")
    return ChatPrompt((asked,), answer_prefix=DASH)


def _fits(record: PromptRecord, longest: int) -> bool:
    text = record.conversation.last.text.strip()
    one_line = len(text.splitlines()) == 1
    return len(record.conversation.turns) == 1 and one_line and len(text) <= longest
