"""What servers have answered for the block that is being made, so that no answer is paid for twice.

STAGE/answers.jsonl    each answer as it comes; gone when its block is in the journal
STAGE/failures.jsonl   the requests of finished blocks that failed for good, with the cause of each

A block takes hundreds of requests and reaches the journal as a whole. A process that is killed
before that finds here what the block's requests have brought: they come again, the same and in the
same order, so an answer is known by what was asked, and by which time that was asked within the
block (who votes asks the same several times over). A line of ``answers.jsonl`` begins with the
sha256 of its rest, and what a damaged line held is asked again. Each answer is handed to the system
at once, so a kill loses none; a loss of power may cost those of the last second.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from constitutional.errors import RunFolderError
from constitutional.runs.files import atomic_write, explain, open_for_writing
from constitutional.runs.records import Sample

ANSWERS, FAILURES = "answers.jsonl", "failures.jsonl"
#: Seconds between two waits for the disk.
_SYNC = 1.0


class FailedRequest(BaseModel):
    """A request that was given up: a line of ``failures.jsonl``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    block: int
    engine: str
    cause: str
    #: How its prompt ends.
    prompt: str
    #: The seed of its sample, and the record that the sample stands in, where there is one.
    seed: int | None = None
    record: str | None = None


class Kept(NamedTuple):
    """An answer of an earlier session, and whether its cost is in the account."""

    answer: dict[str, Any]
    counted: bool


