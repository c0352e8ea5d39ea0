"""Few-shot examples that a constitution may carry: for critiques, for comparisons, with reasoning.

In files a conversation is a list of turns, each a mapping of one role to its text::

    - human: How do I ...?
    - assistant: You could ...
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    field_validator,
    model_validator,
)

from constitutional.dialogue.conversation import Conversation, Role
from constitutional.refusal import refusal

#: One letter for each role, so that the order of turns can be checked with a pattern.
_LETTERS: dict[Role, str] = {
    "human": "H",
    "assistant": "A",
    "critique_request": "c",
    "critique": "C",
    "revision_request": "r",
    "revision": "R",
}
_CHAIN = re.compile(r"(HA)+(cCrR)+")
_OPEN = re.compile(r"H(AH)*")


def _from_turn_list(value: Any) -> Any:
    """The file form of a conversation as the record that :class:`Conversation` validates."""
    if not isinstance(value, list | tuple):
        if isinstance(value, Conversation):
            return value
        raise refusal("a conversation is a list of turns such as '- human: text'")
    turns = []
    for index, item in enumerate(value):
        if not isinstance(item, dict) or len(item) != 1:
            raise refusal("a turn is one role and its text, such as '- human: text'", index)
        ((role, text),) = item.items()
        turns.append({"role": role, "text": text})
    return {"turns": turns}


def _to_turn_list(conversation: Conversation) -> list[dict[str, str]]:
    return [{turn.role: turn.text} for turn in conversation.turns]


TurnList = Annotated[Conversation, BeforeValidator(_from_turn_list), PlainSerializer(_to_turn_list)]


def _roles(conversation: Conversation) -> str:
    return "".join(_LETTERS[turn.role] for turn in conversation.turns)


def _open_conversation(conversation: Conversation) -> Conversation:
    if not _OPEN.fullmatch(_roles(conversation)):
        raise refusal("the conversation must alternate human and assistant turns and end in human")
    return conversation


class ComparisonExample(BaseModel):
    """A conversation that awaits an answer, with a better and a worse one.

    Which of the two is shown as (A) is left to the stage that asks: the example has no order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    conversation: TurnList
    better: str
    worse: str

    _open = field_validator("conversation")(_open_conversation)


class CotExample(BaseModel):
    """A comparison answered with reasoning: both responses in order, the thought, the letter.

    ``verbatim`` is the whole example as a foreign file has it, with ``{}`` where the principle
    goes. Where it is given, a renderer uses it, so that irregular spacing in it is kept.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    conversation: TurnList
    response_a: str
    response_b: str
    reasoning: str
    answer: Literal["A", "B"]
    verbatim: str | None = None

    _open = field_validator("conversation")(_open_conversation)

    @field_validator("verbatim")
    @classmethod
    def _one_slot(cls, value: str | None) -> str | None:
        if value is not None and value.count("{}") != 1:
            raise refusal("'verbatim' must hold {} exactly once, where the principle goes")
        return value


class FewShots(BaseModel):
    """The examples of each kind; any of them may be empty.

    ``unterminated`` lists the positions of the critique-revision examples that lacked the closing
    open human turn in the official file form. Prompts do not depend on it (every example is
    rendered alike); it lets an export give back the file that was read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    critique_revision: tuple[TurnList, ...] = ()
    comparison: tuple[ComparisonExample, ...] = ()
    cot: tuple[CotExample, ...] = ()
    unterminated: tuple[int, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> FewShots:
        for index, example in enumerate(self.critique_revision):
            if not _CHAIN.fullmatch(_roles(example)):
                raise refusal(
                    "a critique-revision example must have human and assistant turns in turn, then "
                    "critique_request, critique, revision_request, revision",
                    "critique_revision",
                    index,
                )
        if any(not 0 <= index < len(self.critique_revision) for index in self.unterminated):
            raise refusal("'unterminated' names an example that is not there", "unterminated")
        return self

    def over(self, other: FewShots) -> FewShots:
        """These examples, and those of ``other`` for every kind that is empty here."""
        critiques = self if self.critique_revision else other
        return FewShots(
            critique_revision=critiques.critique_revision,
            comparison=self.comparison or other.comparison,
            cot=self.cot or other.cot,
            unterminated=critiques.unterminated,
        )
