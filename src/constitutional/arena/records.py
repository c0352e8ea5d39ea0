"""The nouns of the arena: a pair of answers, who judges it, and what was said."""

from __future__ import annotations

from functools import cached_property
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from constitutional.dialogue.conversation import Conversation
from constitutional.evaluation.verdicts import Preference
from constitutional.runs.lines import encode, fingerprint_of

Goal = Literal["harmlessness", "helpfulness"]
GOALS: tuple[Goal, ...] = ("harmlessness", "helpfulness")
#: What a rater does with a pair; a skip says nothing about the answers.
Choice = Literal["a", "b", "tie", "skip"]
#: Which answer stood first: ``ab`` is a, ``ba`` is b.
Shown = Literal["ab", "ba"]


class Side(BaseModel):
    """An answer and where it comes from. ``run`` is the mark of the run, ``run_name`` its folder's.

    ``policy`` is None where the run did not record who gave the answer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str
    run_name: str
    policy: str | None
    text: str


class Pair(BaseModel):
    """Two answers to one prompt, to be compared by ``goal``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    goal: Goal
    prompt_id: str
    prompt: Conversation
    tags: tuple[str, ...] = ()
    a: Side
    b: Side

    @classmethod
    def of(
        cls,
        one: Side,
        other: Side,
        *,
        goal: Goal,
        prompt_id: str,
        prompt: Conversation,
        tags: tuple[str, ...] = (),
    ) -> Pair:
        """The same pair whichever of the two is named first.

        Which answer is a is drawn by the content. Agreement measured against chance
        (:mod:`constitutional.arena.agreement`) would otherwise depend on how often the policy that
        is named first wins.
        """
        one, other = sorted((one, other), key=lambda side: (side.run, side.policy or "", side.text))
        if int(fingerprint_of([goal, prompt_id, prompt, one, other]), 16) % 2:
            one, other = other, one
        return cls(goal=goal, prompt_id=prompt_id, prompt=prompt, tags=tags, a=one, b=other)

    @cached_property
    def id(self) -> str:
        """32 hex digits of a SHA-256 over all of it."""
        return fingerprint_of([self])[:32]

    @property
    def line(self) -> str:
        """All of it as one line of JSON, in which every text is valid UTF-8 without NUL."""
        return encode(self).decode().rstrip("\n")


class Rater(NamedTuple):
    """Who votes."""

    id: int
    name: str


class Ballot(NamedTuple):
    """A pair as one rater is shown it."""

    pair: Pair
    shown: Shown

    @property
    def first(self) -> str:
        """The text of the answer that stands first."""
        return (self.pair.a if self.shown == "ab" else self.pair.b).text

    @property
    def second(self) -> str:
        """The text of the other answer."""
        return (self.pair.b if self.shown == "ab" else self.pair.a).text


class Judgement(NamedTuple):
    """What a rater said of a pair. ``id`` is made by who sends it, so that it counts once."""

    id: str
    rater: int
    pair: str
    choice: Choice
    shown: Shown


class CastVote(NamedTuple):
    """A vote that stands, with its pair and the rater's name."""

    rater: str
    pair: Pair
    choice: Preference
    shown: Shown


class Skip(NamedTuple):
    """That a rater skipped a pair, and did not take it back."""

    rater: str
    pair: Pair
