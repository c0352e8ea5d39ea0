"""Votes in SQLite and in PostgreSQL, both real: counted once, taken back, never lost or doubled."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from constitutional.arena.box import Arena
from constitutional.arena.database import Database
from constitutional.arena.pairs import Pool
from constitutional.arena.raters import find_rater, invite
from constitutional.arena.records import Choice, Judgement, Pair, Rater
from constitutional.arena.schema import Base
from constitutional.arena.votes import (
    AlreadyJudgedError,
    add_pairs,
    cast,
    judged,
    standing,
    stored_pairs,
    take_back,
    version,
)
from constitutional.errors import InputError

MakePair = Callable[..., Pair]


@pytest.fixture
def pairs(database: Database, pair: MakePair) -> list[Pair]:
    made = [pair(number) for number in range(4)]
    add_pairs(database, made)
    return made


@pytest.fixture
def rater(database: Database) -> Rater:
    found = find_rater(database, invite(database, "Ann"))
    assert found is not None
    return found


def judgement(rater: Rater, pair: Pair, choice: Choice = "a") -> Judgement:
    return Judgement(str(uuid4()), rater.id, pair.id, choice, "ab")


def counted(database: Database, pairs: list[Pair]) -> list[tuple[str, str, str]]:
    with database.reading() as connection:
        votes, _ = standing(connection, {pair.id: pair for pair in pairs})
    return [(vote.rater, vote.pair.prompt_id, vote.choice) for vote in votes]


def test_the_migrations_make_the_tables_that_the_code_knows(database: Database) -> None:
    with database.reading() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, Base.metadata) == []


def test_a_database_is_opened_again_with_all_that_was_cast(
    place: str, database: Database, pairs: list[Pair], rater: Rater
) -> None:
    cast(database, judgement(rater, pairs[0], "b"))
    database.close()
    again = Database.open(place)
    assert counted(again, pairs) == [("Ann", "q0", "b")]
    with again.reading() as connection:
        assert sorted(p.id for p in stored_pairs(connection)) == sorted(p.id for p in pairs)
    again.close()


def test_a_vote_that_is_sent_again_counts_once(
    database: Database, pairs: list[Pair], rater: Rater
) -> None:
    vote = judgement(rater, pairs[0])
    assert cast(database, vote) == "counted"
    assert cast(database, vote) == "counted before"
    assert cast(database, vote._replace(id=vote.id.upper())) == "counted before"
    assert counted(database, pairs) == [("Ann", "q0", "a")]
    with pytest.raises(InputError, match="was cast before, and it was another one"):
        cast(database, vote._replace(choice="b"))
    with pytest.raises(AlreadyJudgedError, match="undo that vote to change it"):
        cast(database, judgement(rater, pairs[0], "b"))
    assert counted(database, pairs) == [("Ann", "q0", "a")]


def test_undo_leaves_the_vote_in_the_database_and_the_pair_open(
    database: Database, pairs: list[Pair], rater: Rater
) -> None:
    first = judgement(rater, pairs[0])
    cast(database, first)
    take_back(database, rater.id, first.id)
    take_back(database, rater.id, first.id)
    assert counted(database, pairs) == []
    # a retry that was late does not bring it back, and stands in nobody's way
    assert cast(database, first) == "counted before"
    assert counted(database, pairs) == []
    second = judgement(rater, pairs[0], "tie")
    cast(database, second)
    with pytest.raises(AlreadyJudgedError):
        cast(database, judgement(rater, pairs[0], "b"))
    assert counted(database, pairs) == [("Ann", "q0", "tie")]
    with database.reading() as connection:
        assert version(connection) == "2-1"
        assert [each.id for each in judged(connection, rater.id)] == [second.id]


def test_nobody_takes_back_what_another_cast(
    database: Database, pairs: list[Pair], rater: Rater
) -> None:
    vote = judgement(rater, pairs[0])
    cast(database, vote)
    other = find_rater(database, invite(database, "Ben"))
    assert other is not None
    for whose, id_ in ((other.id, vote.id), (rater.id, str(uuid4()))):
        with pytest.raises(InputError, match="no vote of yours"):
            take_back(database, whose, id_)
    assert counted(database, pairs) == [("Ann", "q0", "a")]


def test_what_is_no_vote_is_refused(database: Database, pairs: list[Pair], rater: Rater) -> None:
    vote = judgement(rater, pairs[0])
    with pytest.raises(InputError, match="needs a UUID as its id, found 'one'"):
        cast(database, vote._replace(id="one"))
    with pytest.raises(InputError, match="a pair or a rater that is not known"):
        cast(database, vote._replace(pair="0" * 32))
    assert counted(database, pairs) == []


def test_texts_that_no_database_takes_come_back_as_they_were(
    database: Database, pair: MakePair
) -> None:
    """PostgreSQL has no NUL, and neither has lone surrogates: a model's text may have both."""
    hostile = pair(0, texts=("null \x00 and half \ud800 a character", "<script>'; DROP TABLE pair"))
    add_pairs(database, [hostile])
    with database.reading() as connection:
        assert list(stored_pairs(connection)) == [hostile]


