"""The records of one stage, on disk, in blocks that are there as a whole or not at all.

``records.jsonl`` holds the records, one canonical JSON line each. ``blocks.jsonl`` holds a line per
finished block: its number, how many records, where it ends in bytes, and the sha256 of its bytes. A
block counts only when its line is there and its bytes have that hash. The records of a block reach
the disk before its line is written, so a kill at any moment leaves whole blocks and at most a tail,
which the next opening cuts off. Both files depend on the records alone: resumed or not, the same
records in the same blocks give the same bytes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Generic, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt, ValidationError

from constitutional.runs.files import explain, fsync_folder, open_for_writing, write_at
from constitutional.runs.lines import R, encode_checked
from constitutional.runs.stored import Records

RECORDS = "records.jsonl"
BLOCKS = "blocks.jsonl"


class Recovered(NamedTuple):
    """What an opening found: records kept and cut off, and why (None: nothing was wrong)."""

    kept: int
    cut: int
    reason: str | None


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


class Position(NamedTuple):
    """Where both files stand after a block: how many, and where in bytes."""

    blocks: int
    records: int
    records_end: int
    blocks_end: int

    def add(self, block: Block) -> Position:
        """Where they stand after the next block."""
        return Position(
            self.blocks + 1,
            self.records + block.records,
            block.end,
            self.blocks_end + len(block.line()),
        )


#: Before the first block.
BEGINNING = Position(0, 0, 0, 0)


class _Scan(NamedTuple):
    done: Position
    reason: str | None
    cut: int


class Journal(Generic[R]):
    """Append-only records of one type; opening it verifies every block and repairs the tail.

    Only the process that holds the run's lock may open a journal; others read with
    :func:`read_records`, which changes nothing.
    """

    def __init__(self, folder: Path, record_type: type[R]):
        self.folder = folder
        self.record_type = record_type
        try:
            self._records_file = open_for_writing(folder / RECORDS)
            self._blocks_file = open_for_writing(folder / BLOCKS)
            fsync_folder(folder)
            scan = _scan(folder)
            self._done = scan.done
            if scan.reason is not None:
                self._cut()
        except OSError as error:
            raise explain(error, folder) from error
        #: What the opening found.
        self.recovered = Recovered(len(self), scan.cut, scan.reason)

    @property
    def blocks_done(self) -> int:
        """How many blocks are finished."""
        return self._done.blocks

    def __len__(self) -> int:
        return self._done.records

    def append(self, records: Sequence[R]) -> None:
        """Store one block; when this returns, it survives a kill and a loss of power."""
        if not records:
            raise ValueError("a block holds at least one record")
        data = b"".join(encode_checked(record, self.record_type) for record in records)
        done = self._done
        block = Block(
            block=done.blocks,
            records=len(records),
            end=done.records_end + len(data),
            sha256=hashlib.sha256(data).hexdigest(),
        )
        try:
            write_at(self._records_file, done.records_end, data)
            write_at(self._blocks_file, done.blocks_end, block.line())
        except OSError as error:
            raise explain(error, self.folder / RECORDS) from error
        # the only change in memory, and last: an interrupt before it means "not appended"
        self._done = done.add(block)

    def read(self) -> Records[R]:
        """The records so far, as a sequence that reads from the disk when asked."""
        return _records(self.folder, self.record_type, self._done)

    def __iter__(self) -> Iterator[R]:
        return iter(self.read())

    def sha256(self) -> str:
        """Hex sha256 of all records so far, as bytes on the disk."""
        return self.read().sha256()

    def close(self) -> None:
        """Close both files."""
        os.close(self._records_file)
        os.close(self._blocks_file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _cut(self) -> None:
        # The sidecar first: between the two, the records have a tail without a line, which is a
        # state that an opening repairs.
        write_at(self._blocks_file, self._done.blocks_end, b"")
        write_at(self._records_file, self._done.records_end, b"")


def read_records(folder: str | Path, record_type: type[R]) -> Records[R]:
    """The verified records of a stage's folder, without lock or repair: safe beside a live run."""
    folder = Path(folder)
    try:
        return _records(folder, record_type, _scan(folder).done)
    except OSError as error:
        raise explain(error, folder) from error


def new_blocks(folder: Path, after: Position = BEGINNING) -> Iterator[tuple[Position, bytes]]:
    """The verified blocks behind ``after``: the position after each, and the bytes of its records.

    For readers that follow a live run, without lock or repair: it ends where the next block is not
    whole, or not there yet.
    """
    try:
        with (folder / BLOCKS).open("rb") as sidecar, (folder / RECORDS).open("rb") as stream:
            sidecar.seek(after.blocks_end)
            *lines, _ = sidecar.read().split(b"\n")
            for line in lines:
                block, _ = _verify(line, after, stream, os.fstat(stream.fileno()).st_size)
                if block is None:
                    return
                stream.seek(after.records_end)
                data = stream.read(block.end - after.records_end)
                after = after.add(block)
                yield after, data
    except FileNotFoundError:
        return
    except OSError as error:
        raise explain(error, folder) from error


def count_records(folder: Path) -> int:
    """How many records the sidecar in ``folder`` promises; quick, hashes are not checked."""
    try:
        *lines, _ = (folder / BLOCKS).read_bytes().split(b"\n")
    except OSError:
        return 0
    return sum(block.records for block in map(_parse, lines) if block is not None)


def _records(folder: Path, record_type: type[R], done: Position) -> Records[R]:
    return Records(folder / RECORDS, record_type, count=done.records, size=done.records_end)


def _parse(line: bytes) -> Block | None:
    try:
        block = Block.model_validate_json(line)
    except ValidationError:
        return None
    # other spellings of the same values are damage too: the bytes would not be ours
    return block if block.line() == line + b"\n" else None


def _scan(folder: Path) -> _Scan:
    *lines, rest = (folder / BLOCKS).read_bytes().split(b"\n")
    done = BEGINNING
    reason: str | None = None
    with (folder / RECORDS).open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        for line in lines:
            block, reason = _verify(line, done, stream, size)
            if block is None:
                break
            done = done.add(block)
        if reason is None and rest:
            reason = f"line {done.blocks + 1} of {BLOCKS} is cut short"
        if reason is None and size > done.records_end:
            reason = "the last block was not finished"
        stream.seek(done.records_end)
        found = _count_lines(stream)
    promised = sum(block.records for block in map(_parse, lines[done.blocks :]) if block)
    return _Scan(done, reason, max(found, promised) if reason else 0)


def _verify(
    line: bytes, done: Position, stream: BinaryIO, size: int
) -> tuple[Block | None, str | None]:
    block = _parse(line)
    if block is None or block.block != done.blocks or block.end <= done.records_end:
        return None, f"line {done.blocks + 1} of {BLOCKS} is damaged"
    if block.end > size:
        return None, f"{RECORDS} ends inside block {done.blocks}"
    stream.seek(done.records_end)
    data = stream.read(block.end - done.records_end)
    whole = data.count(b"\n") == block.records and data.endswith(b"\n")
    if not whole or hashlib.sha256(data).hexdigest() != block.sha256:
        return None, f"block {done.blocks} of {RECORDS} is damaged"
    return block, None


def _count_lines(stream: BinaryIO) -> int:
    """Lines from here to the end, one without a newline included."""
    count, last = 0, b"\n"
    while chunk := stream.read(1 << 20):
        count, last = count + chunk.count(b"\n"), chunk[-1:]
    return count + (last != b"\n")
