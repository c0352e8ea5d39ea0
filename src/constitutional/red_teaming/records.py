"""What the making of prompts writes down: every attempt, and the sums over them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict

from constitutional.dialogue.prompts import PromptKind, PromptRecord
from constitutional.evaluation.intervals import Estimate, proportion
from constitutional.runs.records import Sample

#: Why an attempt gives no prompt; the first that applies, in this order.
#:
#: ``empty``: no letter or digit. ``cut_off``: the token limit ended it. ``form``: a role marker, a
#: control token, a loop, or broken characters. ``few_shot``: the words of one that was shown.
#: ``human``: the words of another human-written turn, or of one to avoid. ``generated``: the words
#: of a prompt made before. ``near``: nearly the words of a human-written or a made one.
Cause = Literal["empty", "cut_off", "form", "few_shot", "human", "generated", "near"]
CAUSES: tuple[Cause, ...] = get_args(Cause)


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Attempt(_Record):
    """One list shown and one line written. ``like`` is the id of what it repeats, if anything."""

    few_shots: tuple[str, ...]
    sample: Sample
    rejected: Cause | None
    like: str | None = None


class Place(_Record):
    """One prompt that is wanted, and all attempts at it; ``prompt`` is None when all failed."""

    number: int
    prompt: PromptRecord | None
    attempts: tuple[Attempt, ...]


class Account(_Record):
    """How many attempts there were, and what became of them."""

    kind: PromptKind
    wanted: int
    accepted: int
    attempts: int
    #: For every cause, also those that did not occur.
    rejected: dict[Cause, int]

    @property
    def shares(self) -> dict[str, Estimate]:
        """``accepted`` and each cause as shares of the attempts; empty without an attempt.

        The intervals take attempts as independent. They nearly are: an attempt depends on those
        before it only by what it may not repeat.
        """
        counts = [("accepted", self.accepted), *self.rejected.items()]
        shares = {name: proportion(count, self.attempts) for name, count in counts}
        return {name: share for name, share in shares.items() if share is not None}


def account(kind: PromptKind, places: Iterable[Place]) -> Account:
    """The sums over the places that were to be filled."""
    places = list(places)
    attempts = [attempt for place in places for attempt in place.attempts]
    causes = Counter(attempt.rejected for attempt in attempts)
    return Account(
        kind=kind,
        wanted=len(places),
        accepted=sum(place.prompt is not None for place in places),
        attempts=len(attempts),
        rejected={cause: causes[cause] for cause in CAUSES},
    )
