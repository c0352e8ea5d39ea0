"""A run's folder: one run, one owner at a time, and stages that go on where they stopped.

RUN/lock                      held by the process that works on the run
RUN/recipe.yaml, run.json     what the run is
RUN/usage.json                what servers were asked, where any was
RUN/constitution.yaml, notes.json    what it was made with, for whoever reads the run
RUN/.NAME.copy                a second copy of each of these, and of stage.json
RUN/stages/NAME/stage.json    what a stage was made from, how far it is, seconds
RUN/stages/NAME/records.jsonl, blocks.jsonl      a stage of records
RUN/stages/NAME/answers.jsonl, failures.jsonl    of servers: answers of the block that is being
                                                 made, and requests that failed for good
RUN/stages/NAME/work/, result/                   a stage that makes files
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from constitutional.errors import ConstitutionalError, EngineError, RunFolderError
from constitutional.runs.answers import AnswerLog
from constitutional.runs.artifact import damage, mark_files, refuse_links_out
from constitutional.runs.blocks import Blocks, Maker, T
from constitutional.runs.copies import heal, write_twice
from constitutional.runs.files import explain, fsync_folder, make_folder, of_the_disk
from constitutional.runs.journal import RECORDS, Finished, Journal, Recovered
from constitutional.runs.lines import R, escaped, fingerprint_of
from constitutional.runs.lock import FolderLock
from constitutional.runs.manifest import RECIPE, RUN, Manifest, open_manifest, refuse_strangers
from constitutional.runs.progress import Progress
from constitutional.runs.sharing import SharedStages
from constitutional.runs.spare import drop
from constitutional.runs.stage import STAGE, Stage, read_state
from constitutional.runs.stored import Records
from constitutional.runs.usage import USAGE, UsageBook

STAGES = "stages"
#: What the pipeline leaves beside its stages: all that was measured; and for whoever reads the run,
#: its constitution and what the user was told of the inputs. No stage reads any of them.
METRICS, CONSTITUTION, NOTES = "metrics.json", "constitution.yaml", "notes.json"
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def _to_stderr(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


class RunFolder:
    """An open run. Make it with :meth:`open`; use it as a context manager."""

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        lock: FolderLock,
        tell: Callable[[str], None],
        share: SharedStages | None = None,
    ):
        self.path = path
        self.manifest = manifest
        #: What each stage's journal found when it was opened in this session.
        self.recovered: dict[str, Recovered] = {}
        #: What servers were asked, by stage.
        self.usage = UsageBook(path / USAGE, tell)
        #: What servers have answered for the block that is being made.
        self.answers = AnswerLog()
        self._lock = lock
        self._tell = tell
        self._share = share

    @classmethod
    def open(
        cls,
        path: str | Path,
        recipe: Mapping[str, Any],
        *,
        command: str,
        inputs: Mapping[str, str] | None = None,
        free_keys: Collection[str] = frozenset(),
        tell: Callable[[str], None] = _to_stderr,
        share: SharedStages | None = None,
    ) -> Self:
        """Make the run folder at ``path``, or go on with the run in it.

        ``recipe`` is the resolved recipe as plain data; ``inputs`` are hashes of the files that the
        run reads. Both must be those that the run was started with, except recipe values under one
        of ``free_keys`` (dotted, such as ``engine.batch_size``). ``tell`` gets a sentence whenever
        something had to be repaired. Finished stages are taken from ``share`` and put there.
        """
        path = Path(path)
        make_folder(path)
        path = path.resolve()
        refuse_strangers(path)  # before anything, even a lock, is left in somebody's folder
        lock = FolderLock(path)
        try:
            refuse_links_out(path, path)
            manifest = open_manifest(
                path, recipe, command=command, inputs=inputs or {}, free_keys=free_keys, tell=tell
            )
            make_folder(path / STAGES)
            for name in (METRICS, CONSTITUTION, NOTES):
                heal(path / name, tell)
            return cls(path, manifest, lock, tell, share)
        except OSError as error:
            lock.release()
            raise explain(error, path) from error
        except BaseException:
            lock.release()
            raise

    def close(self) -> None:
        """Give the folder free for others."""
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        if error is not None and not isinstance(error, ConstitutionalError):
            found = of_the_disk(error, self.path)
            if found is not None:
                raise found from error

    def stage_records(
        self,
        name: str,
        *,
        inputs: Mapping[str, str],
        record_type: type[R],
        items: Sequence[T],
        block_size: int,
        make: Maker[T, R],
        progress: Progress,
        title: str | None = None,
        in_order: bool = False,
    ) -> Records[R]:
        """One record for each item, made by ``make`` in fixed blocks; finished blocks are kept.

        ``make`` is asked for the blocks that are missing, and not at all where there is none; most
        often it is :func:`~.blocks.one_by_one`. ``inputs`` are the fingerprints of all that the
        records depend on besides the items and the block size, which are added here (give ``items``
        to replace the hash of models, dataclasses or plain data). A stage whose inputs changed is
        refused, never redone or mixed. Of a journal that was damaged only the damaged blocks are
        made again; with ``in_order``, where a block depends on those before, all from there on.
        """
        if block_size < 1:
            raise ValueError(f"block_size must be at least 1, not {block_size}")
        items_hash = inputs.get("items") or fingerprint_of(items)
        made_from = {**inputs, "items": items_hash, "block_size": str(block_size)}
        stage = self._begin(name, "records", made_from)
        if self._share is not None:
            self._share.take(stage, record_type.__name__)
        once = stage.state.sha256
        finished = None if once is None else Finished(once, block_size)
        with Journal(stage.folder, record_type, finished, keep_later=not in_order) as journal:
            self._report(name, journal)
            _check_fits(journal, len(items), block_size)
            total, there = len(items), len(journal)
            with (
                self.answers.during(stage.folder, journal.blocks_done, self._tell),
                progress.task(title or name, total=total, done=there) as advance,
            ):
                if there < total:
                    stage.update(done=False)
                    blocks = Blocks(
                        name,
                        stage.folder,
                        fingerprint_of([made_from]),
                        items,
                        block_size,
                        journal.blocks_done,
                        record_type,
                        frozenset(journal.spare),
                    )
                    with stage.clock(), self.usage.during(name), closing(make(blocks)) as made:
                        for number, records in _all_missing(journal, blocks, made):
                            journal.append(_one_each(name, blocks[number], records))
                            self.answers.finish(records)
                            advance(len(records))
            self._finish_records(stage, journal)
            if self._share is not None:
                self._share.put(stage, record_type.__name__)
            return journal.read()

    def stage_artifact(
        self, name: str, *, inputs: Mapping[str, str], make: Callable[[Path], None]
    ) -> Path:
        """The folder that ``make`` makes, made once; such as a trained model.

        ``make(work)`` gets a work folder that outlives a kill, keeps its own checkpoints there, and
        leaves a folder ``work / "result"``, which never exists when ``make`` starts. The result is
        then marked file by file and moved to ``stages/NAME/result``; the work folder is deleted.
        A result whose marked files are missing or damaged is made again, and the user is told.
        """
        stage = self._begin(name, "artifact", inputs)
        if self._share is not None:
            self._share.take(stage)
        result, work = stage.folder / "result", stage.folder / "work"
        if not self._is_made(stage, result, work):
            with stage.clock():
                make_folder(work)
                _remove(work / "result")
                _remove(result)
                make(work)
                self._mark(stage, work / "result")
        try:
            if not result.exists():
                (work / "result").rename(result)
                fsync_folder(stage.folder)
        except OSError as error:
            raise explain(error, result) from error
        if not stage.state.done:
            stage.update(done=True)
        _remove(work)
        if self._share is not None:
            self._share.put(stage)
        return result

    def fingerprint(self, name: str) -> str:
        """A hash of a finished stage's output, for the ``inputs`` of the stages after it."""
        state = read_state(self._stage_folder(name))
        if not state.done:
            raise RunFolderError(f"stage {name} in {self.path} is not finished")
        files = {key: mark.sha256 for key, mark in (state.files or {}).items()}
        return state.sha256 or fingerprint_of([files])

    def seconds(self) -> dict[str, float]:
        """Wall seconds of each stage so far, over all sessions."""
        folders = sorted(path.parent for path in (self.path / STAGES).glob(f"*/{STAGE}"))
        return {folder.name: read_state(folder).seconds for folder in folders}

    def write_json(self, name: str, data: object) -> Path:
        """Write ``data`` as the file ``name`` (such as ``metrics.json``) of the run, atomically."""
        return self.write_text(name, escaped(json.dumps(data, indent=2, ensure_ascii=False)) + "\n")

    def write_text(self, name: str, text: str) -> Path:
        """Write ``text`` as the file ``name`` of the run, atomically."""
        if not _PLAIN_NAME.fullmatch(name) or name in {RUN, RECIPE, USAGE, "lock", STAGES}:
            raise ValueError(f"{name!r} is not a name for a file of a run")
        write_twice(self.path / name, text.encode())
        return self.path / name

    def _stage_folder(self, name: str) -> Path:
        if not _PLAIN_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not a name for a stage: use letters, digits, . _ -")
        return self.path / STAGES / name

    def _begin(
        self, name: str, kind: Literal["records", "artifact"], inputs: Mapping[str, str]
    ) -> Stage:
        """The stage with its state, after a look at what lies in its folder."""
        folder = self._stage_folder(name)
        refuse_links_out(self.path / STAGES, self.path)  # one may have come since the opening
        heal(folder / STAGE, self._tell)
        stage = Stage(folder, kind)
        stage.begin(inputs)
        return stage

    def _report(self, name: str, journal: Journal[Any]) -> None:
        found = self.recovered[name] = journal.recovered
        if found.reason is not None:
            self._tell(
                f"Stage {name}: {found.reason}; records cut off and made again: {found.cut},"
                f" kept: {found.kept}."
            )

    def _finish_records(self, stage: Stage, journal: Journal[Any]) -> None:
        digest = journal.sha256()
        if stage.state.sha256 not in (None, digest):
            self._tell(
                f"Stage {stage.name}: the records that were made again differ from the lost ones;"
                " stages after it will be refused if they were made from those."
            )
        if not stage.state.done or stage.state.sha256 != digest:
            stage.update(done=True, records=len(journal), sha256=digest)
        drop(stage.folder)

    def _is_made(self, stage: Stage, result: Path, work: Path) -> bool:
        marks = stage.state.files
        if marks is None:
            return False
        try:
            # a kill may have come after the marking and before or after the move
            place = result if result.exists() else work / "result"
            wrong = damage(place, marks)
        except OSError as error:
            raise explain(error, result) from error
        if wrong is None:
            return True
        self._tell(f"Stage {stage.name}: {wrong} in its result, which is made again.")
        stage.update(done=False, files=None)
        return False

    def _mark(self, stage: Stage, made: Path) -> None:
        marks = mark_files(made) if made.is_dir() and not made.is_symlink() else {}
        if not marks:
            raise RunFolderError(f"stage {stage.name} left no files in {made}")
        stage.update(files=marks)


