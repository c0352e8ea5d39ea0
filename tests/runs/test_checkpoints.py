"""Checkpoints that are damaged, half written or half deleted, and snapshots along a training."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from constitutional.runs.checkpoints import (
    COMPLETE,
    drop_damaged,
    mark_complete,
    mark_snapshot,
    newest,
    read_mark,
    remove_old,
)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Checkpoints of steps 2, 4 and 6, and snapshots of steps 3 and 6."""
    for step in (3, 6):
        folder = tmp_path / "snapshots" / f"step-{step}"
        folder.mkdir(parents=True)
        (folder / "model").write_text(f"model {step}")
        mark_snapshot(tmp_path / "snapshots", step)
    for step in (2, 4, 6):
        folder = tmp_path / f"step-{step}"
        folder.mkdir()
        (folder / "weights").write_text(f"weights {step}")
        (folder / "optimizer").write_text(f"moments {step}")
        mark_complete(folder)
    return tmp_path


def checkpoints(work: Path) -> dict[int, Path]:
    return {int(path.name.removeprefix("step-")): path for path in work.glob("step-*")}


def left(work: Path, each: int = 1) -> tuple[list[int], list[str]]:
    """The steps that are left, and what was told."""
    told: list[str] = []
    drop_damaged(checkpoints(work), work / "snapshots", told.append, each=each)
    return sorted(checkpoints(work)), told


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_whole_ones_stay(work: Path) -> None:
    assert left(work) == ([2, 4, 6], [])
    assert newest(checkpoints(work)) == (6, work / "step-6")


@pytest.mark.parametrize("name", ["weights", "optimizer", COMPLETE])
@pytest.mark.parametrize("damage", [flip, lambda path: path.write_bytes(path.read_bytes()[:-1])])
def test_a_damaged_one_goes_and_the_one_before_is_told(
    name: str, damage: Callable[[Path], object], work: Path
) -> None:
    damage(work / "step-6" / name)
    steps, told = left(work)
    assert steps == [2, 4]
    assert len(told) == 1
    # a mark that is damaged may still be read, and then belongs to no such files
    said = "" if name == COMPLETE else f"{name} "
    assert told[0].startswith(f"{work / 'step-6'} cannot be used ({said}")
    assert told[0].endswith(" and is removed; the training goes on from step 4")


def test_a_link_to_the_same_bytes_is_damage(work: Path) -> None:
    path = work / "step-6" / "weights"
    path.symlink_to(path.rename(work / "elsewhere"))
    assert left(work)[0] == [2, 4]


def test_when_all_are_damaged_the_training_begins_anew(work: Path) -> None:
    for step in (2, 4, 6):
        flip(work / f"step-{step}" / "weights")
    steps, told = left(work)
    assert steps == [] and newest(checkpoints(work)) is None
    assert len(told) == 3 and all(said.endswith("the training begins anew") for said in told)


def test_a_half_written_one_goes_without_a_word(work: Path) -> None:
    (work / "step-6" / COMPLETE).unlink()
    assert left(work) == ([2, 4], [])


def test_a_damaged_snapshot_takes_the_checkpoints_after_it(work: Path) -> None:
    flip(work / "snapshots/step-3/model")
    steps, told = left(work)
    assert steps == [2]
    assert "of snapshot 3, model has changed" in told[0]


def test_a_snapshot_of_a_later_step_is_made_again(work: Path) -> None:
    flip(work / "snapshots/step-6/model")
    assert left(work)[0] == [2, 4]
    assert left(work) == ([2, 4], [])


def test_a_snapshot_without_marks_is_not_trusted(work: Path) -> None:
    (work / "snapshots.json").unlink()
    steps, told = left(work)
    assert steps == [2]
    assert "snapshot 3 has no marks" in told[0]


def test_snapshots_may_be_named_by_longer_steps(work: Path) -> None:
    """Two updates to a step: snapshot 3 is from after update 6."""
    flip(work / "snapshots/step-3/model")
    assert left(work, each=2)[0] == [2, 4]


def test_old_ones_are_removed_by_their_steps_and_not_their_times(work: Path) -> None:
    for age, step in enumerate((6, 4, 2)):  # the clock was set back between them
        os.utime(work / f"step-{step}", (1e9 + 3600 * age,) * 2)
    remove_old(checkpoints(work))
    assert sorted(checkpoints(work)) == [4, 6]


def test_the_mark_says_how_weights_are_sharded(work: Path) -> None:
    (work / "step-6" / COMPLETE).unlink()
    mark_complete(work / "step-6", "FSDP")
    mark = read_mark(work / "step-6")
    assert mark is not None and mark.sharding == "FSDP"
    assert set(mark.files) == {"weights", "optimizer"}
