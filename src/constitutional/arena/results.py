"""What the votes say so far: Elo ratings with intervals, agreement, and each rater's bias."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from constitutional.arena.agreement import Agreement, RaterReport, agreement, rater_reports
from constitutional.arena.records import GOALS, CastVote, Goal, Pair, Side, Skip
from constitutional.errors import InputError
from constitutional.evaluation.elo import EloTable, PolicyComparison, elo_ratings
from constitutional.evaluation.votes import USUAL_ZERO, Vote


@dataclass(frozen=True)
class GoalResults:
    """Of one goal. ``elo`` is None where ``no_elo`` says why there are no ratings yet."""

    goal: Goal
    votes: int
    ties: int
    skips: int
    raters: int
    elo: EloTable | None
    no_elo: str
    agreement: Agreement


@dataclass(frozen=True)
class Results:
    """Of all goals, and of all raters over all goals."""

    goals: tuple[GoalResults, ...]
    raters: tuple[RaterReport, ...]


class Names:
    """What policies are called in results: their names, with the run's where there are several.

    Two runs of the same name are told apart by their marks.
    """

    def __init__(self, pairs: Iterable[Pair]):
        self._runs = {side.run: side.run_name for pair in pairs for side in (pair.a, pair.b)}

    def of(self, side: Side) -> str | None:
        """The name; None where it is not known whose answer it is."""
        if side.policy is None or len(self._runs) == 1:
            return side.policy
        named = sum(name == side.run_name for name in self._runs.values())
        run = side.run_name if named == 1 else f"{side.run_name}#{side.run[:6]}"
        return f"{run}/{side.policy}"

    def match(self, vote: CastVote) -> PolicyComparison | None:
        """The vote as what Elo ratings are made from."""
        a, b = self.of(vote.pair.a), self.of(vote.pair.b)
        if a is None or b is None:
            return None
        return PolicyComparison(
            prompt=vote.pair.prompt_id, policy_a=a, policy_b=b, outcome=vote.choice
        )

    def row(self, vote: CastVote) -> Vote | None:
        """The vote as ``cai eval elo`` reads it."""
        a, b = self.of(vote.pair.a), self.of(vote.pair.b)
        if a is None or b is None:
            return None
        return Vote(
            prompt=vote.pair.prompt_id,
            policy_a=a,
            policy_b=b,
            vote=vote.choice,
            goal=vote.pair.goal,
            rater=vote.rater,
            answer_a=vote.pair.a.text,
            answer_b=vote.pair.b.text,
        )


def results(
    pairs: Sequence[Pair],
    votes: Sequence[CastVote],
    skips: Sequence[Skip],
    *,
    zero: str | None = None,
    seed: int = 0,
) -> Results:
    """All that the votes on ``pairs`` say; SL-CAI is at 0, else the first by name, or ``zero``."""
    names = Names(pairs)

    def of_goal(goal: Goal) -> GoalResults:
        of = [vote for vote in votes if vote.pair.goal == goal]
        elo, why = _elo(names, of, zero, seed)
        return GoalResults(
            goal=goal,
            votes=len(of),
            ties=sum(vote.choice == "tie" for vote in of),
            skips=sum(skip.pair.goal == goal for skip in skips),
            raters=len({vote.rater for vote in of}),
            elo=elo,
            no_elo=why,
            agreement=agreement(of, seed=seed),
        )

    asked = [goal for goal in GOALS if any(pair.goal == goal for pair in pairs)]
    return Results(tuple(map(of_goal, asked)), tuple(rater_reports(votes, skips)))


def _elo(
    names: Names, votes: Sequence[CastVote], zero: str | None, seed: int
) -> tuple[EloTable | None, str]:
    matches = [match for vote in votes if (match := names.match(vote)) is not None]
    if not matches:
        why = "no votes yet" if not votes else "it is not recorded whose answers these are"
        return None, why
    there = sorted({name for m in matches for name in (m.policy_a, m.policy_b)})
    usual = next((n for n in there if n.rpartition("/")[2] == USUAL_ZERO), there[0])
    try:
        return elo_ratings(matches, zero or usual, seed=seed), ""
    except InputError as error:
        # too few votes to rate: a sentence, and no number
        return None, str(error)
