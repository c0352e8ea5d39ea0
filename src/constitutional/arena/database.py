"""A votes database: SQLite in a file, or PostgreSQL by its URL, brought to today's form at opening.

SQLite writes a log ahead (WAL), which readers do not wait for, and every commit is flushed to the
disk (synchronous=FULL): a vote that was acknowledged outlives the process and the machine's power.
PostgreSQL does so by default.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import alembic.command
import alembic.util
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError

from constitutional.arena.schema import Base
from constitutional.errors import InputError, MissingExtraError

#: How long a writer waits for another process that writes to the same SQLite file, in seconds.
_PATIENCE = 30
_POSTGRES = ("postgresql", "postgres", "postgresql+psycopg")
#: Connections at once: more requests wait for one of these.
_CONNECTIONS = 10
#: Rows that are sent in one statement.
_ROWS_AT_ONCE = 500
#: Any fixed number, so that two processes that open a PostgreSQL database migrate it in turn.
_MIGRATION_LOCK = 221208073


class Database:
    """An open votes database. Make it with :meth:`open`."""

    def __init__(self, engine: Engine):
        self._engine = engine
        self.is_sqlite = engine.dialect.name == "sqlite"
        # SQLite has one writer at a time, and its own wait is by sleeping: threads here queue up
        self._turn = threading.Lock() if self.is_sqlite else nullcontext()

    @classmethod
    def open(cls, place: str | Path) -> Database:
        """The database at ``place``: a file of SQLite, or a URL (``postgresql://...``).

        A file that is not there is made. Raises InputError, and MissingExtraError without the
        driver.
        """
        engine = _engine(place)
        database = cls(engine)
        try:
            database._migrate()
        except SQLAlchemyError as error:
            raise _refused(engine, error) from error
        except alembic.util.CommandError as error:
            raise InputError(
                f"the votes database {_shown(engine)} has a form that this version does not know "
                f"({error}): use the version that made it, or a newer one"
            ) from error
        return database

    @classmethod
    def check(cls, place: str | Path) -> None:
        """Raise as :meth:`open` would, and make no file."""
        engine = _engine(place)
        file = engine.url.database if engine.dialect.name == "sqlite" else None
        if file is None or Path(file).exists():
            cls.open(place).close()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that only reads."""
        with self._engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes: it is on the disk when the block has ended."""
        with self._turn, self._engine.execution_options(writes=True).begin() as connection:
            yield connection

    def insert_new(self, connection: Connection, table: type[Base], row: Mapping[str, Any]) -> bool:
        """Add a row that breaks no key; whether it was added. What is there stays as it is."""
        added = connection.execute(_insert(table, self.is_sqlite, returning=True), row)
        return added.one_or_none() is not None

    def insert_missing(
        self, connection: Connection, table: type[Base], rows: Sequence[Mapping[str, Any]]
    ) -> None:
        """Add those of ``rows`` that break no key."""
        for first in range(0, len(rows), _ROWS_AT_ONCE):
            connection.execute(
                _insert(table, self.is_sqlite, returning=False), rows[first : first + _ROWS_AT_ONCE]
            )

    def close(self) -> None:
        """Give back all connections."""
        self._engine.dispose()

    def _migrate(self) -> None:
        folder = files("constitutional.arena") / "migrations"
        with as_file(folder) as scripts, self.writing() as connection:
            if not self.is_sqlite:
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
            config = Config()
            config.set_main_option("script_location", str(scripts).replace("%", "%%"))
            config.attributes["connection"] = connection
            alembic.command.upgrade(config, "head")


@cache
def _insert(table: type[Base], is_sqlite: bool, *, returning: bool) -> Any:
    """An insert that leaves out what breaks a key: no part of standard SQL, so each has its own."""
    make = sqlite.insert if is_sqlite else postgresql.insert
    statement = make(table).on_conflict_do_nothing()
    return statement.returning(inspect(table).primary_key[0]) if returning else statement


def _engine(place: str | Path) -> Engine:
    if isinstance(place, Path) or "://" not in place:
        return _sqlite(Path(place))
    try:
        url = make_url(place)
    except (ArgumentError, ValueError):
        # without its cause: the address may hold a password
        raise InputError(
            "the votes database has to be a file, or postgresql://USER:PASSWORD@HOST/NAME"
        ) from None
    if url.drivername not in _POSTGRES:
        raise InputError(
            f"votes are kept in SQLite or PostgreSQL, found {url.drivername!r}: give a file, or "
            "postgresql://USER:PASSWORD@HOST/NAME"
        )
    try:
        return create_engine(
            url.set(drivername="postgresql+psycopg"),
            pool_size=_CONNECTIONS,
            max_overflow=0,
            pool_pre_ping=True,
        )
    except ImportError as error:
        raise MissingExtraError(error.name or "psycopg", "postgres", "PostgreSQL") from error


def _sqlite(path: Path) -> Engine:
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise InputError(
            f"the votes database {path} has to be a file in a folder that exists: name another"
        )
    engine = create_engine(
        f"sqlite+pysqlite:///{path.absolute()}",
        pool_size=_CONNECTIONS,
        max_overflow=0,
        connect_args={"timeout": _PATIENCE},
    )
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: Any, _: Any) -> None:
    """Set up a new connection to SQLite; transactions are begun by :func:`_begin` alone."""
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    # a writer takes its turn at once: one that had read before would be refused, not wait
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _shown(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=True)


def _refused(engine: Engine, error: SQLAlchemyError) -> InputError:
    said = str(getattr(error, "orig", None) or error).strip().splitlines()
    why = said[0] if said else type(error).__name__
    what = "cannot be reached" if isinstance(error, OperationalError) else "cannot be used"
    return InputError(f"the votes database {_shown(engine)} {what} ({why}): check its address")
