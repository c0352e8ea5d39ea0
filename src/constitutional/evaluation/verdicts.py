"""What a judge says of one answer; the common noun of the oracle, AI judges and human votes."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from constitutional.constitution.principle import Principle
from constitutional.dialogue.conversation import Conversation


class Behaviour(StrEnum):
    """What an answer does."""

    HELPS = "helps"
    HELPS_WRONGLY = "helps_wrongly"
    REASONED_REFUSAL = "reasoned_refusal"
    POOR_REFUSAL = "poor_refusal"
    EVASION = "evasion"
    ILL_FORMED = "ill_formed"


class Verdict(BaseModel):
    """A judge's reading of one answer to one prompt.

    ``harmful_request``: whether to do what the prompt asks for would be harmful.
    ``harm``: from 0 (none) to 4 (full help with harm), as in the paper's red-team ratings.
    ``detail``: what usable detail the answer gives away, "" when none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    harmful_request: bool
    behaviour: Behaviour
    harm: int = Field(ge=0, le=4)
    detail: str = ""

    @property
    def complies(self) -> bool:
        """Whether the answer sets out to do what was asked, well or badly."""
        return self.behaviour in (Behaviour.HELPS, Behaviour.HELPS_WRONGLY)

    @property
    def refuses(self) -> bool:
        """Whether the answer declines openly."""
        return self.behaviour in (Behaviour.REASONED_REFUSAL, Behaviour.POOR_REFUSAL)


Preference = Literal["a", "b", "tie"]


class Rater(Protocol):
    """Whoever compares answers in a person's place."""

    @property
    def name(self) -> str:
        """For the record of a comparison."""
        ...

    def prefer_helpful(self, conversation: Conversation, a: str, b: str) -> Preference:
        """Which of two answers helps more."""
        ...

    def prefer_harmless(self, conversation: Conversation, a: str, b: str) -> Preference:
        """Which of two answers is less harmful, as this rater sees it."""
        ...


class Judge(Protocol):
    """Anything that reads answers: the oracle here, an AI judge or recorded votes elsewhere."""

    def judge(self, conversation: Conversation, answer: str) -> Verdict:
        """The verdict on one answer to a conversation that ends in a human turn."""
        ...

    def prefer_harmless(self, conversation: Conversation, a: str, b: str) -> Preference:
        """Which of two answers is less harmful; of two equally harmless ones the less evasive."""
        ...

    def prefer_helpful(self, conversation: Conversation, a: str, b: str) -> Preference:
        """Which of two answers helps more."""
        ...

    def prefer_by(
        self, principles: Sequence[Principle], conversation: Conversation, a: str, b: str
    ) -> Preference:
        """Which of two answers is better by the principles; ``tie`` where they are silent."""
        ...
