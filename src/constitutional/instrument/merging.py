"""From many people's statements and votes to a weighted constitution.

1. Statements that say the same in nearly the same words are merged, and their votes pooled.
2. People are put into opinion groups by their votes (:mod:`.opinions`).
3. A statement is kept that every group is more for than against, by enough votes.
4. It becomes a principle (:mod:`.stating`), whose weight is its group-informed consensus, and which
   says how many voted, who agreed in which group, and which statements it was merged from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from constitutional.constitution import Constitution, Principle
from constitutional.errors import InputError
from constitutional.evaluation.intervals import Estimate, proportion
from constitutional.feedback.question import check_principle
from constitutional.instrument.alike import near_in_words
from constitutional.instrument.opinions import NOBODY, Ints, consensus, opinion_groups
from constitutional.instrument.stating import comparison_question
from constitutional.instrument.votes import Ballots, Statement

#: Two statements that are near in words are one only where so many of those who took a side on both
#: took the same one.
SAME_SIDE = 0.8


class MergeConfig(BaseModel):
    """Which statements become principles, and how groups are found."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    #: A statement with fewer votes (passes among them) is left out.
    min_votes: int = Field(default=10, ge=1)
    #: A statement with less group-informed consensus is left out.
    min_consensus: float = Field(default=0.0, ge=0, le=1)
    #: Principles at most; those with the most consensus stay.
    keep: int | None = Field(default=None, ge=1)
    #: The number of opinion groups; the silhouette chooses where it is left out.
    groups: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0)


class Tally(BaseModel):
    """The votes of a group, or of all: ``votes`` are agreements, disagreements and passes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    votes: int
    agrees: int
    disagrees: int

    @property
    def leaning(self) -> float:
        """(agrees + 1) / (votes + 2), a factor of the consensus."""
        return (self.agrees + 1) / (self.votes + 2)


class Judged(BaseModel):
    """A statement, or several that were merged, with its votes.

    ``agree`` is the share of agreements among all votes. ``groups`` are in the order of the groups;
    votes of people in no group are in ``all`` alone. ``left_out`` says why it is no principle, ""
    where it is one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    text: str
    merged: tuple[str, ...]
    merged_texts: tuple[str, ...]
    all: Tally
    agree: Estimate | None
    groups: tuple[Tally, ...]
    consensus: float
    left_out: str = ""


class Merged(BaseModel):
    """What became of all statements; ``people`` are by group, those in none under ``none``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    people: dict[str, int]
    statements: int
    left_out: dict[str, int]
    #: People whose votes on merged statements contradicted each other, which count as passes.
    contradicted: int
    judged: tuple[Judged, ...]


class Result(NamedTuple):
    """The report, and the constitution."""

    report: Merged
    constitution: Constitution


def merge(ballots: Ballots, config: MergeConfig, name: str) -> Result:
    """The constitution of the statements that all opinion groups favour.

    Raises InputError where there is none.
    """
    sets = same_statements(ballots)
    pooled, contradicted = _pooled(ballots, sets)
    of = opinion_groups(pooled.votes, pooled.cast, seed=config.seed, count=config.groups)
    judged = [
        _judged(ballots.statements, members, pooled.votes[:, n], pooled.cast[:, n], of, config)
        for n, members in enumerate(sets)
    ]
    judged.sort(key=lambda j: -j.consensus)  # of equal ones the first in the file
    judged = _at_most(judged, config.keep)
    report = Merged(
        people=_people(of),
        statements=len(ballots.statements),
        left_out={**ballots.left_out, **Counter(j.left_out for j in judged if j.left_out)},
        contradicted=contradicted,
        judged=tuple(judged),
    )
    kept = [j for j in judged if not j.left_out]
    if not kept:
        reasons = ", ".join(f"{n} {why}" for why, n in sorted(report.left_out.items()))
        raise InputError(f"no statement becomes a principle: {reasons}")
    return Result(report, _constitution(kept, report, name))


def same_statements(ballots: Ballots) -> list[list[int]]:
    """Sets of statements that are one, each led by the one with the most votes, in file order.

    A statement joins the first leader whose words are its own but for small ones, unless less than
    80% of those who took a side on both took the same side. Where nobody did, the words decide.
    """
    near = near_in_words([statement.text for statement in ballots.statements])
    counts = ballots.cast.sum(axis=0)
    found: list[list[int]] = []
    for number in sorted(range(len(counts)), key=lambda n: (-counts[n], n)):
        for members in found:
            pair = (min(members[0], number), max(members[0], number))
            if pair in near and _same_side(ballots.votes[:, members[0]], ballots.votes[:, number]):
                members.append(number)
                break
        else:
            found.append([number])
    return sorted(found, key=lambda members: members[0])


def _same_side(first: NDArray[np.int8], second: NDArray[np.int8]) -> bool:
    both = (first != 0) & (second != 0)
    return not both.any() or float((first[both] == second[both]).mean()) >= SAME_SIDE


class _Pooled(NamedTuple):
    votes: NDArray[np.int8]
    cast: NDArray[np.bool_]


def _pooled(ballots: Ballots, sets: Sequence[Sequence[int]]) -> tuple[_Pooled, int]:
    """Each person's one vote on each set: a side before a pass, both sides as a pass (counted)."""
    shape = (len(ballots.participants), len(sets))
    votes, cast = np.zeros(shape, dtype=np.int8), np.zeros(shape, dtype=bool)
    contradicted = 0
    for place, members in enumerate(sets):
        mine = ballots.votes[:, members]
        agrees, disagrees = (mine == 1).any(axis=1), (mine == -1).any(axis=1)
        votes[:, place] = agrees.astype(np.int8) - disagrees.astype(np.int8)
        cast[:, place] = ballots.cast[:, members].any(axis=1)
        contradicted += int((agrees & disagrees).sum())
    return _Pooled(votes, cast), contradicted


