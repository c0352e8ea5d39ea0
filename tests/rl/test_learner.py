"""Policy and critic learn at the same time what they learn one after the other."""

from __future__ import annotations

import copy
import threading
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from constitutional.engines.local import LocalEngine
from constitutional.packing import Batching
from constitutional.rl.learner import AtOnce, Learner, Rollouts, chunks
from constitutional.rl.networks import begin_networks
from constitutional.rl.rollout import collate, logprobs_of, response_logits, sample_answers
from constitutional.rl.settings import PPOConfig

CONFIG = PPOConfig(batch_size=6, minibatch_size=3, epochs=2, learning_rate=1e-2)


@pytest.fixture
def two_threads() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def learnt(
    policy: Any, tokenizer: Any, preference_model: Any, prompts: Any, *, apart: bool
) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """What a step on made-up advantages reports, and the weights behind it."""
    networks = begin_networks(policy, preference_model, 0.0, None, 0)
    networks.apart = apart
    learner = Learner(networks, CONFIG, Accelerator(cpu=True), seed=0)
    engine = LocalEngine(networks.policy, tokenizer, name="policy")
    chosen = list(prompts)[:6]
    answers = sample_answers(engine, chosen, 0, 6, 0)
    batching = Batching.of(*networks.models)
    batch = collate(tokenizer, engine, chosen, answers, batching)
    drawn = torch.randn(batch.mask.shape, generator=torch.Generator().manual_seed(1))
    with batching.attention(*networks.models):
        with torch.no_grad():
            old = logprobs_of(response_logits(learner.policy, batch), batch)
            values = learner.critic(batch)
        rollouts = Rollouts(batch, old, values, drawn, values + drawn)
        found = learner.learn(rollouts, 0, chosen)
    weights = {
        f"{name}.{key}": tensor
        for name in ("policy", "critic")
        for key, tensor in learner.parts[name].state_dict().items()
    }
    return found, weights


def test_at_once_and_one_after_the_other_give_the_same(
    policy: Any, tokenizer: Any, preference_model: Any, prompts: Any, two_threads: None
) -> None:
    before = {f"policy.{k}": v.clone() for k, v in policy.state_dict().items()}
    runs = [
        learnt(copy.deepcopy(policy), tokenizer, preference_model, prompts, apart=apart)
        for apart in (True, True, False)
    ]
    (found, weights), (again, same), (in_turn, others) = runs
    assert found == again
    assert found == pytest.approx(in_turn, abs=1e-6)
    for name, tensor in weights.items():
        assert torch.equal(tensor, same[name]), f"{name}: the same bytes each time"
        assert torch.allclose(tensor, others[name], atol=1e-5), name
    assert any(not torch.equal(weights[name], tensor) for name, tensor in before.items())


def test_each_has_half_of_the_threads(two_threads: None) -> None:
    seen = {}

    def looks(name: str) -> str:
        seen[name] = (threading.current_thread().name, torch.get_num_threads())
        return name

    assert AtOnce()(lambda: looks("first"), lambda: looks("second")) == ("first", "second")
    assert seen["first"] == (threading.current_thread().name, 1)
    assert seen["second"][0] != seen["first"][0] and seen["second"][1] == 1
    assert torch.get_num_threads() == 2, "it is given back"


def test_with_one_thread_they_take_turns() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    names: list[str] = []

    def tells() -> None:
        names.append(threading.current_thread().name)

    AtOnce()(tells, tells)
    torch.set_num_threads(before)
    assert names == [threading.current_thread().name] * 2


@pytest.mark.parametrize("which", [0, 1])
def test_an_error_of_either_comes_out_when_both_have_ended(which: int, two_threads: None) -> None:
    ended = threading.Event()

    def fails() -> None:
        raise ValueError("broken")

    def ends() -> None:
        ended.wait(0.2)
        ended.set()

    works = [fails, ends] if which == 0 else [ends, fails]
    with pytest.raises(ValueError, match="broken"):
        AtOnce()(*works)
    assert ended.is_set()
    assert torch.get_num_threads() == 2


def test_chunks_hold_every_row_once() -> None:
    assert [part.tolist() for part in chunks(torch.arange(5), 2)] == [[0, 1], [2, 3], [4]]
