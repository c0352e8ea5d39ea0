"""PPO on a model of a few thousand weights: it learns, stops, and goes on after a kill."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from constitutional.dialogue import Conversation, prompt_for, prompt_ids
from constitutional.errors import TrainingError
from constitutional.packing import Batching
from constitutional.rl import checkpoint
from constitutional.rl.networks import Critic, begin_networks
from constitutional.rl.ppo import PPO, StepMetrics
from constitutional.rl.rollout import (
    Prompts,
    collate,
    logprobs_of,
    response_logits,
    sample_answers,
)
from constitutional.rl.settings import PPOConfig
from constitutional.rl.stopping import held_out_falls
from constitutional.runs.progress import QuietProgress

PADDED = Batching(packs=False)
CONFIG = PPOConfig(
    steps=6,
    batch_size=16,
    minibatch_size=8,
    epochs=2,
    learning_rate=3e-3,
    critic_learning_rate=3e-3,
    max_new_tokens=6,
    red_team_share=1.0,
    kl_coefficient=0.01,
    checkpoint_steps=2,
)


def says_yes(answers: Sequence[tuple[Conversation, str]]) -> list[float]:
    return [float(text.split().count("yes")) for _, text in answers]


def build(
    policy: Any, tokenizer: Any, preference_model: Any, prompts: Any, work: Path, **changes: Any
) -> PPO:
    options = {"score": says_yes, "offset": 0.0, "held_out_score": None, **changes}
    config = options.pop("config", CONFIG)
    offset = options["offset"]
    return PPO(
        begin_networks(copy.deepcopy(policy), preference_model, offset, config.lora, 0),
        tokenizer,
        prompts=Prompts(prompts, ()),
        config=config,
        seed=0,
        work=work,
        **options,
    )


def weights(ppo: PPO) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": tensor.clone()
        for name, part in ppo._learner.parts.items()
        if name in ("policy", "critic")
        for key, tensor in part.state_dict().items()
    }


def test_the_reward_rises(
    policy: Any, tokenizer: Any, preference_model: Any, prompts: Any, tmp_path: Path
) -> None:
    config = CONFIG.model_copy(update={"steps": 25})
    ppo = build(policy, tokenizer, preference_model, prompts, tmp_path, config=config)
    history = ppo.train(QuietProgress()).history
    first = sum(entry.reward for entry in history[:3]) / 3
    last = sum(entry.reward for entry in history[-3:]) / 3
    assert last > first + 1.5, (first, last)
    assert history[0].kl_k1 == pytest.approx(0, abs=1e-5), "the policy begins as the reference"
    assert history[-1].kl_k3 > 0.1
    assert all(entry.kl_k3 >= 0 for entry in history)
    assert all(entry.engine_gap < 1e-4 for entry in history)
    assert history[-1].entropy < history[0].entropy
    assert set(history[0].seconds) == {"sample", "score", "forward", "update"}


def test_a_training_that_was_cut_off_ends_bit_for_bit_as_one_that_was_not(
    policy: Any, tokenizer: Any, preference_model: Any, prompts: Any, tmp_path: Path
) -> None:
    parts = (policy, tokenizer, preference_model, prompts)
    whole = build(*parts, tmp_path / "whole")
    report = whole.train(QuietProgress())

    calls = 0

    def dies(answers: Sequence[tuple[Conversation, str]]) -> list[float]:
        nonlocal calls
        calls += 1
        if calls == 6:  # in the middle of step 6: the last checkpoint is that of step 4
            raise KeyboardInterrupt
        return says_yes(answers)

    cut = build(*parts, tmp_path / "cut", score=dies)
    with pytest.raises(KeyboardInterrupt):
        cut.train(QuietProgress())
    again = build(*parts, tmp_path / "cut")
    resumed = again.train(QuietProgress())
    assert len(resumed.history) == 6
    for ours, theirs in zip(resumed.history, report.history, strict=True):
        assert replace(ours, seconds={}) == replace(theirs, seconds={})
    expected = weights(whole)
    for name, tensor in weights(again).items():
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize("packs", [True, False])
def test_a_batch_changes_no_logprob_and_no_value(
    packs: bool,
    policy: Any,
    tokenizer: Any,
    preference_model: Any,
    prompts: Any,
    tmp_path: Path,
) -> None:
    """Each row of a ragged batch against the same row alone."""
    ppo = build(policy, tokenizer, preference_model, prompts, tmp_path)
    critic = Critic(preference_model.base_model, preference_model.score, 0.0).eval()
    completions = sample_answers(ppo._engine, prompts, 0, 6, 0)
    assert len({c.tokens for c in completions}) > 1
    batching = Batching(packs)
    together = collate(tokenizer, ppo._engine, prompts, completions, batching)
    with torch.no_grad(), batching.attention(policy, critic.trunk):
        many = logprobs_of(response_logits(policy.eval(), together), together)
        values = critic(together)
    with torch.no_grad():
        for row, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
            alone = collate(tokenizer, ppo._engine, [prompt], [completion], PADDED)
            one = logprobs_of(response_logits(policy, alone), alone)[0]
            n = completion.tokens
            assert torch.allclose(many[row, :n], one[:n], atol=1e-5)
            assert torch.allclose(values[row, :n], critic(alone)[0, :n], atol=1e-5)
            # and against a plain forward pass with no padding code at all
            ids = prompt_ids(tokenizer, prompt_for(prompt.conversation, "assistant", "transcript"))
            logits = policy(torch.tensor([[*ids, *completion.token_ids]])).logits[0]
            plain = torch.log_softmax(logits[len(ids) - 1 : -1], -1)
            drawn = torch.tensor(completion.token_ids)[:, None]
            assert torch.allclose(one[:n], plain.gather(-1, drawn)[:, 0], atol=1e-5)


def test_the_critic_begins_as_the_preference_model(
    policy: Any,
    tokenizer: Any,
    preference_model: Any,
    prompts: Any,
    tmp_path: Path,
) -> None:
    ppo = build(policy, tokenizer, preference_model, prompts, tmp_path)
    answers = sample_answers(ppo._engine, prompts[:1], 0, 6, 0)
    batch = collate(tokenizer, ppo._engine, prompts[:1], answers, PADDED)
    with torch.no_grad():
        began = preference_model.eval()
        first = Critic(began.base_model, began.score, 0.25)(batch)[0, 0]
        asked = torch.tensor([batch.ids[0][: batch.before[0]]])
        hidden = preference_model.model(asked).last_hidden_state
        assert first.item() == pytest.approx(
            preference_model.score(hidden)[0, -1, 0].item() - 0.25, abs=1e-5
        )


def test_the_kl_limit_stops(
    policy: Any, tokenizer: Any, preference_model: Any, prompts: Any, tmp_path: Path
) -> None:
    config = CONFIG.model_copy(update={"steps": 40, "kl_limit": 0.5})
    ppo = build(policy, tokenizer, preference_model, prompts, tmp_path, config=config)
    report = ppo.train(QuietProgress())
    assert report.steps < 40
    assert report.history[-1].kl_k1 > 0.5
    assert all(entry.kl_k1 <= 0.5 for entry in report.history[:-1])
    assert "is above 0.5" in report.ended
    again = build(policy, tokenizer, preference_model, prompts, tmp_path, config=config)
    assert again.train(QuietProgress()).ended == report.ended, "a stopped training stays stopped"


def history(rewards: Sequence[float], held_out: Sequence[float | None]) -> list[StepMetrics]:
    return [
        StepMetrics(i + 1, r, h, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
        for i, (r, h) in enumerate(zip(rewards, held_out, strict=True))
    ]


def test_the_held_out_rule() -> None:
    up = [i / 10 for i in range(30)]
    noise = [0.01 * (-1) ** i for i in range(30)]
    over = [min(x, 3 - x) + e for x, e in zip(up, noise, strict=True)]
    assert held_out_falls(history(up, up), 5) == ""
    assert held_out_falls(history(up[:18], over[:18]), 5) == "", "it has barely turned"
    assert "since step" in held_out_falls(history(up, over), 5)
    assert held_out_falls(history(up[::-1], over), 5) == "", "both fall: not over-training"
    assert held_out_falls(history(up, [None] * 30), 5) == ""
    assert held_out_falls(history(up[:9], over[:9]), 5) == "", "too few steps for two windows"


def test_a_loss_that_is_no_number_names_step_and_prompts(
    policy: Any, tokenizer: Any, preference_model: Any, prompts: Any, tmp_path: Path
) -> None:
    def broken(answers: Sequence[tuple[Conversation, str]]) -> list[float]:
        return [float("nan")] * len(answers)

    ppo = build(policy, tokenizer, preference_model, prompts, tmp_path, score=broken)
    with pytest.raises(TrainingError, match=r"step 1: .* score of an answer to prompt p\d is nan"):
        ppo.train(QuietProgress())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        # the second minibatch meets what the first has done
        ({"learning_rate": 1e36}, "a number of PPO is not finite"),
        # and there is none to meet it
        (
            {"learning_rate": 1e39, "epochs": 1, "minibatch_size": 16},
            "of the policy are no longer finite",
        ),
    ],
)
def test_weights_that_run_away_leave_the_checkpoint_from_before(
    policy: Any,
    tokenizer: Any,
    preference_model: Any,
    prompts: Any,
    tmp_path: Path,
    changes: dict[str, Any],
    says: str,
) -> None:
    def ppo(**more: Any) -> PPO:
        config = CONFIG.model_copy(update={"steps": 2, "checkpoint_steps": 1, **more})
        return build(policy, tokenizer, preference_model, prompts, tmp_path, config=config)

    ppo().train(QuietProgress())
    with pytest.raises(TrainingError, match=rf"step 3: .*{says}.*prompt p\d.*is whole: .*step-2;"):
        ppo(steps=4, **changes).train(QuietProgress())
    again = ppo()
    snapshots = tmp_path / "snapshots"
    restored = checkpoint.restore(tmp_path, again._learner.parts, snapshots, QuietProgress())
    assert restored is not None and restored["step"] == 2
    assert all(torch.isfinite(weight).all() for weight in weights(again).values())


def test_a_preference_model_that_tells_nothing_apart_stops_at_its_third_batch(
    policy: Any, tokenizer: Any, preference_model: Any, prompts: Any, tmp_path: Path
) -> None:
    with torch.no_grad():  # a real one, which has lost its head
        preference_model.score.weight.zero_()

    @torch.no_grad()
    def score(answers: Sequence[tuple[Conversation, str]]) -> list[float]:
        ids = tokenizer([f"{text} <end>" for _, text in answers], padding=True, return_tensors="pt")
        scores = preference_model(ids["input_ids"], attention_mask=ids["attention_mask"]).logits
        return [float(one) for one in scores[:, 0]]

    steps = CONFIG.model_copy(update={"checkpoint_steps": 1})
    ppo = build(policy, tokenizer, preference_model, prompts, tmp_path, config=steps, score=score)
    with pytest.raises(TrainingError, match=r"step 3: .*same score, 0, .*p\d.*step-2; look"):
        ppo.train(QuietProgress())


def test_prompts_come_in_the_set_ratio_and_each_once_a_pass(prompts: Any) -> None:
    helpful = [p.model_copy(update={"id": f"h{p.id}", "kind": "helpful"}) for p in prompts]
    drawn = Prompts(prompts, helpful)
    ids = []
    for step in range(4):
        batch = drawn.batch(step, 4, 0.75, seed=1)
        assert [p.kind for p in batch] == ["red_team"] * 3 + ["helpful"]
        ids += [p.id for p in batch if p.kind == "red_team"]
    assert sorted(ids[:6]) == sorted(ids[6:]) == sorted(p.id for p in prompts)
    assert ids[:6] != ids[6:], "each pass has its own order"
    assert [p.id for p in drawn.batch(2, 4, 0.75, seed=1)] == [
        p.id for p in drawn.batch(2, 4, 0.75, seed=1)
    ]
