"""Stored records as typed sequences that read them from the disk when asked."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

from pydantic import ValidationError

from constitutional.errors import RunFolderError
from constitutional.runs.files import explain, sha256_of
from constitutional.runs.lines import R, decode

T = TypeVar("T")


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


class Chosen(Sequence[T], Generic[T]):
    """Some items of several sequences, which are gone through anew whenever these are.

    ``numbers``, which rise, are those of the items in the sequences one behind the other; 8 bytes
    each are all that is kept.
    """

    def __init__(self, sequences: Sequence[Sequence[T]], numbers: Iterable[int]):
        self._sequences = sequences
        self._numbers = array("Q", numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[T]:
        numbers = iter(self._numbers)
        wanted = next(numbers, None)
        for number, item in enumerate(chain.from_iterable(self._sequences)):
            if number == wanted:
                yield item
                wanted = next(numbers, None)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        if isinstance(index, slice):
            return Chosen(self._sequences, self._numbers[index])
        number = self._numbers[index]
        for sequence in self._sequences:
            if number < len(sequence):
                return sequence[number]
            number -= len(sequence)
        raise IndexError(index)

    def __reduce__(self) -> tuple[Any, ...]:
        return (tuple, (tuple(self),))  # another process may have no such files
