"""What the stages write down, and pass on to each other: one typed record for each prompt."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from constitutional.dialogue.conversation import Conversation
from constitutional.dialogue.shape import Flag
from constitutional.evaluation.verdicts import Preference, Verdict


class _Record(BaseModel):
    # "keys": texts hardly ever occur again, and 16,384 of them would be held in a cache
    model_config = ConfigDict(frozen=True, extra="forbid", cache_strings="keys")


class Sample(_Record):
    """A sampled text (stripped of outer white space), how it ended, and what is wrong with it."""

    text: str
    ended: Literal["eos", "stop", "length", "filter", "failed"]
    tokens: int
    seed: int
    flags: tuple[Flag, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether nothing is wrong with its shape."""
        return not self.flags


#: How a revision was damaged for a study (:mod:`constitutional.supervised.damage`).
Damage = Literal["repeat", "truncate", "shuffle", "leak"]


class Round(_Record):
    """One round of critique and revision. ``critique`` is None in direct revision.

    ``damage`` says what was done to the revision on purpose; None where it is as it was sampled.
    """

    principle: str
    critique: Sample | None
    revision: Sample
    damage: Damage | None = None


class Chain(_Record):
    """A red-team prompt, the helpful model's response, and its successive revisions."""

    id: str
    prompt: Conversation
    tags: tuple[str, ...] = ()
    response: Sample
    rounds: tuple[Round, ...]
    engine: str
    #: Who criticised, where it was another engine.
    critic: str | None = None
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


class Reading(_Record):
    """One asking of the multiple-choice question: by one principle, in one order of the options.

    ``prob_a`` is the probability that option a of the *comparison* is the better one, whatever the
    order it was shown in; None when the verdict could not be read; ``unreadable`` then says why.
    """

    principle: str
    #: ``ab``: a was shown as option (A); ``ba``: a was shown as option (B).
    order: Literal["ab", "ba"]
    prob_a: float | None
    unreadable: str = ""
    #: The chain of thought before the verdict, where one was asked for.
    reasoning: Sample | None = None
    #: Sampled votes behind ``prob_a`` where the engine gives no log-probs; 0 with log-probs.
    votes: int = 0


class Comparison(_Record):
    """Two answers to a prompt, and how probably the first is better; what a PM is trained on.

    ``prob_a`` is the training target; None when no reading could be read, and such a comparison
    is counted and left out. Human labels have no readings.
    """

    id: str
    prompt: Conversation
    a: str
    b: str
    tags: tuple[str, ...] = ()
    goal: Literal["harmlessness", "helpfulness"]
    labeller: str
    prob_a: float | None
    readings: tuple[Reading, ...] = ()

    def labelled(self, better: Preference, labeller: str) -> Comparison:
        """With a hard human label; a tie has none, and is left out as in the paper (2204.05862)."""
        prob_a = {"a": 1.0, "b": 0.0, "tie": None}[better]
        return self.model_copy(update={"prob_a": prob_a, "labeller": labeller})

    def swap(self) -> Comparison:
        """The same comparison with the answers exchanged."""
        flip = None if self.prob_a is None else 1 - self.prob_a
        readings = tuple(
            reading.model_copy(
                update={
                    "order": "ba" if reading.order == "ab" else "ab",
                    "prob_a": None if reading.prob_a is None else 1 - reading.prob_a,
                }
            )
            for reading in self.readings
        )
        return self.model_copy(
            update={"a": self.b, "b": self.a, "prob_a": flip, "readings": readings}
        )


class TrainingExample(_Record):
    """A conversation whose last turn is trained on, and where it comes from."""

    id: str
    source: Literal["revision", "helpful"]
    conversation: Conversation