class AnswerLog:
    """The answers and failures of one block at a time; outside of :meth:`during` it keeps nothing.

    Blocks are finished while no request is under way. An interrupt may close the log beside the
    thread that writes what comes in: no descriptor is used that was given back.
    """

    def __init__(self) -> None:
        self._writing = threading.Lock()
        self._folder: Path | None = None
        self._block = 0
        self._forget()

    @contextmanager
    def during(self, folder: Path, blocks_done: int, tell: Callable[[str], None]) -> Iterator[None]:
        """Within, what is answered is kept in a stage's ``folder`` for block ``blocks_done``."""
        self._folder, self._block = folder, blocks_done
        try:
            self._read(tell)
            yield
        finally:
            with self._writing:
                self._close()
                self._folder = None
                self._forget()

    def finish(self, records: Sequence[BaseModel]) -> None:
        """The block is in the journal with these records; the next one begins."""
        if self._folder is None:
            return
        if self._failed:
            self._keep_failures([_placed(failed, records) for failed in self._failed])
        self._drop()
        self._block += 1
        self._forget()

    def key(self, *asked: object) -> str:
        """What an answer is known by; asking the same once more gives another key."""
        if self._folder is None:
            return ""
        plain = json.dumps(asked, sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(plain.encode()).hexdigest()
        self._asked[digest] += 1
        return f"{digest}-{self._asked[digest]}"

    def get(self, key: str) -> Kept | None:
        """The answer that is there already."""
        kept = self._kept.get(key)
        if kept is not None and not kept.counted:
            self._written = True  # whoever asked counts it now
        return kept

    def put(self, key: str, answer: dict[str, Any]) -> None:
        """Keep an answer that has come."""
        self._write({"key": key, "answer": answer})

    def fail(self, engine: str, cause: str, prompt: str, seed: int | None) -> None:
        """Note a request that is given up; it is asked again if the block is begun again."""
        failed = FailedRequest(
            block=self._block, engine=engine, cause=cause, prompt=prompt, seed=seed
        )
        self._failed.append(failed)
        self._write({"failed": failed.model_dump(mode="json")})

    def counted(self) -> None:
        """All answers so far are in the account of what servers cost."""
        if self._written:
            self._write({"counted": True})
            self._written = False

    def _forget(self) -> None:
        self._file: int | None = None
        self._asked: Counter[str] = Counter()
        self._kept: dict[str, Kept] = {}
        self._failed: list[FailedRequest] = []
        self._written, self._synced = False, 0.0

    def _write(self, line: dict[str, Any]) -> None:
        with self._writing:
            if self._folder is not None:
                self._append(self._folder, line)

    def _append(self, folder: Path, line: dict[str, Any]) -> None:
        try:
            if self._file is None:
                self._file = open_for_writing(folder / ANSWERS)
                os.lseek(self._file, 0, os.SEEK_END)
            data = memoryview(_line({"block": self._block, **line}))
            while data:
                data = data[os.write(self._file, data) :]
            if time.monotonic() - self._synced > _SYNC:
                os.fsync(self._file)
                self._synced = time.monotonic()
        except OSError as error:
            raise explain(error, folder / ANSWERS) from error
        self._written = True

    def _read(self, tell: Callable[[str], None]) -> None:
        """Take up what an earlier session left."""
        assert self._folder is not None
        self._keep_failures([])
        path = self._folder / ANSWERS
        try:
            lines = path.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return
        except OSError as error:
            raise explain(error, path) from error
        whole = [line for line in map(_parsed, lines) if line is not None]
        # killed between the journal and the failures of its last block
        earlier = [
            FailedRequest.model_validate(line["failed"])
            for line in whole
            if "failed" in line and line["block"] == self._block - 1
        ]
        if earlier:
            self._keep_failures(earlier)
        mine = [line for line in whole if line["block"] == self._block]
        for line in mine:
            if "answer" in line:
                self._kept[line["key"]] = Kept(line["answer"], counted=False)
            elif "counted" in line:
                self._kept = {k: Kept(a, counted=True) for k, (a, _) in self._kept.items()}
        kept = [line for line in mine if "failed" not in line]
        if not kept:
            self._drop()
        elif len(kept) < len(lines):
            atomic_write(path, b"".join(map(_line, kept)))
        if damaged := len(lines) - len(whole):
            tell(f"{path}: damaged lines, which are asked again: {damaged}.")
        if self._kept:
            tell(
                f"Stage {self._folder.name}: answers of the unfinished block that are there and "
                f"not asked for again: {len(self._kept)}."
            )

    def _keep_failures(self, failed: Sequence[FailedRequest]) -> None:
        """Add those of a finished block; those of blocks that are made again are dropped."""
        assert self._folder is not None
        before = read_failures(self._folder)
        first = min([self._block, *(each.block for each in failed)])
        kept = [each for each in before if each.block < first]
        if failed or len(kept) < len(before):
            data = "".join(each.model_dump_json() + "\n" for each in [*kept, *failed])
            atomic_write(self._folder / FAILURES, data.encode())

    def _drop(self) -> None:
        assert self._folder is not None
        self._close()
        path = self._folder / ANSWERS
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise explain(error, path) from error

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def read_failures(folder: Path) -> list[FailedRequest]:
    """The requests of a stage's finished blocks that failed for good, in order.

    Raises RunFolderError where the file cannot be read.
    """
    path = folder / FAILURES
    try:
        lines = path.read_bytes().splitlines()
        return [FailedRequest.model_validate_json(line) for line in lines]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise explain(error, path) from error
    except ValidationError:
        raise RunFolderError(
            f"{path} is damaged: restore it, or delete it to have no list of what failed"
        ) from None


def _line(data: dict[str, Any]) -> bytes:
    plain = json.dumps(data, separators=(",", ":")).encode()  # ASCII, whatever a server says
    return hashlib.sha256(plain).hexdigest().encode() + b" " + plain + b"\n"


def _parsed(line: bytes) -> dict[str, Any] | None:
    """The data of a line; None where it is damaged."""
    digest, _, plain = line.partition(b" ")
    if not plain.endswith(b"\n") or hashlib.sha256(plain[:-1]).hexdigest().encode() != digest:
        return None
    found: dict[str, Any] = json.loads(plain)
    return found


def _placed(failed: FailedRequest, records: Sequence[BaseModel]) -> FailedRequest:
    """With the id of the record in which its sample stands."""
    for record in records:
        if any(s.ended == "failed" and s.seed == failed.seed for s in _samples(record)):
            return failed.model_copy(update={"record": getattr(record, "id", None)})
    return failed


def _samples(value: object) -> Iterator[Sample]:
    if isinstance(value, Sample):
        yield value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _samples(getattr(value, name))
    elif isinstance(value, tuple):
        for each in value:
            yield from _samples(each)
