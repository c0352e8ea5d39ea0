"""RLOO and GRPO on a shipped model: they read what PPO reads, learn, stop, and are resumed."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from microworld_policies import START, files, says_you, shipped_prompts
from pydantic import ValidationError

from constitutional.dialogue import Conversation
from constitutional.engines.loading import load_parts
from constitutional.engines.local import LocalEngine
from constitutional.errors import MissingExtraError, TrainingError
from constitutional.microworld import data_file
from constitutional.packing import Batching
from constitutional.rl.groups import GroupReport, group_trainer, train_groups
from constitutional.rl.measure import Rollouts
from constitutional.rl.rollout import collate, sample_answers
from constitutional.rl.settings import GroupConfig, GRPOConfig, RLOOConfig
from constitutional.rl.trl import quiet
from constitutional.runs.progress import QuietProgress

KINDS = {"rloo": RLOOConfig, "grpo": GRPOConfig}
SHORT: dict[str, Any] = {
    "steps": 4,
    "batch_size": 16,
    "minibatch_size": 8,
    "epochs": 2,
    "group_size": 4,
    "learning_rate": 3e-4,
    "max_new_tokens": 24,
    "checkpoint_steps": 2,
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def train(algorithm: str, work: Path, score: Any = says_you, **changes: Any) -> GroupReport:
    return train_groups(
        START,
        config=KINDS[algorithm](**{**SHORT, **changes}),
        prompts=shipped_prompts(),
        score=score,
        held_out_score=None,
        seed=3,
        work=work,
        progress=QuietProgress(),
        device="cpu",
    )


def apart_from_seconds(report: GroupReport) -> list[dict[str, Any]]:
    return [{**vars(entry), "seconds": None} for entry in report.history]


@pytest.mark.parametrize("algorithm", KINDS)
def test_trl_is_given_the_ids_that_ppo_sees(algorithm: str, tmp_path: Path) -> None:
    config, prompts = KINDS[algorithm](**SHORT), shipped_prompts()
    # the pretrained model often goes on with the human's next turn, and is stopped there
    policy, tokenizer = load_parts(data_file("pretrained"), device="cpu", dtype="float32")
    with quiet():
        trainer = group_trainer(policy, tokenizer, config, prompts, 3, tmp_path, "cpu")
    engine = LocalEngine(policy, tokenizer, name="policy")
    trainer.answers.rollouts = Rollouts(
        engine, tokenizer, trainer.ref_model, says_you, None, config.max_new_tokens, 8, 3
    )
    rows = [row["prompt"] for row in next(iter(trainer.get_train_dataloader()))]
    ids, answers = trainer._generate(rows)[:2]

    asked = [p for p in prompts.batch(0, 4, 0.5, 3) for _ in range(4)]
    completions = sample_answers(engine, asked, 0, config.max_new_tokens, 3)
    batch = collate(tokenizer, engine, asked, completions, Batching(packs=False))
    for row, (prompt, answer) in enumerate(zip(ids, answers, strict=True)):
        assert [*prompt, *answer] == batch.ids[row]
        assert answer == list(completions[row].token_ids)
    assert {c.ended for c in completions} == {"eos", "stop"}, "a stop string's tokens are seen too"
    assert trainer.answers.rewards() == says_you(
        [(p.conversation, c.text.strip()) for p, c in zip(asked, completions, strict=True)]
    )


@pytest.mark.parametrize("algorithm", KINDS)
def test_the_reward_rises(algorithm: str, tmp_path: Path) -> None:
    calls: list[Sequence[tuple[Conversation, str]]] = []

    def score(answers: Sequence[tuple[Conversation, str]]) -> list[float]:
        calls.append(answers)
        return says_you(answers)

    report = train(algorithm, tmp_path, score, steps=6, learning_rate=1e-3)
    first, last = report.history[0], report.history[-1]
    assert last.reward > first.reward + 0.3, (first.reward, last.reward)
    assert first.kl_k1 == pytest.approx(0, abs=1e-4), "the policy begins as the reference"
    assert last.kl_k3 > 0.1
    assert first.answers == 16 and first.reward_half_width is not None
    assert set(first.seconds) == {"sample", "score", "forward", "update"}
    for step, answers in enumerate(calls):
        asked = [p for p in shipped_prompts().batch(step, 4, 0.5, 3) for _ in range(4)]
        assert [conversation for conversation, _ in answers] == [p.conversation for p in asked]
    written = json.loads((tmp_path / "result/training.json").read_text())
    assert written["algorithm"] == algorithm
    assert written["ended"] == "all steps done"
    assert [entry["step"] for entry in written["history"]] == [1, 2, 3, 4, 5, 6]
    assert LocalEngine.load(tmp_path / "result", device="cpu").style == "transcript"


@pytest.mark.parametrize("algorithm", KINDS)
def test_a_training_that_was_cut_off_ends_with_the_same_bytes(
    algorithm: str, tmp_path: Path
) -> None:
    small = {"batch_size": 8, "minibatch_size": 4, "group_size": 2, "snapshot_steps": 2}
    whole = train(algorithm, tmp_path / "whole", **small)
    calls = 0

    def dies(answers: Sequence[tuple[Conversation, str]]) -> list[float]:
        nonlocal calls
        calls += 1
        if calls == 4:  # in the last step: the last checkpoint is that of step 2
            raise KeyboardInterrupt
        return says_you(answers)

    with pytest.raises(KeyboardInterrupt):
        train(algorithm, tmp_path / "cut", dies, **small)
    assert not (tmp_path / "cut/result").exists()
    steps = 0

    def counts(answers: Sequence[tuple[Conversation, str]]) -> list[float]:
        nonlocal steps
        steps += 1
        return says_you(answers)

    resumed = train(algorithm, tmp_path / "cut", counts, **small)
    assert steps == 2, "it went on from step 2"
    assert apart_from_seconds(resumed) == apart_from_seconds(whole)
    expected = files(tmp_path / "whole/result")
    assert "snapshots/step-4/model.safetensors" in expected
    assert files(tmp_path / "cut/result") == expected


def test_the_kl_limit_stops_before_the_last_step(tmp_path: Path) -> None:
    report = train("rloo", tmp_path, steps=8, learning_rate=1e-3, kl_limit=0.05)
    assert report.steps < 8
    assert report.history[-1].kl_k1 > 0.05
    assert "is above 0.05" in report.ended


def test_without_a_penalty_the_divergence_is_still_known(tmp_path: Path) -> None:
    report = train("rloo", tmp_path, steps=2, learning_rate=1e-3, kl_coefficient=0)
    assert report.history[0].kl_k1 == pytest.approx(0, abs=1e-4)
    assert report.history[1].kl_k3 > 1e-3


def test_a_score_that_is_no_number_names_step_and_prompt(tmp_path: Path) -> None:
    """TRL takes NaN for "not to be scored" and goes on."""
    first = shipped_prompts().batch(0, 4, 0.5, 3)[0].id

    def broken(answers: Sequence[tuple[Conversation, str]]) -> list[float]:
        return [float("nan")] * len(answers)

    with pytest.raises(TrainingError, match=f"step 1: .* prompt {first} is nan"):
        train("grpo", tmp_path, broken)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"group_size": 3}, "batch_size 128 must be a multiple of group_size 3"),
        ({"minibatch_size": 50}, "batch_size 128 must be a multiple of minibatch_size 50"),
        ({"group_size": 1}, "greater than or equal to 2"),
        ({"scale_rewards": "std"}, "'group', 'batch' or 'none'"),
        ({"critic_learning_rate": 1e-5}, "Extra inputs are not permitted"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        GRPOConfig(**changes)
    assert issubclass(GRPOConfig, GroupConfig)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "constitutional.rl.trl")
    monkeypatch.setitem(sys.modules, "trl", None)
    with pytest.raises(MissingExtraError, match=r"constitutional\[trl\]"):
        importlib.import_module("constitutional.rl.trl")


@pytest.mark.parametrize("algorithm", KINDS)
def test_weights_that_run_away_stop_with_the_step_and_its_prompts(
    algorithm: str, tmp_path: Path
) -> None:
    prompts = {p.id for p in (*shipped_prompts().red_team, *shipped_prompts().helpful)}
    with pytest.raises(TrainingError, match=r"step \d: .*; look at these records") as caught:
        train(algorithm, tmp_path, steps=4, learning_rate=1e38)
    named = re.findall(r"prompt ([^ ,;]+)", str(caught.value).split("the batch is")[1])
    assert named and set(named) <= prompts


def test_scores_that_are_all_the_same_stop_at_the_third_batch(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"step 3: .*the same score, 1, and so tells nothing"):
        train("rloo", tmp_path, lambda answers: [1.0] * len(answers), steps=4)
