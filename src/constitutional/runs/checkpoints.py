"""Checkpoints of a training, each with the marks of its files: none that is damaged is used.

A checkpoint is a folder for a step. Its mark, the file ``complete``, is written when all else is on
the disk: a folder without one is half written or half deleted. Snapshots, which a training keeps
for its result, are marked beside their folder, in ``snapshots.json``: a checkpoint is of no use
where a snapshot from before it is lost.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from constitutional.runs.artifact import damage, mark_files
from constitutional.runs.files import atomic_write
from constitutional.runs.stage import FileMark

COMPLETE = "complete"
#: So many are kept: one to go on from, and one for when that is damaged.
KEPT = 2

_Snapshots = TypeAdapter(dict[int, dict[str, FileMark]])


class Mark(BaseModel):
    """The contents of ``complete``; ``sharding`` says over what the weights are spread, if so."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sharding: str | None = None
    files: dict[str, FileMark]


def mark_complete(folder: Path, sharding: str | None = None) -> None:
    """Mark a checkpoint, all of whose files are written; they are on the disk when this returns."""
    mark = Mark(sharding=sharding, files=mark_files(folder))
    atomic_write(folder / COMPLETE, mark.model_dump_json().encode())


def mark_snapshot(snapshots: Path, step: int) -> None:
    """Mark the snapshot in ``snapshots / "step-N"``; those of later steps, from before, go."""
    marked = {s: files for s, files in (_marked(snapshots) or {}).items() if s < step}
    marked[step] = mark_files(snapshots / f"step-{step}")
    atomic_write(_marks_of(snapshots), _Snapshots.dump_json(marked))


def newest(checkpoints: Mapping[int, Path]) -> tuple[int, Path] | None:
    """The step and the folder of the newest checkpoint that has its mark."""
    complete = [step for step, folder in checkpoints.items() if (folder / COMPLETE).exists()]
    return (max(complete), checkpoints[max(complete)]) if complete else None


def drop_damaged(
    checkpoints: Mapping[int, Path],
    snapshots: Path,
    tell: Callable[[str], None],
    *,
    each: int = 1,
) -> None:
    """Remove what no training may go on from, until the newest that is left is whole.

    ``each`` of their steps are one of those of the snapshots. Half-written checkpoints go without a
    word: a kill leaves them. ``tell`` gets a sentence, without its full stop, of each damaged one.
    """
    damaged: list[str] = []
    goes_on = "the training begins anew"
    for step, folder in sorted(checkpoints.items(), reverse=True):
        if not (folder / COMPLETE).exists():
            shutil.rmtree(folder)
            continue
        wrong = _wrong(folder) or _wrong_snapshot(snapshots, step // each)
        if wrong is None:
            goes_on = f"the training goes on from step {step}"
            break
        damaged.append(f"{folder} cannot be used ({wrong})")
        remove(folder)
    for sentence in damaged:
        tell(f"{sentence} and is removed; {goes_on}")


def read_mark(folder: Path) -> Mark | None:
    """The mark of a checkpoint; None where it is damaged."""
    try:
        return Mark.model_validate_json((folder / COMPLETE).read_bytes())
    except ValidationError:
        return None


def remove_old(checkpoints: Mapping[int, Path]) -> None:
    """Remove all but the newest by their steps: times of files lie when a clock was set back."""
    for step in sorted(checkpoints)[:-KEPT]:
        remove(checkpoints[step])


def remove(checkpoint: Path) -> None:
    """Remove a checkpoint, its mark first: a kill leaves none that looks whole."""
    (checkpoint / COMPLETE).unlink(missing_ok=True)
    shutil.rmtree(checkpoint)


def _wrong(folder: Path) -> str | None:
    mark = read_mark(folder)
    return f"{COMPLETE} is damaged" if mark is None else damage(folder, mark.files)


def _wrong_snapshot(snapshots: Path, last: int) -> str | None:
    """What is wrong with the snapshots up to step ``last``."""
    marked = _marked(snapshots)
    if marked is None:
        return f"{_marks_of(snapshots).name} is damaged"
    there = {int(path.name.removeprefix("step-")) for path in snapshots.glob("step-*")}
    # one behind ``last`` is made again
    for step in sorted(step for step in there | set(marked) if step <= last):
        if step not in marked:
            return f"snapshot {step} has no marks"
        if wrong := damage(snapshots / f"step-{step}", marked[step]):
            return f"of snapshot {step}, {wrong}"
    return None


def _marked(snapshots: Path) -> dict[int, dict[str, FileMark]] | None:
    """The marks of the snapshots, by step; None where they cannot be read."""
    path = _marks_of(snapshots)
    if not path.exists():
        return {}
    try:
        return _Snapshots.validate_json(path.read_bytes())
    except ValidationError:
        return None


def _marks_of(snapshots: Path) -> Path:
    return snapshots.with_name(f"{snapshots.name}.json")
