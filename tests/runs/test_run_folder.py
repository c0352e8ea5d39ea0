from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from constitutional.errors import EngineError, RunFolderError
from constitutional.runs import (
    QuietProgress,
    Records,
    RunFolder,
    interruptible,
    one_by_one,
    safe_records,
)
from constitutional.runs.copies import copy_of, heal, write_twice

Start = Callable[..., subprocess.Popen[str]]

RECIPE = {"seed": 3, "engine": {"batch_size": 8, "model": "tiny"}, "rounds": [1, 2]}


class Reply(BaseModel):
    text: str


class Worker:
    """Upper-cases items; counts its calls; stops with an error at call ``fail_at``."""

    def __init__(self, fail_at: int | None = None):
        self.calls: list[list[str]] = []
        self.fail_at = fail_at

    def __call__(self, items: Sequence[str]) -> list[Reply]:
        if len(self.calls) == self.fail_at:
            raise RuntimeError("pulled the plug")
        self.calls.append(list(items))
        return [Reply(text=item.upper()) for item in items]


def open_run(path: Path, recipe: dict[str, Any] = RECIPE, **options: Any) -> RunFolder:
    return RunFolder.open(path, recipe, command="cai run", **options)


def reply(
    run: RunFolder, work: Any, items: str = "abcdefg", *, in_order: bool = False, **inputs: str
) -> Records[Reply]:
    return run.stage_records(
        "reply",
        inputs={"engine": "e1", **inputs},
        record_type=Reply,
        items=list(items),
        block_size=3,
        make=one_by_one(work),
        progress=QuietProgress(),
        in_order=in_order,
    )


def test_a_run_folder_says_what_the_run_is(tmp_path: Path) -> None:
    with open_run(tmp_path / "deep" / "run", inputs={"prompts": "abc"}) as run:
        assert yaml.safe_load((run.path / "recipe.yaml").read_text()) == RECIPE
        described = json.loads((run.path / "run.json").read_text())
    assert described["format"] == 1
    assert described["seed"] == 3
    assert described["command"] == "cai run"
    assert described["inputs"] == {"prompts": "abc"}
    assert set(described["versions"]) == {"python", "constitutional", "torch", "transformers"}


def test_a_stage_gives_one_record_per_item_in_fixed_blocks(tmp_path: Path) -> None:
    work = Worker()
    with open_run(tmp_path) as run:
        records = reply(run, work)
        assert [record.text for record in records] == list("ABCDEFG")
        assert run.seconds()["reply"] >= 0
    assert work.calls == [["a", "b", "c"], ["d", "e", "f"], ["g"]]


def test_finished_blocks_are_not_worked_on_again(tmp_path: Path) -> None:
    with open_run(tmp_path) as run, pytest.raises(RuntimeError):
        reply(run, Worker(fail_at=2))
    again = Worker()
    with open_run(tmp_path) as run:
        assert [record.text for record in reply(run, again)] == list("ABCDEFG")
        assert again.calls == [["g"]]
        assert [record.text for record in reply(run, Worker(fail_at=0))] == list("ABCDEFG")


def test_the_user_is_told_of_repairs(tmp_path: Path) -> None:
    told: list[str] = []
    with open_run(tmp_path) as run:
        reply(run, Worker())
    path = tmp_path / "stages" / "reply" / "records.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    with open_run(tmp_path, tell=told.append) as run:
        reply(run, Worker())
        assert run.recovered["reply"].kept == 6
    assert told == [
        "Stage reply: records.jsonl ends inside block 2; records cut off and made again: 1,"
        " kept: 6."
    ]
    assert path.read_bytes() == whole


def broken(path: Path, *places: int) -> None:
    """Flips a bit at each place of a file."""
    data = bytearray(path.read_bytes())
    for place in places:
        data[place] ^= 1
    path.write_bytes(data)


