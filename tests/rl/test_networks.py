"""PPO with adapters: less is trained and held, and it learns, stops and goes on as without them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from constitutional.dialogue import Conversation
from constitutional.packing import Batching
from constitutional.rl.networks import begin_networks
from constitutional.rl.ppo import PPO
from constitutional.rl.rollout import Prompts, collate, response_logits, sample_answers
from constitutional.rl.settings import PPOConfig
from constitutional.runs.progress import QuietProgress
from constitutional.training_settings import LoraSettings

CONFIG = PPOConfig(
    steps=4,
    batch_size=16,
    minibatch_size=8,
    epochs=2,
    learning_rate=1e-2,
    critic_learning_rate=1e-2,
    max_new_tokens=6,
    red_team_share=1.0,
    kl_coefficient=0.01,
    checkpoint_steps=2,
    snapshot_steps=2,
    lora=LoraSettings(rank=8, alpha=32),
)

Build = Callable[..., PPO]


def says_yes(answers: Sequence[tuple[Conversation, str]]) -> list[float]:
    return [float(text.split().count("yes")) for _, text in answers]


@pytest.fixture
def policy(policy: Any) -> Any:
    """The frozen output layer of a model that was drawn at random is too small to say anything."""
    with torch.no_grad():
        policy.lm_head.weight.mul_(20)
    return policy


@pytest.fixture
def build(policy: Any, tokenizer: Any, preference_model: Any, prompts: Any) -> Build:
    """A training of copies of the same two models."""
    pytest.importorskip("peft")

    def build(work: Path, **changes: Any) -> PPO:
        options = {"score": says_yes, "config": CONFIG, **changes}
        scorer = options.pop("preference_model", None) or copy.deepcopy(preference_model)
        lora = options["config"].lora
        return PPO(
            begin_networks(copy.deepcopy(policy), scorer, 0.0, lora, 0),
            tokenizer,
            offset=0.0,
            held_out_score=None,
            prompts=Prompts(prompts, ()),
            seed=0,
            work=work,
            **options,
        )

    return build


def test_the_reward_rises_and_only_adapters_and_the_value_head_change(
    build: Build, policy: Any, tmp_path: Path
) -> None:
    ppo = build(tmp_path, config=CONFIG.model_copy(update={"steps": 25}))
    history = ppo.train(QuietProgress()).history
    assert history[0].kl_k1 == pytest.approx(0, abs=1e-5), "the policy begins as the reference"
    assert sum(e.reward for e in history[-3:]) > sum(e.reward for e in history[:3]) + 3
    assert all(entry.engine_gap < 1e-4 for entry in history)
    for module in (ppo._networks.policy, ppo._networks.critic):
        names = {n for n, weight in module.named_parameters() if weight.requires_grad}
        assert names
        assert all("lora_" in n or n.startswith("head.") for n in names)
    began = policy.state_dict()
    for name, tensor in ppo._networks.policy.state_dict().items():
        plain = name.replace(".base_layer", "")
        if plain in began:
            assert torch.equal(tensor, began[plain]), name


def test_the_reference_and_the_preference_model_stay_as_they_were(
    build: Build, policy: Any, tokenizer: Any, preference_model: Any, prompts: Any, tmp_path: Path
) -> None:
    """They have no weights of their own: only the adapters' absence makes them."""
    scored = copy.deepcopy(preference_model).eval()
    ids = torch.tensor([[2, 3, 4, 1]])
    ppo = build(tmp_path, preference_model=scored)
    answers = sample_answers(ppo._engine, prompts, 0, 6, 0)
    batch = collate(tokenizer, ppo._engine, prompts, answers, Batching(packs=False))
    with torch.no_grad():
        before = scored(ids).logits
    ppo.train(QuietProgress())
    with torch.no_grad():
        reference, now = (
            ppo._networks.reference_logits(batch),
            response_logits(ppo._networks.policy, batch),
        )
        assert torch.allclose(reference, response_logits(policy.eval(), batch), atol=1e-6)
        assert not torch.allclose(now, reference, atol=1e-3)
        with ppo._networks.scoring():
            assert torch.allclose(scored(ids).logits, before, atol=1e-6)
        assert not torch.allclose(scored(ids).logits, before, atol=1e-6), "the critic's trunk"


def test_a_killed_training_ends_as_one_that_was_not(build: Build, tmp_path: Path) -> None:
    whole = build(tmp_path / "whole")
    report = whole.train(QuietProgress())
    calls = 0

    def dies(answers: Sequence[tuple[Conversation, str]]) -> list[float]:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return says_yes(answers)

    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "cut", score=dies).train(QuietProgress())
    again = build(tmp_path / "cut")
    resumed = again.train(QuietProgress())
    for ours, theirs in zip(resumed.history, report.history, strict=True):
        assert replace(ours, seconds={}) == replace(theirs, seconds={})
    for part in ("policy", "critic"):
        expected = whole._learner.parts[part].state_dict()
        for name, tensor in again._learner.parts[part].state_dict().items():
            assert torch.equal(tensor, expected[name]), name


def test_the_saved_policy_is_a_plain_folder_with_its_adapters_beside(
    build: Build, tokenizer: Any, prompts: Any, tmp_path: Path
) -> None:
    ppo = build(tmp_path / "work")
    ppo.train(QuietProgress())
    answers = sample_answers(ppo._engine, prompts, 0, 6, 0)
    batch = collate(tokenizer, ppo._engine, prompts, answers, Batching(packs=False))
    ppo.save_policy(tmp_path / "policy")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "policy").eval()
    with torch.no_grad():
        expected = response_logits(ppo._networks.policy, batch)
        assert torch.allclose(response_logits(plain, batch), expected, atol=1e-5)
    assert (tmp_path / "policy/adapter/adapter_model.safetensors").is_file()
    assert (tmp_path / "work/snapshots/step-2/model.safetensors").is_file()