def _check_fits(journal: Journal[Any], items: int, block_size: int) -> None:
    if len(journal) != min(journal.blocks_done * block_size, items):
        raise RunFolderError(
            f"{journal.folder / RECORDS} holds {len(journal)} records in {journal.blocks_done}"
            f" blocks, which is not of {items} items in blocks of {block_size}: restore it, or"
            " delete the stage's folder to make the stage again"
        )


def _all_missing(
    journal: Journal[R], blocks: Blocks[Any, R], made: Iterable[Sequence[R]]
) -> Iterator[tuple[int, Sequence[R]]]:
    """Each block that the journal lacks, in order, with its records: spare ones, or made."""
    fresh = zip(blocks.missing, made, strict=True)
    for number in range(blocks.first, blocks.count):
        yield (number, journal.spared(number)) if number in blocks.spared else next(fresh)
    next(fresh, None)  # whoever makes them comes to its end


def _one_each(name: str, items: Sequence[Any], records: Sequence[R]) -> Sequence[R]:
    if len(records) != len(items):
        raise EngineError(
            f"stage {name}: {len(items)} items gave {len(records)} records; one each was expected"
        )
    return records


def _remove(path: Path) -> None:
    try:
        if path.is_symlink() or path.is_file():
            path.unlink()
        elif path.exists():
            shutil.rmtree(path)
    except OSError as error:
        raise explain(error, path) from error
