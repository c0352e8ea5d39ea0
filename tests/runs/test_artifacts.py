"""Stages that make files, and the time that stages take."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from constitutional.errors import RunFolderError
from constitutional.runs import RunFolder
from constitutional.runs.stage import Stage, read_state


def open_run(path: Path, **options: Any) -> RunFolder:
    return RunFolder.open(path, {"seed": 3}, command="cai run", **options)


class Maker:
    """Makes a two-file model; counts its calls."""

    def __init__(self, content: bytes = b"weights"):
        self.calls = 0
        self.content = content

    def __call__(self, work: Path) -> None:
        self.calls += 1
        (work / "result" / "sub").mkdir(parents=True)
        (work / "result" / "sub" / "model.bin").write_bytes(self.content)
        (work / "result" / "config.json").write_text("{}")


def test_an_artifact_is_made_once(tmp_path: Path) -> None:
    make = Maker()
    with open_run(tmp_path) as run:
        path = run.stage_artifact("model", inputs={"data": "1"}, make=make)
    with open_run(tmp_path) as run:
        assert run.stage_artifact("model", inputs={"data": "1"}, make=make) == path
        with pytest.raises(RunFolderError, match="data: 1 → 2"):
            run.stage_artifact("model", inputs={"data": "2"}, make=make)
    assert make.calls == 1
    assert (path / "sub" / "model.bin").read_bytes() == b"weights"
    assert not (tmp_path / "stages" / "model" / "work").exists()


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_bytes(b"weight"), "has 6 bytes instead of 7"),
        (lambda path: path.write_bytes(b"Weights"), "has changed"),
    ],
)
def test_a_damaged_artifact_is_told_and_made_again(
    damage: Callable[[Path], None], word: str, tmp_path: Path
) -> None:
    make = Maker()
    told: list[str] = []
    with open_run(tmp_path, tell=told.append) as run:
        path = run.stage_artifact("model", inputs={}, make=make)
        damage(path / "sub" / "model.bin")
        run.stage_artifact("model", inputs={}, make=make)
    assert make.calls == 2
    assert (path / "sub" / "model.bin").read_bytes() == b"weights"
    assert told == [f"Stage model: sub/model.bin {word} in its result, which is made again."]


def test_an_interrupted_artifact_keeps_its_work_but_no_half_result(tmp_path: Path) -> None:
    def first(work: Path) -> None:
        (work / "checkpoint").write_text("half way")
        (work / "result").mkdir()
        (work / "result" / "stale.bin").write_text("half")
        raise KeyboardInterrupt

    def second(work: Path) -> None:
        assert (work / "checkpoint").read_text() == "half way"
        Maker()(work)

    with open_run(tmp_path) as run:
        with pytest.raises(KeyboardInterrupt):
            run.stage_artifact("model", inputs={}, make=first)
        path = run.stage_artifact("model", inputs={}, make=second)
    assert not (path / "stale.bin").exists()


def test_a_result_of_links_or_nothing_is_refused(tmp_path: Path) -> None:
    def link(work: Path) -> None:
        (work / "result").mkdir()
        (work / "result" / "model").symlink_to(tmp_path)

    with open_run(tmp_path) as run:
        with pytest.raises(RunFolderError, match="a result holds real files"):
            run.stage_artifact("model", inputs={}, make=link)
        with pytest.raises(RunFolderError, match="left no files"):
            run.stage_artifact("model", inputs={}, make=lambda work: None)


def test_seconds_add_up_over_interruptions(tmp_path: Path) -> None:
    def pausing(seconds: float, error: type[BaseException] | None) -> Callable[[Path], None]:
        def make(work: Path) -> None:
            time.sleep(seconds)
            if error is not None:
                raise error
            Maker()(work)

        return make

    with open_run(tmp_path) as run:
        with pytest.raises(KeyboardInterrupt):
            run.stage_artifact("model", inputs={}, make=pausing(0.2, KeyboardInterrupt))
        first = run.seconds()["model"]
        run.stage_artifact("model", inputs={}, make=pausing(0.2, None))
        assert 0.2 <= first < run.seconds()["model"] - 0.19


def test_seconds_are_saved_while_a_stage_runs(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "model", "artifact")
    stage.begin({})
    with stage.clock(every=0.01):
        patience = time.monotonic() + 10
        while read_state(stage.folder).seconds == 0 and time.monotonic() < patience:
            time.sleep(0.01)
        assert read_state(stage.folder).seconds > 0
