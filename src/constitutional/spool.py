"""What is read or made before a run, kept on the disk, so that memory does not grow with it.

Both kinds live in temporary databases of SQLite without a name: they go when nothing in the process
holds them any more, and with the process however it ends. ``SQLITE_TMPDIR`` or ``TMPDIR`` says
where. Nothing of a run is in them that its files do not hold.
"""

from __future__ import annotations

import hashlib
import pickle
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Generic, TypeVar, cast, overload

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError

from constitutional.errors import InputError

T = TypeVar("T")

#: KiB of a database that are held in memory; what is beyond lies on the disk.
_CACHE = 256


class Spooled(Sequence[T], Generic[T]):
    """A sequence on the disk, which grows at its end; each access makes its objects anew.

    Models of one class are kept as JSON, which is four times as fast as a pickle; what JSON cannot
    carry, such as half a pair of surrogates, and any other object is pickled. It is not for several
    threads at once. Raises InputError when the disk is full.
    """

    def __init__(self, items: Iterable[T] = ()):
        self._database = _temporary("CREATE TABLE items (number INTEGER PRIMARY KEY, item BLOB)")
        self._count = 0
        self._model: type[BaseModel] | None = None
        for item in items:
            self.append(item)

    def append(self, item: T) -> None:
        """Add one object."""
        with _explained():
            row = (self._count, self._packed(item))
            self._database.execute("INSERT INTO items VALUES (?, ?)", row)
        self._count += 1

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[T]:
        return self._between(0, self._count)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        if isinstance(index, slice):
            numbers = range(*index.indices(self._count))
            if numbers.step == 1:
                return list(self._between(numbers.start, numbers.stop))
            return [self[number] for number in numbers]
        number = range(self._count)[index]  # IndexError and negative indices as every sequence
        return next(self._between(number, number + 1))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Spooled):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # it grows

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (tuple(self),))  # sent to another process, which spools it anew

    def _between(self, start: int, stop: int) -> Iterator[T]:
        found = self._database.execute(
            "SELECT item FROM items WHERE number >= ? AND number < ? ORDER BY number", (start, stop)
        )
        for (item,) in found:
            yield self._unpacked(item)

    def _packed(self, item: T) -> str | bytes:
        """JSON is text, a pickle is bytes; SQLite gives each back as what it was."""
        if isinstance(item, BaseModel):
            self._model = self._model or type(item)
            if type(item) is self._model:
                with suppress(PydanticSerializationError):
                    return item.model_dump_json()
        return pickle.dumps(item, pickle.HIGHEST_PROTOCOL)

    def _unpacked(self, item: str | bytes) -> T:
        if isinstance(item, bytes):
            return cast(T, pickle.loads(item))
        assert self._model is not None, "what is text was packed here"
        return cast(T, self._model.model_validate_json(item))


class Seen:
    """Texts that were met before, as hashes of 16 bytes on the disk."""

    def __init__(self, keys: Iterable[str] = ()):
        self._database = _temporary("CREATE TABLE seen (key BLOB PRIMARY KEY) WITHOUT ROWID")
        for key in keys:
            self.add(key)

    def add(self, key: str) -> bool:
        """Remember a text; whether it is new."""
        with _explained():
            done = self._database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (_hash(key),))
        return done.rowcount == 1

    def __contains__(self, key: str) -> bool:
        found = self._database.execute("SELECT 1 FROM seen WHERE key = ?", (_hash(key),))
        return found.fetchone() is not None


def _hash(key: str) -> bytes:
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _temporary(table: str) -> sqlite3.Connection:
    # no transaction is ever ended: nobody reads this but we, and nothing of it outlives us
    database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    for pragma in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{_CACHE}"):
        database.execute(f"PRAGMA {pragma}")
    database.execute("BEGIN")
    database.execute(table)
    return database


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise InputError(
            f"what is read cannot be kept in the folder for temporary files ({error}): make room "
            "there, or set TMPDIR to another folder"
        ) from error
