"""Recorded human votes: which of two policies' answers a person preferred, one vote a line.

A row is ``{"prompt", "policy_a", "policy_b", "vote", "goal", "rater"}``: ``prompt`` is the prompt's
id or its text, ``vote`` is ``a``, ``b`` or ``tie``, ``goal`` is ``harmlessness`` or
``helpfulness``. ``answer_a`` and ``answer_b`` may hold the two texts that were shown; they tell
votes on several answers of the same policies apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from constitutional.dialogue.prompt_files import read_rows
from constitutional.errors import InputError, nearest
from constitutional.evaluation.elo import EloTable, PolicyComparison, Ties, elo_ratings
from constitutional.evaluation.verdicts import Preference

#: At 0 unless another policy is named, as in the paper's figure 8.
USUAL_ZERO = "sl_cai"


class Vote(BaseModel):
    """One person's vote on one pair of answers."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    prompt: str = Field(min_length=1)
    policy_a: str = Field(min_length=1)
    policy_b: str = Field(min_length=1)
    vote: Preference
    goal: Literal["harmlessness", "helpfulness"]
    rater: str = Field(min_length=1)
    answer_a: str | None = None
    answer_b: str | None = None

    @property
    def ballot(self) -> tuple[object, ...]:
        """What a rater may vote on once: the same for both orders of the policies."""
        sides = frozenset({(self.policy_a, self.answer_a), (self.policy_b, self.answer_b)})
        return (self.rater, self.goal, self.prompt, sides)

    @property
    def match(self) -> PolicyComparison:
        """The vote as what Elo ratings are made from."""
        return PolicyComparison(
            prompt=self.prompt,
            policy_a=self.policy_a,
            policy_b=self.policy_b,
            outcome=self.vote,
        )


def read_votes(paths: Iterable[str | Path]) -> list[Vote]:
    """All votes of the files, in order.

    Raises InputError, with file and line, for a row that is no vote, a policy voted on against
    itself, and a rater's second vote on the same answers.
    """
    votes: list[Vote] = []
    seen: dict[tuple[object, ...], str] = {}
    for path in paths:
        before = len(votes)
        for row in read_rows(path):
            try:
                if row.problem is not None:
                    raise ValueError(row.problem)
                vote = _vote(row.value)
                if vote.ballot in seen:
                    raise ValueError(
                        f"{vote.rater!r} has voted on these answers before, in "
                        f"{seen[vote.ballot]}: keep one of the two votes"
                    )
            except ValueError as error:
                label = f"{row.label}: " if row.label else ""
                raise InputError(label + _reason(error), path=path, line=row.line) from None
            seen[vote.ballot] = f"{path}, {row.label or f'line {row.line}'}"
            votes.append(vote)
        if len(votes) == before:
            raise InputError("holds no votes", path=path)
    return votes


def _vote(row: object) -> Vote:
    if not isinstance(row, Mapping):
        raise ValueError(f"expected an object with {', '.join(Vote.model_fields)}")
    unknown = [str(key) for key in row if key not in Vote.model_fields]
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r}; {nearest(unknown[0], Vote.model_fields)}")
    vote = Vote.model_validate(dict(row))
    if vote.policy_a == vote.policy_b:
        raise ValueError(f"'policy_a' and 'policy_b' are both {vote.policy_a!r}")
    return vote


def _reason(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    key, found = first["loc"][0], first["input"]
    if first["type"] == "missing":
        return f"a vote needs {str(key)!r}; found {', '.join(found)}"
    return f"{str(key)!r}: {first['msg'].lower()}, found {found!r:.60}"


def elo_of_votes(
    votes: Sequence[Vote], zero: str | None = None, *, ties: Ties = "half", seed: int = 0
) -> dict[str, EloTable]:
    """Ratings for each goal that was voted on; ``zero`` None is ``sl_cai``, else the first named.

    Raises InputError, naming the goal, where its votes have no ratings.
    """
    if zero is None:
        named = [name for vote in votes for name in (vote.policy_a, vote.policy_b)]
        zero = USUAL_ZERO if USUAL_ZERO in named else named[0]
    tables = {}
    for goal in sorted({vote.goal for vote in votes}):
        matches = [vote.match for vote in votes if vote.goal == goal]
        try:
            tables[str(goal)] = elo_ratings(matches, zero, ties=ties, seed=seed)
        except InputError as error:
            raise InputError(f"{goal}: {error}") from error
    return tables
