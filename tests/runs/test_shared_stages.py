"""Stages that runs have in common: taken where they are equal and whole, and made where not."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import BaseModel

from constitutional.runs import Blocks, QuietProgress, RunFolder
from constitutional.runs.answers import FailedRequest
from constitutional.runs.sharing import SharedStages, source_fingerprint
from constitutional.runs.stage import read_state


class Reply(BaseModel):
    text: str


class OtherReply(BaseModel):
    text: str


class Work:
    """Both kinds of stage; counts what it makes."""

    def __init__(self, kind: type[BaseModel] = Reply) -> None:
        self.kind = kind
        self.blocks = self.models = 0

    def replies(self, blocks: Blocks[str, Any]) -> Iterator[Sequence[Any]]:
        for number in blocks.missing:
            self.blocks += 1
            yield [self.kind.model_validate({"text": item.upper()}) for item in blocks[number]]

    def model(self, work: Path) -> None:
        self.models += 1
        (work / "result" / "sub").mkdir(parents=True)
        (work / "result" / "sub" / "model.bin").write_bytes(b"weights")


class Place:
    """A folder of shared stages, and runs beside it."""

    def __init__(self, root: Path):
        self.root = root
        self.told: list[str] = []

    def run(
        self,
        name: str,
        work: Work,
        *,
        inputs: str = "1",
        stage: str = "reply",
        items: Sequence[str] = "abcde",
        made_with: str = "float32",
        share: bool = True,
    ) -> Path:
        """Run both stages in the run NAME; returns its folder."""
        shared = SharedStages(self.root / "shared", {"models": made_with}, self.told.append)
        folder = self.root / name
        with RunFolder.open(
            folder,
            {"seed": 1},
            command="cai run",
            share=shared if share else None,
            tell=self.told.append,
        ) as run:
            run.stage_records(
                stage,
                inputs={"engine": inputs},
                record_type=work.kind,
                items=items,
                block_size=2,
                make=cast(Any, work.replies),
                progress=QuietProgress(),
            )
            run.stage_artifact("model", inputs={"data": run.fingerprint(stage)}, make=work.model)
        return folder

    def entries(self) -> list[Path]:
        return sorted((self.root / "shared").iterdir())

    def entry(self, stage: str) -> Path:
        kinds = {"reply": "records", "model": "artifact"}
        return next(e for e in self.entries() if read_state(e).kind == kinds[stage])


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def files(run: Path) -> dict[str, bytes]:
    """All bytes of the stages but times; the copies of ``stage.json`` have them too."""
    found = {}
    for path in sorted((run / "stages").rglob("*")):
        if path.is_file() and "stage.json" not in path.name:
            found[path.relative_to(run).as_posix()] = path.read_bytes()
        elif path.name == "stage.json":
            state = json.loads(path.read_bytes())
            state.pop("shared", None)
            found[path.relative_to(run).as_posix()] = json.dumps({**state, "seconds": 0}).encode()
    return found


def test_a_second_run_takes_what_the_first_has_made(place: Place) -> None:
    first, second, alone = Work(), Work(), Work()
    a, b = place.run("a", first), place.run("b", second)
    assert (first.blocks, first.models) == (3, 1)
    assert (second.blocks, second.models) == (0, 0)
    assert files(a) == files(b) == files(place.run("alone", alone, share=False))
    assert (alone.blocks, alone.models) == (3, 1)
    folder = place.root / "shared"
    assert place.told == [f"Stage {name}: taken from {folder}." for name in ("reply", "model")]
    state = read_state(b / "stages" / "reply")
    assert state.shared, "a run says which of its stages it did not make"
    assert state.seconds == read_state(a / "stages" / "reply").seconds
    assert read_state(a / "stages" / "reply").shared is None
    # taken once, it is the run's own: nothing is taken or told when the run is opened again
    del place.told[:]
    place.run("b", second)
    assert place.told == []


def test_artifacts_are_links_and_records_are_copies(place: Place) -> None:
    a, b = place.run("a", Work()), place.run("b", Work())

    def same(path: str) -> bool:
        return (a / path).samefile(b / path)

    assert same("stages/model/result/sub/model.bin")
    assert not same("stages/reply/records.jsonl"), "a journal is repaired in its place"


@pytest.mark.parametrize(
    "other",
    [
        {"inputs": "2"},
        {"items": "abcdf"},
        {"stage": "answers"},
        {"work": Work(OtherReply)},
        {"made_with": "bfloat16"},
    ],
)
def test_what_differs_in_anything_is_made(place: Place, other: dict[str, Any]) -> None:
    place.run("a", Work())
    work = other.get("work", Work())
    place.run("b", **{"work": work, **other})
    assert work.blocks == 3


def test_a_store_on_another_file_system_is_copied(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_link(source: object, target: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", no_link)
    work = Work()
    a, b = place.run("a", Work()), place.run("b", work)
    assert work.models == 0
    assert files(a) == files(b)


@pytest.mark.parametrize(
    ("stage", "damaged"),
    [
        ("reply", "records.jsonl"),
        ("reply", "stage.json"),
        ("model", "result/sub/model.bin"),
        ("model", "stage.json"),
    ],
)
@pytest.mark.parametrize("how", ["changed", "cut", "gone"])
def test_a_damaged_entry_is_not_used_and_replaced(
    place: Place, stage: str, damaged: str, how: str
) -> None:
    before = files(place.run("a", Work()))
    path = place.entry(stage) / damaged
    data = path.read_bytes()
    path.unlink()  # what is linked to it stays
    if how != "gone":
        changed = data[:-3] if how == "cut" else data.replace(b"e", b"\x00")
        path.write_bytes(changed)
    second, third = Work(), Work()
    assert files(place.run("b", second)) == before
    assert (second.blocks > 0, second.models > 0) == (stage == "reply", stage == "model")
    assert any("which is not used" in said for said in place.told)
    assert files(place.run("c", third)) == before
    assert (third.blocks, third.models) == (0, 0), "the whole one is in its place"


def test_a_damaged_sidecar_of_an_entry_is_written_anew(place: Place) -> None:
    before = files(place.run("a", Work()))
    (place.entry("reply") / "blocks.jsonl").write_bytes(b"{")
    work = Work()
    assert files(place.run("b", work)) == before
    assert work.blocks == 0


def test_a_run_that_was_cut_off_takes_the_rest_too(place: Place) -> None:
    class Interrupted(Work):
        def replies(self, blocks: Blocks[str, Any]) -> Iterator[Sequence[Any]]:
            made: Iterable[Sequence[Any]] = super().replies(blocks)
            for number, block in enumerate(made):
                if number == 2:
                    raise KeyboardInterrupt
                yield block

    with pytest.raises(KeyboardInterrupt):
        place.run("b", Interrupted(), share=False)
    before = files(place.run("a", Work()))
    work = Work()
    assert files(place.run("b", work)) == before
    assert work.blocks == 0


def test_two_that_make_the_same_at_once_both_end_well(place: Place) -> None:
    at_once = threading.Barrier(2)

    class Slow(Work):
        def model(self, work: Path) -> None:
            at_once.wait(20)  # neither has found the other's
            super().model(work)
            at_once.wait(20)

    works = [Slow(), Slow()]
    threads = [
        threading.Thread(target=place.run, args=(f"run{n}", work), kwargs={"items": "xyz"})
        for n, work in enumerate(works)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [work.models for work in works] == [1, 1]
    assert files(place.root / "run0") == files(place.root / "run1")
    assert len(place.entries()) == 2, "one of each stage, and nothing half made"
    third = Work()
    assert files(place.run("c", third, items="xyz")) == files(place.root / "run0")
    assert (third.blocks, third.models) == (0, 0)


def test_who_comes_second_leaves_the_first_ones_in_place(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.run("a", Work())
    theirs, link = place.entry("model"), os.link
    (aside := place.root / "aside").mkdir()
    for entry in place.entries():
        entry.rename(aside / entry.name)

    def link_while_another_run_is_quicker(source: Path, target: Path) -> None:
        if not theirs.exists():
            (aside / theirs.name).rename(theirs)
            (theirs / "theirs").touch()
        link(source, target)

    monkeypatch.setattr("os.link", link_while_another_run_is_quicker)
    work = Work()
    place.run("b", work)
    assert work.models == 1
    assert (theirs / "theirs").exists()
    assert [entry.name for entry in place.entries() if entry.name.startswith(".")] == []


def test_requests_that_failed_for_good_are_not_shared(place: Place) -> None:
    class Failing(Work):
        def replies(self, blocks: Blocks[str, Any]) -> Iterator[Sequence[Any]]:
            failed = FailedRequest(block=0, engine="e", cause="refused", prompt="a")
            (blocks.folder / "failures.jsonl").write_text(failed.model_dump_json() + "\n")
            yield from super().replies(blocks)

    place.run("a", Failing())
    work = Work()
    place.run("b", work)
    assert (work.blocks, work.models) == (3, 0)


def test_half_made_entries_of_the_killed_are_swept_after_a_day(place: Place) -> None:
    place.run("a", Work())
    old, new = place.root / "shared/.half-old-1", place.root / "shared/.half-new-1"
    for half in (old, new):
        half.mkdir()
    a_day_ago = time.time() - 25 * 60 * 60
    os.utime(old, (a_day_ago, a_day_ago))
    place.run("b", Work())
    assert (old.exists(), new.exists()) == (False, True)


def test_the_source_is_hashed() -> None:
    assert len(source_fingerprint()) == 64
