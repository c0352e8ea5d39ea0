"""``cai run`` on the embedded microworld, whole: results, resuming, kills."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from constitutional.constitution import load_constitution
from constitutional.runs import read_records
from constitutional.runs.records import Answer, Chain, Reply

Cai = Callable[..., tuple[int, str, str]]
HERE = Path(__file__).parent


def stage_files(run: Path) -> dict[str, bytes]:
    """Every record file and every weight of a run; not the times, which differ."""
    wanted = {"records.jsonl", "model.safetensors", "training_data.jsonl"}
    return {
        str(path.relative_to(run)): path.read_bytes()
        for path in sorted(run.rglob("*"))
        if path.name in wanted
    }


def without_times(metrics: Path) -> dict[str, object]:
    data = json.loads(metrics.read_text())
    del data["seconds"]
    return dict(data)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def test_a_run_leaves_records_a_model_metrics_and_figures(
    cai: Cai, small_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    code, shown, told = cai("run", small_recipe(), "--out", out, "--seed", 3)
    assert code == 0, told
    assert "SL-CAI" in shown
    assert str(out) in shown
    assert "Critique and revision: 24 of 24" in told

    chains = read_records(out / "stages/critique_revision", Chain)
    assert len(chains) == 24
    assert all(len(chain.rounds) == 2 and chain.constitution for chain in chains)
    replies = read_records(out / "stages/helpful_replies", Reply)
    assert [len(reply.responses) for reply in replies] == [2] * 12
    for policy in ("pretrained", "helpful", "sl_cai"):
        answers = read_records(out / f"stages/answers_{policy}", Answer)
        assert len(answers) == 32
        assert all(answer.verdict is not None for answer in answers)

    metrics = json.loads((out / "metrics.json").read_text())
    held_out = metrics["policies"]["sl_cai"]["held_out"]
    assert set(held_out["harmful_compliance"]) == {"value", "low", "high", "n"}
    assert len(metrics["revision_rounds"]) == 3
    assert metrics["seconds"]["total"] > 0
    manifest = json.loads((out / "run.json").read_text())
    assert manifest["seed"] == 3
    assert metrics["constitution"] == manifest["inputs"]["constitution"]
    assert (out / "figures/harmlessness.png").read_bytes().startswith(b"\x89PNG")
    # what it was made with, for whoever reads it
    kept = load_constitution(out / "constitution.yaml")
    assert kept.fingerprint == metrics["constitution"]
    assert json.loads((out / "notes.json").read_text()) == []

    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = out / "stages/sl_cai/result"
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.num_parameters() > 0
    assert AutoTokenizer.from_pretrained(folder).eos_token == "<|endoftext|>"

    before = stage_files(out)
    code, _, told = cai("run", small_recipe(), "--out", out, "--seed", 3)
    assert code == 0
    assert told.count("already there") == 5, "nothing that is done is done again"
    assert stage_files(out) == before


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(
    cai: Cai, small_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    runs = [tmp_path / name for name in ("a", "b", "c")]
    for run, seed in zip(runs, (1, 1, 2), strict=True):
        assert cai("run", small_recipe(evaluation=None), "--out", run, "--seed", seed)[0] == 0
    a, b, c = map(stage_files, runs)
    assert a == b
    assert a != c
    assert without_times(runs[0] / "metrics.json") == without_times(runs[1] / "metrics.json")


def test_a_changed_recipe_is_refused_with_the_key(
    cai: Cai, small_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    assert cai("run", small_recipe(evaluation=None), "--out", out)[0] == 0
    code, _, told = cai("run", small_recipe(evaluation=None, block=4), "--out", out)
    assert code == 2
    assert "block" in told.splitlines()[-1]
    assert "Traceback" not in told


def test_twenty_kills_change_nothing(small_recipe: Callable[..., Path], tmp_path: Path) -> None:
    """``kill -9`` at 20 random moments, the same command each time; then to the end."""
    recipe = small_recipe()
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    script = [sys.executable, str(HERE / "killed_run.py"), recipe, whole, killed, "20"]
    done = subprocess.run(script, check=True, capture_output=True)
    assert done.stdout.split()[-1] == b"20"
    assert stage_files(killed) == stage_files(whole)
    assert without_times(killed / "metrics.json") == without_times(whole / "metrics.json")


def test_ctrl_c_says_what_is_safe_and_how_to_go_on(
    small_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    import signal
    import time

    out = tmp_path / "run"
    command = [sys.executable, "-c", "from constitutional.cli import main; main()"]
    process = subprocess.Popen(
        [*command, "run", str(small_recipe()), "--out", str(out)],
        stderr=subprocess.PIPE,
        text=True,
    )
    journal = out / "stages/critique_revision/blocks.jsonl"
    give_up = time.monotonic() + 120
    while not (journal.exists() and journal.stat().st_size) and time.monotonic() < give_up:
        time.sleep(0.01)
    pressed = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - pressed < 10  # 2 s is what is promised on an idle machine
    assert "records are safe in" in told
    assert f"cai run {small_recipe()} --out {out}" in told
    assert "Traceback" not in told
