"""Studies that are run: to the end, with stages in common, cut off, killed, and with failures."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cai = Callable[..., tuple[int, str, str]]
Write = Callable[..., Path]

_PROMPTS = "microworld:prompts/supervised_{}.jsonl"
TINY = {
    "prompts.red_team": {"file": _PROMPTS.format("red_team"), "limit": 12},
    "prompts.helpful": {"file": _PROMPTS.format("helpful"), "limit": 6},
    "finetune.epochs": 1,
    "evaluation.red_team.limit": 4,
    "evaluation.helpful.limit": 4,
}
MEASURES = {
    "before": "revision_rounds.0.harmful_compliance.value",
    "after": "revision_rounds.2.harmful_compliance.value",
    "absent": "policies.rl_cai.held_out.harmful_compliance.value",
}
RULES = [{"says": "revision helps", "difference": ["a.before", "a.after"], "above": -2}]
# the second arm has the first one's chains, and trains otherwise
ARMS = {"a": {}, "b": {"finetune.learning_rate": 1.0e-3}}


@pytest.fixture
def tiny(write_study: Write) -> Write:
    def write(**changes: Any) -> Path:
        given = {"set": TINY, "measures": MEASURES, "rules": RULES, "arms": ARMS, "seeds": [1, 2]}
        return write_study(**{**given, "figure": {"measures": ["before", "after"]}, **changes})

    return write


def made(folder: Path) -> dict[str, bytes]:
    """Records and weights of all runs of a study, and what they have measured but times."""
    wanted = {"records.jsonl", "blocks.jsonl", "model.safetensors", "training_data.jsonl"}
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.name in wanted
    }
    for path in sorted(folder.rglob("metrics.json")):
        metrics = json.loads(path.read_bytes())
        del metrics["seconds"]
        files[path.relative_to(folder).as_posix()] = json.dumps(metrics).encode()
    return files


@pytest.mark.slow
def test_a_study_from_its_file_to_its_results(cai: Cai, tiny: Write, tmp_path: Path) -> None:
    out = tmp_path / "out"
    path = tiny()
    code, shown, told = cai("study", path, "--out", out, "--jobs", 2)
    assert code == 0, told
    assert "Verdict: holds" in shown
    assert "4 of 4" in told
    # the second arm made no chains of its own: they are the first arm's
    for seed in (1, 2):
        log = (out / f"own/b/{seed}.log").read_text()
        assert "Stage critique_revision: taken from" in log
        assert "Stage sl_cai: taken from" not in log

    results = json.loads((out / "own/study.json").read_text())
    assert results["verdict"] == "holds"
    assert results["seeds"] == [1, 2]
    assert results["arms"]["a"]["before"]["found"]["n"] == 2
    absent = results["arms"]["a"]["absent"]
    assert absent["found"] == {"value": None, "low": None, "high": None, "n": 0}
    assert absent["missing"] == [1, 2]
    assert results["runs"] == 4 and results["seconds"] > 4
    for seed in (1, 2):
        metrics = json.loads((out / f"own/a/{seed}/metrics.json").read_text())
        value = metrics["revision_rounds"][0]["harmful_compliance"]["value"]
        assert results["arms"]["a"]["before"]["seeds"][str(seed)] == value
    assert "a/absent without 1, 2" in (out / "own/table.md").read_text()
    assert (out / "own/own.png").read_bytes().startswith(b"\x89PNG")

    code, _, told = cai("study", path, "--out", out)
    assert code == 0
    assert "4 of 4 runs are there already" in told

    # what is shared changes nothing
    alone = tmp_path / "alone"
    code, _, told = cai("study", path, "--out", alone, "--no-share", "--only", "b", "--seeds", 1)
    assert code == 0, told
    assert not (alone / "shared").exists()
    whole = made(out / "own/b/1")
    assert len(whole) >= 13
    assert made(alone / "own/b/1") == whole
    assert json.loads((alone / "own/study.json").read_text())["verdict"] == "cannot tell"

    # the registration has changed since: these runs are not of it
    code, _, told = cai("study", tiny(set={**TINY, "block": 4}), "--out", out)
    assert code == 2
    assert "is of another recipe than the study now registers for a/1" in told


@pytest.mark.slow
def test_a_run_that_fails_is_told_and_the_others_go_on(
    cai: Cai, tiny: Write, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arms = {"bad": {"constitution": "nowhere.yaml"}, "a": {}}
    code, _, told = cai("study", tiny(arms=arms), "--out", out, "--seeds", 1, "--jobs", 1)
    assert code == 2
    assert "own: bad/1 failed: " in told and "nowhere.yaml" in told
    assert "own: 1 of 2, a/1: " in told
    assert told.splitlines()[-1].startswith("cai: runs that failed: 1")
    results = json.loads((out / "own/study.json").read_text())
    assert "nowhere.yaml" in results["failures"]["bad/1"]
    assert results["arms"]["bad"]["before"]["missing"] == [1, 2]
    assert results["arms"]["a"]["before"]["seeds"].keys() == {"1"}


@pytest.mark.slow
def test_a_study_that_is_stopped_and_killed_ends_as_one_that_was_not(
    cai: Cai, tiny: Write, tmp_path: Path
) -> None:
    path = tiny(seeds=[1, 2], arms={"a": {}})
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert cai("study", path, "--out", whole)[0] == 0

    command = [sys.executable, "-c", "from constitutional.cli import main; main()"]
    command += ["study", str(path), "--out", str(broken), "--jobs", "2"]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        children = _two_children(process.pid)
        time.sleep(2)
        asked = time.monotonic()
        process.send_signal(number)
        _, told = process.communicate(timeout=60)
        while any(map(_alive, children)):
            assert time.monotonic() - asked < 15
            time.sleep(0.05)
        if number != signal.SIGKILL:
            assert process.returncode == 128 + number
            assert "of 2 runs are done. Go on with: cai study" in told
            assert "Traceback" not in told
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert made(broken / "own") == made(whole / "own")


def test_two_at_once_in_one_folder_are_refused(cai: Cai, tiny: Write, tmp_path: Path) -> None:
    from constitutional.runs.lock import FolderLock

    folder = tmp_path / "out/own"
    folder.mkdir(parents=True)
    lock = FolderLock(folder)
    code, _, told = cai("study", tiny(), "--out", tmp_path / "out")
    lock.release()
    assert code == 2
    assert f"is in use by process {os.getpid()}" in told


def _two_children(pid: int) -> list[int]:
    """The processes of a study's runs, once two of them are there."""
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up:
        found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True)
        if len(children := [int(word) for word in found.stdout.split()]) == 2:
            return children
        time.sleep(0.05)
    raise AssertionError("no two runs were started")


def _alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
