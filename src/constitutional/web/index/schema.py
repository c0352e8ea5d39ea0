"""The tables of an index, and how its file is opened.

The file holds no record: only where each is in the run's journals, the words in it, and what it can
be chosen and ordered by. It can be deleted at any time, and is then made again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from constitutional.errors import InputError

#: A file of another format is made anew.
FORMAT = 1

_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
-- how far each stage is read: where its files stood, and the hash of the last block
CREATE TABLE stages (
    name TEXT PRIMARY KEY, blocks INT, records INT, records_end INT, blocks_end INT, sha256 TEXT
) WITHOUT ROWID;
-- "number" is the line of the stage's journal, from 1; "start" and "size" are its bytes there
CREATE TABLE chains (
    row INTEGER PRIMARY KEY, stage TEXT, number INT, start INT, size INT,
    changes INT, behaviour_first TEXT, behaviour_last TEXT, harm_first INT, harm_last INT,
    scored INT NOT NULL DEFAULT 0, score_first REAL, score_last REAL,
    UNIQUE (stage, number)
);
CREATE TABLE comparisons (
    row INTEGER PRIMARY KEY, stage TEXT, number INT, start INT, size INT,
    prob_a REAL, order_gap REAL, principle_gap REAL,
    UNIQUE (stage, number)
);
CREATE INDEX comparisons_by_order_gap ON comparisons (order_gap);
CREATE INDEX comparisons_by_principle_gap ON comparisons (principle_gap);
CREATE INDEX chains_by_score ON chains (score_last);
CREATE INDEX chains_without_score ON chains (scored) WHERE NOT scored;
-- raw scores of both answers by the preference model of an arm, and how far it is from the label
CREATE TABLE scores (arm TEXT, row INT, a REAL, b REAL, gap REAL, PRIMARY KEY (arm, row))
    WITHOUT ROWID;
CREATE INDEX scores_by_gap ON scores (arm, gap);
-- what records are chosen by: principles, flags, tags and so on, and how many records have each
CREATE TABLE labels (
    label INTEGER PRIMARY KEY, kind TEXT, facet TEXT, value TEXT, records INT,
    UNIQUE (kind, facet, value)
);
CREATE TABLE labelled (label INT, row INT, PRIMARY KEY (label, row)) WITHOUT ROWID;
CREATE VIRTUAL TABLE chains_text USING fts5 (text, content='', tokenize='unicode61');
CREATE VIRTUAL TABLE comparisons_text USING fts5 (text, content='', tokenize='unicode61');
"""


def open_for_writing(path: Path, identity: str) -> sqlite3.Connection:
    """The index at ``path``, made anew where it is of another format or of another run.

    Raises InputError where it cannot be.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        connection = _opened(path, identity) or _opened(removed(path), identity, strictly=True)
        if connection is None:
            raise OSError("another process makes it for another run")
        return connection
    except (OSError, sqlite3.Error) as error:
        raise InputError(
            f"the index {path} cannot be written ({error}): delete it, or choose another folder"
            " by --cache"
        ) from error


def writing(path: Path) -> sqlite3.Connection:
    """A connection to an index that is there, for what is found out of its records later."""
    return _connect(path)


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection for one request; sees what is committed, and cannot write."""
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5)
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of the block, or nothing of it; one writer at a time, of whatever process."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    # a cache: what a loss of power takes is made again
    connection.execute("PRAGMA synchronous = OFF")
    return connection


def _opened(path: Path, identity: str, *, strictly: bool = False) -> sqlite3.Connection | None:
    """The index, with its tables; None where the file is another's, or none (unless strictly)."""
    connection = None
    try:
        connection = _connect(path)
        with transaction(connection):  # of two that begin at once the second finds the tables
            if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                _create(connection, identity)
            found = dict(connection.execute("SELECT key, value FROM meta"))
        if found == {"format": str(FORMAT), "identity": identity}:
            return connection
    except sqlite3.DatabaseError:
        if strictly:
            raise
    if connection is not None:
        connection.close()
    return None


def _create(connection: sqlite3.Connection, identity: str) -> None:
    for statement in _TABLES.split(";\n"):
        connection.execute(statement)
    connection.executemany(
        "INSERT INTO meta VALUES (?, ?)", [("format", str(FORMAT)), ("identity", identity)]
    )


def removed(path: Path) -> Path:
    """The same path, with no index at it any more."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return path
