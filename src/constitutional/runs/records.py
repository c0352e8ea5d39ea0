"""What the stages write down, and pass on to each other: one typed record for each prompt."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from constitutional.dialogue.conversation import Conversation
from constitutional.dialogue.shape import Flag
from constitutional.evaluation.verdicts import Verdict


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Sample(_Record):
    """A sampled text (stripped of outer white space), how it ended, and what is wrong with it."""

    text: str
    ended: Literal["eos", "stop", "length"]
    tokens: int
    seed: int
    flags: tuple[Flag, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether nothing is wrong with its shape."""
        return not self.flags


class Round(_Record):
    """One round of critique and revision. ``critique`` is None in direct revision."""

    principle: str
    critique: Sample | None
    revision: Sample


class Chain(_Record):
    """A red-team prompt, the helpful model's response, and its successive revisions."""

    id: str
    prompt: Conversation
    tags: tuple[str, ...] = ()
    response: Sample
    rounds: tuple[Round, ...]
    engine: str
    constitution: str

    @property
    def versions(self) -> tuple[Sample, ...]:
        """The response and its revisions: version k is the answer after k rounds."""
        return (self.response, *(round_.revision for round_ in self.rounds))


class Reply(_Record):
    """A helpful prompt and the helpful model's responses to it."""

    id: str
    prompt: Conversation
    tags: tuple[str, ...] = ()
    responses: tuple[Sample, ...]
    engine: str


class Answer(_Record):
    """A policy's answer to an evaluation prompt; ``verdict`` is None where there is no judge."""

    id: str
    policy: str
    prompt: Conversation
    tags: tuple[str, ...] = ()
    sample: Sample
    verdict: Verdict | None
    engine: str


class TrainingExample(_Record):
    """A conversation whose last turn is trained on, and where it comes from."""

    id: str
    source: Literal["revision", "helpful"]
    conversation: Conversation
