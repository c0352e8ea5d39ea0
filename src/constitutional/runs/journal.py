"""The records of one stage, on disk, in blocks that are there as a whole or not at all.

``records.jsonl`` holds the records, one canonical JSON line each. ``blocks.jsonl`` holds a line per
finished block: its number, how many records, where it ends in bytes, and the sha256 of its bytes. A
block counts only when its line is there and its bytes have that hash. The records of a block reach
the disk before its line is written, so a kill at any moment leaves whole blocks and at most a tail,
which the next opening cuts off. Where the disk has damaged a block, the journal is cut before it,
and whole blocks behind it are kept aside (:mod:`~.spare`). Both files depend on the records alone:
resumed or not, the same records in the same blocks give the same bytes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Generic, NamedTuple, Self

from constitutional.runs.files import explain, fsync_folder, open_for_writing, sha256_of, write_at
from constitutional.runs.lines import R, decode, encode_checked
from constitutional.runs.spare import Block, Spare, keep_later, lines_of, parse
from constitutional.runs.stored import Records

RECORDS = "records.jsonl"
BLOCKS = "blocks.jsonl"


class Recovered(NamedTuple):
    """What an opening found: records kept and cut off, and why (None: nothing was wrong).

    ``kept`` are also those that are kept aside, behind a damaged block.
    """

    kept: int
    cut: int
    reason: str | None


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


class Finished(NamedTuple):
    """What is known of a journal that was once complete: its hash, and the size of its blocks."""

    sha256: str
    block_size: int


class _Scan(NamedTuple):
    done: Position
    reason: str | None
    cut: int


class Journal(Generic[R]):
    """Append-only records of one type; opening it verifies every block and repairs the tail.

    Only the process that holds the run's lock may open a journal; others read with
    :func:`read_records`, which changes nothing.
    """

    def __init__(
        self,
        folder: Path,
        record_type: type[R],
        finished: Finished | None = None,
        *,
        keep_later: bool = True,
    ):
        self.folder = folder
        self.record_type = record_type
        try:
            self._records_file = open_for_writing(folder / RECORDS)
            self._blocks_file = open_for_writing(folder / BLOCKS)
            fsync_folder(folder)
            scan = _scan(folder)
            if scan.reason and finished and sha256_of(folder / RECORDS) == finished.sha256:
                with (folder / RECORDS).open("rb") as stream:
                    write_at(self._blocks_file, 0, lines_of(stream, finished.block_size))
                reason = f"{scan.reason}, while all records are whole: it is written anew"
                scan = _Scan(_scan(folder).done, reason, 0)
            self._done = scan.done
            if scan.reason is not None:
                if keep_later:
                    self._keep_later_blocks()
                self._cut()
            #: Blocks to come that need not be made: they stood behind a damaged one.
            self.spare = Spare(folder, scan.done.blocks)
        except OSError as error:
            raise explain(error, folder) from error
        spared = self.spare.records
        #: What the opening found.
        self.recovered = Recovered(len(self) + spared, max(0, scan.cut - spared), scan.reason)

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

    def spared(self, number: int) -> list[R]:
        """The records of a spare block."""
        lines = self.spare.data(number).splitlines(keepends=True)
        return [decode(line, self.record_type) for line in lines]

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

    def _keep_later_blocks(self) -> None:
        *lines, _ = (self.folder / BLOCKS).read_bytes().split(b"\n")
        done = self._done
        with (self.folder / RECORDS).open("rb") as stream:
            keep_later(self.folder, stream, lines[done.blocks :], done.blocks, done.records_end)

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
    return sum(block.records for block in map(parse, lines) if block is not None)


def _records(folder: Path, record_type: type[R], done: Position) -> Records[R]:
    return Records(folder / RECORDS, record_type, count=done.records, size=done.records_end)


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
    promised = sum(block.records for block in map(parse, lines[done.blocks :]) if block)
    return _Scan(done, reason, max(found, promised) if reason else 0)


def _verify(
    line: bytes, done: Position, stream: BinaryIO, size: int
) -> tuple[Block | None, str | None]:
    block = parse(line)
    if block is None or block.block != done.blocks or block.end <= done.records_end:
        return None, f"line {done.blocks + 1} of {BLOCKS} is damaged"
    if block.end > size:
        return None, f"{RECORDS} ends inside block {done.blocks}"
    stream.seek(done.records_end)
    if not block.holds(stream.read(block.end - done.records_end)):
        return None, f"block {done.blocks} of {RECORDS} is damaged"
    return block, None


def _count_lines(stream: BinaryIO) -> int:
    """Lines from here to the end, one without a newline included."""
    count, last = 0, b"\n"
    while chunk := stream.read(1 << 20):
        count, last = count + chunk.count(b"\n"), chunk[-1:]
    return count + (last != b"\n")
