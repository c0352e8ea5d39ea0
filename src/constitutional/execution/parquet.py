"""The blocks of a stage as Parquet files below a folder of any file system that fsspec knows.

FOLDER/items.parquet           what the stage works on: a row group for each block
FOLDER/block-000017.parquet    the records of a finished block, one row each
FOLDER/tries/000017/           an empty file each time that the block was begun

A record is its canonical line of JSON, so what is read back is the journal's bytes. A file is there
as a whole or not at all (it is written beside its place and moved there), and carries the sha256 of
its lines, so that one which was damaged is made again.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import IO, Any

from constitutional.errors import MissingExtraError, RunFolderError

_ITEMS, _TRIES = "items.parquet", "tries"
_BLOCK = re.compile(r"block-(\d+)\.parquet")
_RECORD, _HASH = "record", b"sha256"


class BlockStore:
    """The files of one stage below ``url``, a path or an address such as ``s3://bucket/folder``.

    It can be sent to another process. Raises RunFolderError where the file system does not answer.
    """

    def __init__(self, url: str):
        self.url = url.rstrip("/")

    def __reduce__(self) -> tuple[type[BlockStore], tuple[str]]:
        return BlockStore, (self.url,)

    def write_items(self, blocks: Iterable[Sequence[bytes]]) -> None:
        """Write what the stage works on, in blocks of lines, where it is not there yet."""
        import pyarrow.parquet as pq

        with self._explained():
            if self._fs.exists(self._path(_ITEMS)):
                return
        with self._new(_ITEMS) as file, pq.ParquetWriter(file, _schema()) as writer:
            for lines in blocks:
                writer.write_table(_table(lines), row_group_size=max(1, len(lines)))

    def read_items(self, number: int) -> list[bytes]:
        """The lines of a block's items."""
        import pyarrow.parquet as pq

        with self._explained(), self._fs.open(self._path(_ITEMS), "rb") as file:
            return _lines(pq.ParquetFile(file).read_row_group(number))

    def there(self) -> set[int]:
        """The numbers of the finished blocks."""
        with self._explained():
            self._fs.invalidate_cache()
            if not self._fs.isdir(self._root):
                return set()
            names = [str(path).rpartition("/")[2] for path in self._fs.ls(self._root, detail=False)]
        return {int(found[1]) for name in names if (found := _BLOCK.fullmatch(name))}

    def has(self, number: int) -> bool:
        """Whether a block is finished."""
        with self._explained():
            self._fs.invalidate_cache()
            return bool(self._fs.exists(self._path(_name(number))))

    def count_try(self, number: int) -> int:
        """Count that a block is begun; gives how often it was, with this time."""
        with self._explained():
            folder = self._path(f"{_TRIES}/{number:06}")
            self._fs.makedirs(folder, exist_ok=True)
            self._fs.pipe_file(f"{folder}/{uuid.uuid4().hex}", b"")
            self._fs.invalidate_cache()
            return len(self._fs.ls(folder, detail=False))

    def forget_tries(self) -> None:
        """Count from nothing again."""
        with self._explained():
            self._fs.invalidate_cache()
            if self._fs.exists(self._path(_TRIES)):
                self._fs.rm(self._path(_TRIES), recursive=True)

    def write(self, number: int, lines: Sequence[bytes]) -> None:
        """Store a finished block; twice the same block is the same file."""
        import pyarrow.parquet as pq

        table = _table(lines).replace_schema_metadata({_HASH: _digest(lines)})
        with self._new(_name(number)) as file:
            pq.write_table(table, file)

    def read(self, number: int) -> list[bytes] | None:
        """The lines of a finished block; None where its file is damaged."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        with self._explained(), self._fs.open(self._path(_name(number)), "rb") as file:
            try:
                table = pq.read_table(file)
            except pa.ArrowInvalid:
                return None
        lines = _lines(table)
        marked = (table.schema.metadata or {}).get(_HASH)
        return lines if marked == _digest(lines) else None

    def drop(self, number: int) -> None:
        """Take a block away."""
        with self._explained():
            self._fs.rm(self._path(_name(number)))

    def remove(self) -> None:
        """Take all of it away."""
        with self._explained():
            self._fs.rm(self._root, recursive=True)

    @cached_property
    def _place(self) -> tuple[Any, str]:
        try:
            from fsspec.core import url_to_fs
        except ImportError:
            raise MissingExtraError("fsspec", "ray", "storing blocks in Parquet") from None
        with self._explained():
            fs, root = url_to_fs(self.url)
        return fs, root

    @property
    def _fs(self) -> Any:
        return self._place[0]

    @property
    def _root(self) -> str:
        return self._place[1]

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextmanager
    def _new(self, name: str) -> Iterator[IO[bytes]]:
        """A file that is in its place when the block ends, and not there when it is cut off."""
        with self._explained():
            self._fs.makedirs(self._root, exist_ok=True)
            # two that make the same block at once do not write into each other's
            aside = self._path(f".{name}.{uuid.uuid4().hex}")
            with self._fs.open(aside, "wb") as file:
                yield file
            self._fs.mv(aside, self._path(name))

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ImportError, ValueError) as error:
            reason = str(error).strip().splitlines()
            raise RunFolderError(
                f"{self.url} cannot be used for finished blocks "
                f"({reason[0] if reason else type(error).__name__}): every machine has to reach "
                "it; set ray.storage to a folder that all of them share"
            ) from error


def _name(number: int) -> str:
    return f"block-{number:06}.parquet"


def _schema() -> Any:
    import pyarrow as pa

    return pa.schema([(_RECORD, pa.string())])


def _table(lines: Sequence[bytes]) -> Any:
    import pyarrow as pa

    return pa.table({_RECORD: [line.decode().rstrip("\n") for line in lines]}, schema=_schema())


def _lines(table: Any) -> list[bytes]:
    return [f"{text}\n".encode() for text in table.column(_RECORD).to_pylist()]


def _digest(lines: Iterable[bytes]) -> bytes:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line)
    return digest.hexdigest().encode()
