"""Whole blocks of a journal that stood behind a damaged one, kept aside until their turn comes.

A journal ends before its first damaged block, and grows from there; what was behind it need not be
made again. ``.spare.jsonl`` holds the records of such blocks, ``.spare_blocks.jsonl`` a line for
each as ``blocks.jsonl`` does, with the places in this file. Both go when the stage is done.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt, ValidationError

from constitutional.runs.files import atomic_write, fsync_file

_RECORDS, _BLOCKS = ".spare.jsonl", ".spare_blocks.jsonl"


class Block(BaseModel):
    """One finished block: a line of ``blocks.jsonl``."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    block: NonNegativeInt
    records: PositiveInt
    end: PositiveInt
    sha256: str

    def line(self) -> bytes:
        """The line of this block, its newline included."""
        return self.model_dump_json().encode() + b"\n"

    def holds(self, data: bytes) -> bool:
        """Whether ``data`` are the bytes of its records."""
        whole = data.count(b"\n") == self.records and data.endswith(b"\n")
        return whole and hashlib.sha256(data).hexdigest() == self.sha256


def parse(line: bytes) -> Block | None:
    """The block of a line without its newline; None where it is damaged."""
    try:
        block = Block.model_validate_json(line)
    except ValidationError:
        return None
    # other spellings of the same values are damage too: the bytes would not be ours
    return block if block.line() == line + b"\n" else None


class Spare:
    """The spare blocks in ``folder`` that are whole, from number ``first`` on."""

    def __init__(self, folder: Path, first: int):
        self._folder = folder
        self._places: dict[int, tuple[int, Block]] = {}
        start = 0
        for block in _blocks(folder):
            if block.block >= first and block.holds(self._read(start, block.end)):
                self._places[block.block] = (start, block)
            start = block.end

    def __contains__(self, number: object) -> bool:
        return number in self._places

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(self._places))

    @property
    def records(self) -> int:
        """How many records they hold."""
        return sum(block.records for _, block in self._places.values())

    def data(self, number: int) -> bytes:
        """The records of a block, as lines."""
        start, block = self._places[number]
        return self._read(start, block.end)

    def _read(self, start: int, end: int) -> bytes:
        try:
            with (self._folder / _RECORDS).open("rb") as stream:
                return _between(stream, start, end)
        except FileNotFoundError:
            return b""


def keep_later(
    folder: Path, stream: BinaryIO, lines: Sequence[bytes], first: int, start: int
) -> None:
    """Keep whole blocks behind a damaged one aside, with those that are there already.

    ``lines`` are those of the sidecar from block ``first`` on, which should begin at ``start`` of
    the records in ``stream``.
    """
    later = list(_later_blocks(stream, lines, first, start))
    if not later:
        return
    there = Spare(folder, first)
    sources = {number: partial(there.data, number) for number in there}
    sources |= {number: partial(_between, stream, *place) for number, *place in later}
    _keep_aside(folder, ((number, sources[number]()) for number in sorted(sources)))


def lines_of(stream: BinaryIO, block_size: int) -> bytes:
    """The lines of all blocks, from the records alone."""
    sidecar, number, end = b"", 0, 0
    while lines := list(islice(stream, block_size)):
        data = b"".join(lines)
        end += len(data)
        sidecar += _block(number, data, end).line()
        number += 1
    return sidecar


def _later_blocks(
    stream: BinaryIO, lines: Sequence[bytes], first: int, start: int
) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of each whole block.

    A block counts when its line stands in the place of its number: the hash is of its records.
    """
    said = start  # where the block begins by the line before; ``start`` is certain
    for number, line in enumerate(lines, first):
        block = parse(line)
        if block is None or block.block != number or block.end <= start:
            continue
        data = _between(stream, said, block.end)
        if not block.holds(data):
            # the line before may be what is damaged: count this block's lines from its end
            counted = _between(stream, start, block.end).splitlines(keepends=True)
            data = b"".join(counted[-block.records :])
        said = block.end
        if block.holds(data):
            start = block.end
            yield number, block.end - len(data), block.end


def _keep_aside(folder: Path, blocks: Iterable[tuple[int, bytes]]) -> None:
    """Put the records of these blocks, in the order of their numbers, in the place of all spare.

    ``blocks`` may be read from the present ones. A kill leaves those, or the new.
    """
    partial, lines, end = folder / f"{_RECORDS}.tmp", b"", 0
    with partial.open("wb") as stream:
        for number, data in blocks:
            stream.write(data)
            end += len(data)
            lines += _block(number, data, end).line()
    fsync_file(partial)
    # between the two, lines and records do not belong together, which their hashes show; the
    # journal, which is cut after this, still has the blocks then
    partial.replace(folder / _RECORDS)
    atomic_write(folder / _BLOCKS, lines)


def drop(folder: Path) -> None:
    """Remove what was kept aside."""
    for name in (_BLOCKS, _RECORDS):
        (folder / name).unlink(missing_ok=True)


def _block(number: int, data: bytes, end: int) -> Block:
    digest = hashlib.sha256(data).hexdigest()
    return Block(block=number, records=data.count(b"\n"), end=end, sha256=digest)


def _between(stream: BinaryIO, start: int, end: int) -> bytes:
    stream.seek(start)
    return stream.read(end - start)


def _blocks(folder: Path) -> list[Block]:
    try:
        *lines, _ = (folder / _BLOCKS).read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    return [block for block in map(parse, lines) if block is not None]
