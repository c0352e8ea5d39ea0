"""Finished stages that several runs have in common: made by one of them, taken by the others.

SHARE/KEY/stage.json                    what the stage was made from, and the marks of its files
SHARE/KEY/records.jsonl, blocks.jsonl   a stage of records, copied
SHARE/KEY/result/                       a stage that makes files, as hard links if possible

KEY is a hash of all that decides the bytes: the stage's name and inputs, what its records are, the
versions of the libraries, this package's source, and how the run holds its models. An entry is put
in its place whole, by a rename, so any number of processes may use one folder: who comes second
finds it, or makes the stage itself and leaves the first one's in place.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from uuid import uuid4

from constitutional.errors import RunFolderError
from constitutional.runs.answers import read_failures
from constitutional.runs.artifact import damage
from constitutional.runs.files import (
    atomic_write,
    explain,
    fsync_file,
    fsync_folder,
    make_folder,
    sha256_of,
)
from constitutional.runs.journal import BLOCKS, RECORDS
from constitutional.runs.lines import fingerprint_of
from constitutional.runs.manifest import versions
from constitutional.runs.stage import STAGE, Stage, StageState, read_state

RESULT = "result"
_HALF = ".half-"
_A_DAY = 24 * 60 * 60.0


class SharedStages:
    """The folder of shared stages, as one run sees it.

    ``made_with`` are the fingerprints of all that decides this run's numbers without being an input
    of each stage, such as the number format of its models. ``tell`` gets a sentence for each stage
    that is taken, and for each entry that is damaged and therefore not used.
    """

    def __init__(self, folder: Path, made_with: Mapping[str, str], tell: Callable[[str], None]):
        make_folder(folder)
        self.folder = folder.resolve()
        self._made_with = {**versions(), "source": source_fingerprint(), **made_with}
        self._tell = tell
        self._sweep()

    def take(self, stage: Stage, record_type: str = "") -> None:
        """Put a shared stage in the place of this one, where there is a whole one.

        A stage of records is then done; of an artifact the result lies in the work folder with its
        marks, as after a kill before the last step.
        """
        if stage.state.done or stage.state.sha256 is not None or stage.state.files is not None:
            return
        entry = self._entry(stage, record_type)
        if not entry.is_dir():
            return
        try:
            wrong = _wrong(entry, stage)
            if wrong is not None:
                self._tell(f"Stage {stage.name}: {wrong} in {entry}, which is not used.")
                shutil.rmtree(entry, ignore_errors=True)
                return
            state = read_state(entry)
            if state.files is None:
                for name in (RECORDS, BLOCKS):
                    _copy_over(entry / name, stage.folder / name)
                found: dict[str, object] = {"done": True, "sha256": state.sha256}
                found["records"] = state.records
            else:
                _link_files(entry / RESULT, stage.folder / "work" / RESULT, state)
                found = {"files": state.files}
        except OSError as error:
            raise explain(error, stage.folder) from error
        stage.update(**found, seconds=state.seconds, shared=True)
        self._tell(f"Stage {stage.name}: taken from {self.folder}.")

    def put(self, stage: Stage, record_type: str = "") -> None:
        """Let other runs have a finished stage; nothing happens where it is there already.

        One with requests that failed for good is not whole, and stays where it is.
        """
        entry = self._entry(stage, record_type)
        if entry.exists() or read_failures(stage.folder):
            return
        half = self.folder / f"{_HALF}{uuid4().hex}"
        try:
            half.mkdir()
            if stage.state.files is None:
                for name in (RECORDS, BLOCKS):
                    _copy_over(stage.folder / name, half / name)
            else:
                _link_files(stage.folder / RESULT, half / RESULT, stage.state)
            state = stage.state.model_copy(update={"shared": None})
            text = state.model_dump_json(indent=2, exclude_none=True)
            atomic_write(half / STAGE, text.encode() + b"\n")
            half.rename(entry)
            fsync_folder(self.folder)
        except OSError as error:
            shutil.rmtree(half, ignore_errors=True)
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # another run was quicker
                raise explain(error, self.folder) from error

    def _entry(self, stage: Stage, record_type: str) -> Path:
        key = {
            "stage": stage.name,
            "kind": stage.state.kind,
            "records": record_type,
            "inputs": stage.state.inputs,
            "made with": self._made_with,
        }
        return self.folder / fingerprint_of([key])

    def _sweep(self) -> None:
        """Remove what killed processes have left half made."""
        for half in self.folder.glob(f"{_HALF}*"):
            try:
                old = time.time() - half.stat().st_mtime > _A_DAY
            except OSError:  # its maker has just finished it
                continue
            if old:
                shutil.rmtree(half, ignore_errors=True)


@cache
def source_fingerprint() -> str:
    """A hash of this package's source, so that nothing is taken that other code has made."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(f"{path.relative_to(package).as_posix()}\n".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _wrong(entry: Path, stage: Stage) -> str | None:
    """What is wrong with an entry; None when it is whole and of this stage."""
    try:
        state = read_state(entry)
    except RunFolderError:
        return f"{STAGE} is damaged"
    if not state.done or (state.kind, state.inputs) != (stage.state.kind, stage.state.inputs):
        return f"{STAGE} is of another stage"
    if state.files is not None:
        return damage(entry / RESULT, state.files)
    if any(not (entry / name).is_file() for name in (RECORDS, BLOCKS)):
        return "a file is missing"
    return None if sha256_of(entry / RECORDS) == state.sha256 else f"{RECORDS} has changed"


def _copy_over(source: Path, target: Path) -> None:
    """Copied and not linked: a journal is repaired in its place, which would change all links."""
    partial = target.with_name(f".{target.name}.shared")
    shutil.copyfile(source, partial)
    fsync_file(partial)
    partial.replace(target)
    fsync_folder(target.parent)


def _link_files(source: Path, target: Path, state: StageState) -> None:
    """The marked files of an artifact, at ``target``: nobody writes to them, so a link will do."""
    shutil.rmtree(target, ignore_errors=True)
    for name in state.files or ():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source / name, path)
        except OSError:  # another file system, or one without links
            shutil.copyfile(source / name, path)
            fsync_file(path)
    for parent, _, _ in os.walk(target):
        fsync_folder(Path(parent))