def test_only_a_damaged_block_is_made_again(tmp_path: Path) -> None:
    told: list[str] = []
    with open_run(tmp_path) as run:
        reply(run, Worker(), "abcdefghijk")
    folder = tmp_path / "stages" / "reply"
    whole = {path.name: path.read_bytes() for path in folder.glob("*.jsonl")}
    broken(folder / "records.jsonl", 1, len(whole["records.jsonl"]) // 2)  # blocks 0 and 1 or 2
    cut_off = Worker(fail_at=1)
    with open_run(tmp_path, tell=told.append) as run, pytest.raises(RuntimeError):
        reply(run, cut_off, "abcdefghijk")
    again = Worker()
    with open_run(tmp_path, tell=told.append) as run:
        assert [record.text for record in reply(run, again, "abcdefghijk")] == list("ABCDEFGHIJK")
    assert [cut_off.calls, again.calls] == [[["a", "b", "c"]], [["d", "e", "f"]]]
    assert told == [
        "Stage reply: block 0 of records.jsonl is damaged; records cut off and made again: 6,"
        " kept: 5."
    ]
    assert {path.name: path.read_bytes() for path in folder.glob("*.jsonl")} == whole


def test_blocks_that_depend_on_those_before_are_all_made_again(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        reply(run, Worker())
        broken(run.path / "stages/reply/records.jsonl", 1)
        again = Worker()
        reply(run, again, in_order=True)
    assert again.calls == [["a", "b", "c"], ["d", "e", "f"], ["g"]]


@pytest.mark.parametrize("left", [0, 1, 100])
def test_the_sidecar_of_a_finished_stage_is_written_anew(left: int, tmp_path: Path) -> None:
    told: list[str] = []
    with open_run(tmp_path) as run:
        reply(run, Worker())
    sidecar = tmp_path / "stages" / "reply" / "blocks.jsonl"
    whole = sidecar.read_bytes()
    sidecar.write_bytes(whole[:left])
    with open_run(tmp_path, tell=told.append) as run:
        reply(run, Worker(fail_at=0))
    assert sidecar.read_bytes() == whole
    assert len(told) == 1 and "made again: 0, kept: 7" in told[0]


@pytest.mark.parametrize("name", ["run.json", "recipe.yaml", "stages/reply/stage.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_what_a_run_cannot_do_without_is_kept_twice(name: str, damage: str, tmp_path: Path) -> None:
    told: list[str] = []
    with open_run(tmp_path) as run:
        reply(run, Worker())
    path = tmp_path / name
    whole = path.read_bytes()
    if damage == "flip":
        broken(path, len(whole) // 2)
    elif damage == "cut":
        path.write_bytes(whole[:-9])
    else:
        path.unlink()
    with open_run(tmp_path, tell=told.append) as run:
        reply(run, Worker(fail_at=0))
    how = "missing" if damage == "gone" else "damaged"
    assert told == [f"{path} was {how} and is restored from its copy."]
    assert path.read_bytes().startswith(whole[:-20])  # run.json has grown by a session


def test_a_kill_between_a_file_and_its_copy_is_no_damage(tmp_path: Path) -> None:
    told: list[str] = []
    path = tmp_path / "state"
    for text in (b"one", b"two"):
        write_twice(path, text)
    path.write_bytes(b"one")  # the copy is written first
    heal(path, told.append)
    assert path.read_bytes() == b"one" and told == []
    copy_of(path).write_bytes(b"damaged")
    heal(path, told.append)
    assert path.read_bytes() == b"one" and told == []


def test_other_records_than_items_are_an_engine_error(tmp_path: Path) -> None:
    with open_run(tmp_path) as run, pytest.raises(EngineError, match="3 items gave 0 records"):
        reply(run, lambda items: [])


def test_changed_inputs_are_refused_by_name(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        reply(run, Worker())
        with pytest.raises(RunFolderError, match=r"other inputs \(engine: e1 → e2\)"):
            reply(run, Worker(), engine="e2")
        with pytest.raises(RunFolderError, match=r"other inputs \(items: "):
            reply(run, Worker(), items="abcdefgh")
        with pytest.raises(RunFolderError, match="kind of stage: records → artifact"):
            run.stage_artifact("reply", inputs={}, make=lambda work: None)
        for state in (run.path / "stages" / "reply").glob("*stage.json*"):
            state.unlink()
        with pytest.raises(RunFolderError, match=r"holds blocks\.jsonl but no stage\.json"):
            reply(run, Worker())


def test_a_fingerprint_follows_what_was_made(tmp_path: Path) -> None:
    def finger(name: str, items: str) -> str:
        with open_run(tmp_path / name) as run:
            reply(run, Worker(), items=items)
            return run.fingerprint("reply")

    assert finger("one", "abc") == finger("two", "abc") != finger("three", "abd")


def test_another_recipe_is_refused_with_the_keys(tmp_path: Path) -> None:
    open_run(tmp_path).close()
    other = {**RECIPE, "engine": {"batch_size": 16, "model": "big"}, "rounds": [1]}
    with pytest.raises(RunFolderError) as caught:
        open_run(tmp_path, other)
    assert str(caught.value) == (
        f"{tmp_path} holds a run of another recipe (engine.batch_size: 8 → 16; engine.model:"
        ' "tiny" → "big"; rounds: [1, 2] → [1]): choose another run folder, or restore these values'
    )
    free = {**RECIPE, "engine": {"batch_size": 16, "model": "tiny"}}
    with open_run(tmp_path, free, free_keys={"engine.batch_size"}) as run:
        assert len(run.manifest.resumed) == 1
        assert yaml.safe_load((tmp_path / "recipe.yaml").read_text()) == free
    # Python takes 1 and true for equal, a recipe does not
    open_run(tmp_path / "switch", {"seed": 1}).close()
    with pytest.raises(RunFolderError, match="seed: 1 → true"):
        open_run(tmp_path / "switch", {"seed": True})


def test_only_five_of_many_keys_are_listed(tmp_path: Path) -> None:
    open_run(tmp_path, {str(n): 0 for n in range(8)}).close()
    with pytest.raises(RunFolderError, match=r"4: 0 → 1; and 3 more\)"):
        open_run(tmp_path, {str(n): 1 for n in range(8)})


def test_changed_input_files_are_refused(tmp_path: Path) -> None:
    open_run(tmp_path, inputs={"prompts": "1", "constitution": "2"}).close()
    with pytest.raises(RunFolderError, match="other contents of: prompts;"):
        open_run(tmp_path, inputs={"prompts": "9", "constitution": "2"})


def test_a_folder_that_is_no_run_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("do not lose")
    with pytest.raises(RunFolderError, match=r"not empty \(it holds thesis\.txt\)"):
        open_run(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


def test_another_format_or_damage_is_refused(tmp_path: Path) -> None:
    open_run(tmp_path).close()
    (tmp_path / ".run.json.copy").unlink()
    described = tmp_path / "run.json"
    described.write_text(described.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(RunFolderError, match="is of format 2, this version reads format 1"):
        open_run(tmp_path)
    described.write_text("{")
    with pytest.raises(RunFolderError, match="cannot be read as a run's description"):
        open_run(tmp_path)


def test_a_second_process_is_refused_with_the_pid_of_the_first(
    start: Start, tmp_path: Path
) -> None:
    process = start("hold", tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    with pytest.raises(RunFolderError, match=f"in use by process {process.pid}:"):
        open_run(tmp_path)
    process.kill()
    process.communicate()
    assert (tmp_path / "lock").read_text() == f"{process.pid}\n"
    with pytest.raises(RunFolderError, match="another recipe"):  # past the dead process's lock
        open_run(tmp_path)


def test_a_failed_opening_gives_the_lock_back(tmp_path: Path) -> None:
    open_run(tmp_path).close()
    with pytest.raises(RunFolderError, match="another recipe"):
        open_run(tmp_path, {"seed": 4})
    open_run(tmp_path).close()


def test_links_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    run = tmp_path / "run"
    open_run(run).close()
    link = run / "stages" / "reply"
    link.symlink_to(outside)
    with pytest.raises(RunFolderError, match="symbolic link out of the run folder"):
        open_run(run)
    link.unlink()
    link.symlink_to(run / "stages" / "other")
    open_run(run).close()


def test_links_that_come_later_and_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    outside, run_path = tmp_path / "outside", tmp_path / "run"
    outside.mkdir()
    with open_run(run_path) as run:
        (run_path / "stages" / "reply").symlink_to(outside)
        with pytest.raises(RunFolderError, match="symbolic link out of the run folder"):
            reply(run, Worker())
    assert list(outside.iterdir()) == []
    (run_path / "stages" / "reply").unlink()
    for one, other in (("a", "b"), ("b", "a")):
        (run_path / one).symlink_to(run_path / other)
    with pytest.raises(RunFolderError, match="symbolic link out of the run folder"):
        open_run(run_path)


def test_a_path_through_a_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(RunFolderError, match="a file, not a folder: choose another"):
            open_run(path)


@contextlib.contextmanager
def mounted(folder: Path, size: str) -> Iterator[None]:
    """A small file system of its own at ``folder``; skips where mounting is not allowed."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small file system is not allowed here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_read_only_disk_is_one_sentence(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with mounted(disk, "256k"):
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        for path in (disk, disk / "run"):
            with pytest.raises(RunFolderError, match="the disk is read-only: choose a run folder"):
                open_run(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not stop root")
def test_a_folder_without_permission_is_one_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(RunFolderError, match="no permission to write here"):
        open_run(tmp_path)


def test_a_full_disk_stops_a_stage_and_room_lets_it_go_on(tmp_path: Path) -> None:
    disk = tmp_path / "disk"

    def large(items: Sequence[str]) -> list[Reply]:
        return [Reply(text=item * 12_000) for item in items]

    with mounted(disk, "128k"):
        run = open_run(disk / "run")
        (disk / "ballast").write_bytes(bytes(60_000))
        with run, pytest.raises(RunFolderError, match="no space is left on the disk"):
            reply(run, large)
        kept = safe_records(disk / "run")
        assert kept in (0, 3)
        (disk / "ballast").unlink()
        with open_run(disk / "run", tell=lambda message: None) as run:
            reply(run, large)
        there = (disk / "run" / "stages" / "reply" / "records.jsonl").read_bytes()
    with open_run(tmp_path / "roomy") as run:
        reply(run, large)
    assert there == (tmp_path / "roomy" / "stages" / "reply" / "records.jsonl").read_bytes()


def test_metrics_are_written_as_a_whole(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        assert json.loads(run.write_json("metrics.json", {"elo": 1.5}).read_text()) == {"elo": 1.5}
        for name in ("run.json", "../x.json", "a/b.json", "lock", ""):
            with pytest.raises(ValueError):
                run.write_json(name, {})


def test_without_a_signal_nothing_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ZeroDivisionError), interruptible(tmp_path, "cai run"):
        _ = 1 / 0
    with pytest.raises(SystemExit) as stopped, interruptible(tmp_path, "cai run"):
        raise KeyboardInterrupt
    assert stopped.value.code == 130
    assert capsys.readouterr().err.count("Stopped.") == 1


def test_the_wing_does_not_load_torch() -> None:
    code = "import sys, constitutional.runs; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout == "False\n"
