"""Stored records as a typed sequence that reads them from the disk when asked."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Generic, overload

from pydantic import ValidationError

from constitutional.errors import RunFolderError
from constitutional.runs.files import explain, sha256_of
from constitutional.runs.lines import R, decode


class Records(Sequence[R], Generic[R]):
    """The first ``count`` records of a file, which fill its first ``size`` bytes.

    Only offsets are kept in memory (8 bytes a record, from the first access by index on), so a
    stage of a million records can be passed on as it is.
    """

    def __init__(self, path: Path, record_type: type[R], *, count: int, size: int):
        self.path = path
        self.record_type = record_type
        self.size = size
        self._count = count
        self._starts: array[int] | None = None

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[R]:
        for number, line in enumerate(self._lines()):
            yield self._decode(line, number)

    @overload
    def __getitem__(self, index: int) -> R: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[R]: ...
    def __getitem__(self, index: int | slice) -> R | Sequence[R]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]  # IndexError and negative indices as every sequence
        starts = self._offsets()
        try:
            with self.path.open("rb") as stream:
                stream.seek(starts[number])
                line = stream.read(starts[number + 1] - starts[number])
        except OSError as error:
            raise explain(error, self.path) from error
        return self._decode(line, number)

    def sha256(self) -> str:
        """Hex sha256 of the bytes of these records."""
        return sha256_of(self.path, self.size)

    def _lines(self) -> Iterator[bytes]:
        try:
            with self.path.open("rb") as stream:
                for _ in range(self._count):
                    yield stream.readline()
        except OSError as error:
            raise explain(error, self.path) from error

    def _offsets(self) -> array[int]:
        if self._starts is None:
            starts = array("Q", [0])
            for line in self._lines():
                starts.append(starts[-1] + len(line))
            self._starts = starts
        return self._starts

    def _decode(self, line: bytes, number: int) -> R:
        try:
            return decode(line, self.record_type)
        except ValidationError as error:
            raise RunFolderError(
                f"{self.path}, line {number + 1}: holds no {self.record_type.__name__} of this"
                f" version ({error.errors()[0]['msg']}); read it with the version that wrote it"
            ) from error
