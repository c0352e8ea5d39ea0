"""The ballot box: judgements are cast, taken back, and counted once however often they are sent."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Connection, Select, func, select

from constitutional.arena.database import Database
from constitutional.arena.records import CastVote, Judgement, Pair, Skip
from constitutional.arena.schema import JudgementRow, PairRow, RaterRow, UndoRow, now
from constitutional.errors import InputError
from constitutional.runs.lines import decode

_EVENTS = (JudgementRow, UndoRow)

Cast = Literal["counted", "counted before"]


class AlreadyJudgedError(InputError):
    """Another judgement of this rater on this pair stands."""


def add_pairs(database: Database, pairs: Iterable[Pair]) -> None:
    """Make the pairs known; those that are there already stay as they are."""
    rows = [
        {"id": pair.id, "run_a": pair.a.run, "run_b": pair.b.run, "content": pair.line}
        for pair in pairs
    ]
    with database.writing() as connection:
        database.insert_missing(connection, PairRow, rows)


def cast(database: Database, judgement: Judgement) -> Cast:
    """Count a judgement. When this returns it is on the disk.

    One that comes again with the same id is counted once. Raises InputError for an id that is no
    UUID or that stands for another judgement, and for a pair that is not known;
    AlreadyJudgedError where this rater's judgement on the pair stands under another id.
    """
    id_ = _checked(judgement.id)
    with database.writing() as connection:
        if connection.scalar(select(PairRow.id).where(PairRow.id == judgement.pair)) is None:
            raise InputError("the vote names a pair that is not known: open the arena again")
        row = {**judgement._asdict(), "id": id_, "at": now()}
        row["round"] = connection.scalar(_taken_back(judgement.rater, judgement.pair))
        if database.insert_new(connection, JudgementRow, row):
            return "counted"
        there = connection.execute(
            select(
                JudgementRow.rater, JudgementRow.pair, JudgementRow.choice, JudgementRow.shown
            ).where(JudgementRow.id == id_)
        ).one_or_none()
    if there is None:
        raise AlreadyJudgedError("you have judged this pair already: undo that vote to change it")
    if tuple(there) != judgement[1:]:
        raise InputError("a vote with this id was cast before, and it was another one")
    return "counted before"


def take_back(database: Database, rater: int, judgement: str) -> None:
    """Undo a judgement of this rater; once more does nothing more. Raises InputError for others'.

    The judgement stays in the database, with the undo beside it.
    """
    id_ = _checked(judgement)
    with database.writing() as connection:
        whose = connection.scalar(select(JudgementRow.rater).where(JudgementRow.id == id_))
        if whose != rater:
            raise InputError("there is no vote of yours to take back here")
        database.insert_new(connection, UndoRow, {"judgement": id_, "at": now()})


def judged(connection: Connection, rater: int) -> list[Judgement]:
    """All judgements of a rater that stand, in the order in which they were cast."""
    wanted = _standing(
        JudgementRow.id,
        JudgementRow.rater,
        JudgementRow.pair,
        JudgementRow.choice,
        JudgementRow.shown,
    )
    rows = connection.execute(wanted.where(JudgementRow.rater == rater))
    return [Judgement(*row) for row in rows]


def version(connection: Connection) -> str:
    """Changes with everything that is cast or taken back, for nothing is ever deleted."""
    counted = (select(func.count()).select_from(row).scalar_subquery() for row in _EVENTS)
    cast_, undone = connection.execute(select(*counted)).one()
    return f"{cast_}-{undone}"


def standing(
    connection: Connection, pairs: Mapping[str, Pair]
) -> tuple[list[CastVote], list[Skip]]:
    """The votes on ``pairs`` that stand, in order, and what was skipped."""
    wanted = _standing(
        RaterRow.name, JudgementRow.pair, JudgementRow.choice, JudgementRow.shown
    ).join(RaterRow, RaterRow.id == JudgementRow.rater)
    votes, skips = [], []
    for rater, pair, choice, shown in connection.execute(wanted):
        if pair not in pairs:
            continue
        if choice == "skip":
            skips.append(Skip(rater, pairs[pair]))
        else:
            votes.append(CastVote(rater, pairs[pair], choice, shown))
    return votes, skips


def stored_pairs(connection: Connection, runs: Collection[str] | None = None) -> Iterator[Pair]:
    """The pairs between ``runs`` (their marks), or all that the database knows."""
    wanted = select(PairRow.content)
    if runs is not None:
        wanted = wanted.where(PairRow.run_a.in_(runs), PairRow.run_b.in_(runs))
    for line in connection.scalars(wanted):
        yield decode(line.encode(), Pair)


def _standing(*columns: Any) -> Select[Any]:
    """Of the judgements that were not taken back."""
    undone = select(UndoRow.judgement).where(UndoRow.judgement == JudgementRow.id)
    return select(*columns).where(~undone.exists()).order_by(JudgementRow.number)


def _taken_back(rater: int, pair: str) -> Select[int]:
    return (
        select(func.count())
        .select_from(UndoRow)
        .join(JudgementRow, JudgementRow.id == UndoRow.judgement)
        .where(JudgementRow.rater == rater, JudgementRow.pair == pair)
    )


def _checked(id_: str) -> str:
    try:
        return str(UUID(id_))
    except ValueError:
        raise InputError(f"a vote needs a UUID as its id, found {id_!r:.40}") from None