def _judged(
    statements: Sequence[Statement],
    members: Sequence[int],
    votes: NDArray[np.int8],
    cast: NDArray[np.bool_],
    of: Ints,
    config: MergeConfig,
) -> Judged:
    everybody = _tally(votes, cast)
    groups = [_tally(votes[of == g], cast[of == g]) for g in range(max(of.max() + 1, 0))]
    parts = groups or [everybody]
    shared = consensus([t.agrees for t in parts], [t.votes for t in parts])
    leader = statements[members[0]]
    return Judged(
        id=leader.id,
        text=leader.text,
        merged=tuple(statements[m].id for m in members[1:]),
        merged_texts=tuple(statements[m].text for m in members[1:]),
        all=everybody,
        agree=proportion(everybody.agrees, everybody.votes),
        groups=tuple(groups),
        consensus=shared,
        left_out=_why_not(leader, everybody, parts, shared, config),
    )


def _why_not(
    statement: Statement,
    everybody: Tally,
    groups: Sequence[Tally],
    shared: float,
    config: MergeConfig,
) -> str:
    """Why a statement is no principle; "" where it is one."""
    if everybody.votes < config.min_votes:
        return f"with less than {config.min_votes} votes"
    if any(group.leaning <= 0.5 for group in groups):
        return "which a group is not for"
    if shared < config.min_consensus:
        return f"with less consensus than {config.min_consensus:g}"
    try:
        check_principle(_principle(statement, 1.0, "").comparison)
    except InputError:
        return "which do not fit into the multiple-choice question"
    return ""


def _at_most(judged: Sequence[Judged], keep: int | None) -> list[Judged]:
    found, kept = [], 0
    for each in judged:
        kept += not each.left_out
        if not each.left_out and keep is not None and kept > keep:
            each = each.model_copy(update={"left_out": f"behind the first {keep}"})
        found.append(each)
    return found


def _constitution(kept: Sequence[Judged], report: Merged, name: str) -> Constitution:
    voters = sum(report.people.values())
    groups = len([group for group in report.people if group != "none"])
    return Constitution(
        name=name,
        description=(
            f"Merged from {report.statements} statements and the votes of {voters} people in "
            f"{groups} opinion groups. Weights are group-informed consensus."
        ),
        principles=tuple(
            _principle(Statement(j.id, j.text), max(round(j.consensus, 6), 1e-6), provenance(j))
            for j in kept
        ),
    )


def provenance(judged: Judged) -> str:
    """Where a principle comes from, in a sentence."""
    ids = ", ".join((judged.id, *judged.merged))
    told = f"statement{'s' if judged.merged else ''} {ids}: "
    if judged.agree is not None:
        e = judged.agree
        told += f"{judged.all.agrees} of {judged.all.votes} votes agree, {e.value:.3f} "
        told += f"({e.low:.3f}-{e.high:.3f}), {judged.all.disagrees} disagree"
    for number, group in enumerate(judged.groups):
        told += f"; group {number}: {group.agrees} of {group.votes}"
    return f"{told}; consensus {judged.consensus:.3f}"


def _principle(statement: Statement, weight: float, source: str) -> Principle:
    return Principle(
        id="statement-" + "-".join(statement.id.split()),
        text=statement.text,
        source=source,
        tags=("voted",),
        weight=weight,
        comparison_question=comparison_question(statement.text),
    )


def _tally(votes: NDArray[np.int8], cast: NDArray[np.bool_]) -> Tally:
    return Tally(
        votes=int(cast.sum()), agrees=int((votes == 1).sum()), disagrees=int((votes == -1).sum())
    )


def _people(of: Ints) -> dict[str, int]:
    counts = {str(g): int((of == g).sum()) for g in range(max(of.max() + 1, 0))}
    nobody = int((of == NOBODY).sum())
    return {**counts, **({"none": nobody} if nobody else {})}
