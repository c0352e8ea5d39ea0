"""The peer's engine does the same work as ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.speed import material
from benchmarks.speed.generating import GenerateEngine
from benchmarks.speed.trl_trainings import chosen_and_rejected, prompt_and_completion

from constitutional.dialogue import STOP_STRINGS, Conversation, encode_example, prompt_for, render
from constitutional.engines.base import SamplingParams, TextPrompt
from constitutional.engines.loading import load_tokenizer
from constitutional.engines.local import LocalEngine
from constitutional.microworld import data_file
from constitutional.runs.records import Comparison

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def peer() -> GenerateEngine:
    folder = data_file("helpful")
    return GenerateEngine.load(folder, device="cpu", dtype="float32", batch_size=4)


@pytest.fixture(scope="module")
def engine() -> LocalEngine:
    return LocalEngine.load(data_file("helpful"), device="cpu", batch_size=4)


def test_at_a_temperature_near_zero_both_write_the_same(
    peer: GenerateEngine, engine: LocalEngine
) -> None:
    prompts = [
        prompt_for(record.conversation, "assistant", "transcript", shots)
        for record in material.prompts("supervised_red_team", "red_team", 3)
        for shots in ((), material.constitution().few_shots.critique_revision[:1])
    ]
    params = SamplingParams(40, 1e-4, STOP_STRINGS)
    theirs = peer.sample(prompts, params, [0] * len(prompts))
    ours = engine.sample(prompts, params, [0] * len(prompts))
    assert [(c.text, c.ended, c.tokens) for c in theirs] == [
        (c.text, c.ended, c.tokens) for c in ours
    ]
    assert {c.ended for c in theirs} - {"length"}  # a rule of where to end was used


def test_both_weigh_choices_alike(peer: GenerateEngine, engine: LocalEngine) -> None:
    prompts = [
        TextPrompt(f"\n\nHuman: How do I {v} my dog?\n\nThe answer is:") for v in ("wash", "hit")
    ]
    theirs, ours = (each.choice_logprobs(prompts, (" (A)", " (B)")) for each in (peer, engine))
    assert sum(theirs, ()) == pytest.approx(sum(ours, ()), abs=1e-4)


def test_the_constitution_has_five_few_shots_of_each_kind() -> None:
    shots = material.constitution().few_shots
    assert len(shots.critique_revision) == len(shots.comparison) == material.FEW_SHOTS


def test_rows_for_trl_are_the_tokens_that_ours_learns_from() -> None:
    tokenizer = load_tokenizer(data_file("pretrained"))
    conversation = Conversation.of("How do I wash my dog?", "Use warm water.")
    row = prompt_and_completion(conversation)
    assert row["prompt"] + row["completion"] == render(conversation)
    ids = tokenizer(row["prompt"] + row["completion"] + tokenizer.eos_token).input_ids
    assert ids == encode_example(tokenizer, conversation, "transcript", 100).input_ids


def test_the_better_answer_is_the_chosen_one_and_an_even_label_is_left_out() -> None:
    def comparison(prob_a: float | None) -> Comparison:
        prompt = Conversation.of("How do I wash my dog?")
        return Comparison(
            id="x",
            prompt=prompt,
            a="first",
            b="second",
            goal="helpfulness",
            labeller="",
            prob_a=prob_a,
        )

    rows = chosen_and_rejected([comparison(p) for p in (0.9, 0.5, None, 0.2)])
    assert [row["chosen"].split()[-1] for row in rows] == ["first", "second"]
    assert rows[0]["chosen"] == "\n\nHuman: How do I wash my dog?\n\nAssistant: first"


@pytest.mark.slow
def test_a_comparison_runs_to_its_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.speed", "--small", "--threads", "1"]
    done = subprocess.run(
        [*command, "--work", str(tmp_path), "sampling_64"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "| `sampling_64` |" in done.stdout


def test_the_results_have_the_names_and_keys_that_are_promised() -> None:
    lines = json.loads((ROOT / "benchmarks" / "results.json").read_text())
    promised = {"name", "ours", "peer", "peer_name", "ratio", "unit", "floor_share"}
    assert all(promised <= line.keys() for line in lines)