@pytest.mark.parametrize("tabs", [1, 2])
def test_many_raters_at_once_lose_and_double_nothing(
    database: Database, pair: MakePair, tabs: int
) -> None:
    """Each of twenty raters sends every vote twice at the same time, from one tab or from two."""
    pairs = [pair(number) for number in range(10)]
    add_pairs(database, pairs)
    raters = [find_rater(database, invite(database, f"rater {n}")) for n in range(20)]

    def vote(rater: Rater, pair: Pair) -> list[str]:
        one = judgement(rater, pair)
        sent = [one, one if tabs == 1 else judgement(rater, pair)]

        def send(each: Judgement) -> str:
            try:
                return cast(database, each)
            except AlreadyJudgedError:
                return "refused"

        with ThreadPoolExecutor(2) as both:
            return sorted(both.map(send, sent))

    with ThreadPoolExecutor(20) as pool:
        asked = [(rater, pair) for pair in pairs for rater in raters if rater is not None]
        told = list(pool.map(lambda each: vote(*each), asked))
    second = "counted before" if tabs == 1 else "refused"
    assert told == [["counted", second]] * 200
    votes = counted(database, pairs)
    assert len(votes) == len({(rater, prompt) for rater, prompt, _ in votes}) == 200


def test_two_processes_that_open_it_at_once_migrate_it_once(place: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(Database.open, [place] * 4))
    with opened[0].reading() as connection:
        assert connection.scalar(text("SELECT count(*) FROM alembic_version")) == 1
    for database in opened:
        database.close()


def test_sqlite_flushes_every_commit_to_a_log_ahead(tmp_path: Path) -> None:
    database = Database.open(tmp_path / "votes.sqlite")
    with database.writing() as connection:
        found = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    database.close()
    assert found == ["wal", 2, 1]


def test_raters_are_known_by_their_token_alone(database: Database) -> None:
    token = invite(database, "  Zoë \n K. ")
    found = find_rater(database, token)
    assert found is not None and found.name == "Zoë K."
    assert find_rater(database, None) is find_rater(database, "") is None
    assert find_rater(database, token + "x") is find_rater(database, "\ud800") is None
    with pytest.raises(InputError, match=r"'Zoë K\.' already"):
        invite(database, "Zoe\u0308 K.")
    for name in ("", " ", "x" * 81, "a\u202eb"):
        with pytest.raises(InputError, match="1 to 80 printable characters"):
            invite(database, name)
    with database.reading() as connection:
        assert token not in str(connection.execute(text("SELECT * FROM rater")).all())


def test_an_address_that_is_no_database_costs_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database at all, but long enough to look like one")
    for place, sentence in (
        ("mysql://x@y/z", "SQLite or PostgreSQL, found 'mysql'"),
        ("postgresql://votes:secret@127.0.0.1:1/none", r"votes:\*\*\*@127.* cannot be reached"),
        ("postgresql://votes:secret@127.0.0.1:nought/x", "has to be a file, or postgresql://"),
        (str(tmp_path), "has to be a file in a folder that exists"),
        (str(tmp_path / "none" / "votes.sqlite"), "has to be a file in a folder that exists"),
        (str(tmp_path / "text"), "file is not a database"),
    ):
        with pytest.raises(InputError, match=sentence) as caught:
            Database.open(place)
        assert "secret" not in str(caught.value)


def test_a_database_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "votes.sqlite"
    Database.open(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(InputError, match="a form that this version does not know"):
        Database.open(path)


def test_an_arena_shows_each_rater_all_pairs_once_and_an_undone_one_again(
    database: Database, pair: MakePair
) -> None:
    pairs = tuple(pair(n, goal="helpfulness" if n % 2 else "harmlessness") for n in range(12))
    arena = Arena(database, Pool(pairs, {}, {}, {}), seed=3)
    ann, ben = (find_rater(database, invite(database, name)) for name in ("Ann", "Ben"))
    assert ann is not None and ben is not None
    seen: dict[Rater, list[str]] = {ann: [], ben: []}
    for rater, shown in seen.items():
        while (turn := arena.turn(rater, "harmlessness")).ballot is not None:
            assert (turn.done, turn.of) == (len(shown), 6)
            shown.append(turn.ballot.pair.prompt_id)
            vote = Judgement(str(uuid4()), rater.id, turn.ballot.pair.id, "skip", turn.ballot.shown)
            arena.cast(vote)
    assert sorted(seen[ann]) == sorted(seen[ben]) == ["q0", "q10", "q2", "q4", "q6", "q8"]
    assert seen[ann] != seen[ben]
    last = arena.turn(ann, "harmlessness").last
    assert last is not None
    arena.take_back(ann, last.id)
    turn = arena.turn(ann, "harmlessness")
    assert turn.ballot is not None and turn.ballot.pair.prompt_id == seen[ann][-1]
    assert arena.turn(ann, "helpfulness").done == 0
