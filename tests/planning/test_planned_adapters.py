"""What a plan says of trainings with adapters, beside networks that are built."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

from constitutional.adapters import with_adapters
from constitutional.engines.loading import load_parts
from constitutional.errors import RecipeError
from constitutional.planning.amounts import amount
from constitutional.planning.memory import (
    activation_bytes,
    trained_weights,
    training_weights,
    work_memory,
)
from constitutional.planning.rl import has_one_base
from constitutional.planning.shape import shape_of
from constitutional.planning.work import Work
from constitutional.recipe import Recipe, load_recipe
from constitutional.training_settings import LoraSettings

SIZES: dict[str, Any] = {
    "vocab_size": 400,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_labels": 1,
}


def work(folder: Path, **more: Any) -> Work:
    common = dict.fromkeys(("sequences", "prompt", "longest"), amount(8))
    shape = shape_of(str(folder))
    return Work(what="", kind="train", model=shape, batch=2, **common, **more)


def weights(network: Any) -> int:
    return sum(weight.nbytes for weight in network.parameters())


@pytest.fixture
def base(tmp_path: Path) -> Path:
    LlamaForCausalLM(LlamaConfig(**SIZES)).save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def test_weights_of_trainings_with_adapters_are_those_of_networks(base: Path) -> None:
    pytest.importorskip("peft")
    lora = LoraSettings(rank=4)
    policy = with_adapters(LlamaForCausalLM.from_pretrained(base), lora, 0, what="this")
    planned = work(base, lora=lora)
    assert training_weights(planned) == weights(policy)
    learning = sum(weight.numel() for weight in policy.parameters() if weight.requires_grad)
    assert trained_weights(planned) == learning
    scorer = with_adapters(
        LlamaForSequenceClassification.from_pretrained(base), lora, 0, what="this", head="score"
    )
    planned = work(base, lora=lora, language_model=False)
    # peft keeps the head twice: as it was, and as it is trained
    assert training_weights(planned) == pytest.approx(weights(scorer), rel=2e-3)
    two = work(base, lora=lora, critic=True, bases=2, adapters=2)
    assert training_weights(two) == pytest.approx(weights(policy) + weights(scorer), rel=2e-3)
    assert trained_weights(two) == 2 * learning


def test_policy_and_critic_that_learn_at_once_are_planned_so(base: Path) -> None:
    """On a CPU, where they share no weights; else the one begins when the other has ended."""
    lora = LoraSettings(rank=4)
    for more, gpu, at_once in [
        ({}, False, True),
        ({}, True, False),
        ({"lora": lora, "bases": 2, "adapters": 2}, False, True),
        ({"lora": lora, "bases": 1, "adapters": 4}, False, False),
    ]:
        alone, planned = work(base, **more), work(base, critic=True, **more)
        memory = work_memory(planned, 0.0, gpu=gpu)
        critic = work(base, language_model=False, **more)
        gradients = trained_weights(planned) if at_once else trained_weights(alone)
        assert memory.gradients.value == 4 * gradients
        kept = activation_bytes(alone) + (activation_bytes(critic) if at_once else 0)
        assert memory.activations.value == kept.value
        assert memory.activations.low == activation_bytes(alone).low, "with one thread they do not"


def test_weights_in_4_bits_are_those_of_bitsandbytes(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("bitsandbytes")
    from constitutional.engines import loading

    monkeypatch.setattr(loading, "TOKENIZER_FILES", ("config.json",))
    monkeypatch.setattr(loading.AutoTokenizer, "from_pretrained", lambda *_, **__: None)
    network, _ = load_parts(base, device="cpu", dtype="float32", quantize="4bit")
    scales = [
        tensor
        for module in network.modules()
        if (state := getattr(getattr(module, "weight", None), "quant_state", None))
        for tensor in (state.absmax, state.state2.absmax)
    ]
    planned = work(base, lora=LoraSettings(rank=1, quantize="4bit"), adapters=0)
    found = weights(network) + sum(tensor.nbytes for tensor in scales)
    assert training_weights(planned) == pytest.approx(found, rel=0.01)
    assert all(tensor.dtype in (torch.uint8, torch.float32) for tensor in network.parameters())


def test_one_base_is_planned_where_a_run_would_have_it(small_recipe: Callable[..., Path]) -> None:
    lora = {"rank": 2}
    prompts = {"file": "microworld:prompts/rl_helpful.jsonl", "limit": 4}

    def recipe(finetune: Any, preference: Any, ppo: Any, **more: Any) -> Recipe:
        rl = {
            "comparisons": prompts,
            "helpfulness": {"prompts": prompts},
            "red_team": prompts,
            "helpful": prompts,
            "preference": {"lora": preference},
            "ppo": {"lora": ppo},
            **more,
        }
        rl = json.loads(json.dumps(rl))  # copies, since YAML would write aliases
        return load_recipe(small_recipe(finetune={"lora": finetune}, rl=rl))

    assert has_one_base(recipe(lora, lora, lora), "rl_cai")
    assert not has_one_base(recipe(lora, lora, None), "rl_cai")
    assert not has_one_base(recipe(lora, None, lora), "rl_cai")
    assert not has_one_base(recipe(lora, {"rank": 4}, lora), "rl_cai")
    assert not has_one_base(recipe(None, lora, lora), "rl_cai")
    assert has_one_base(recipe(None, lora, lora), "helpful_rlhf"), "it begins from the base"
    ranked = {"file": "microworld:prompts/ranked_answers.jsonl"}
    assert has_one_base(recipe(lora, lora, lora, pmp=ranked | {"lora": lora}), "rl_cai")
    assert not has_one_base(recipe(lora, lora, lora, pmp=ranked), "rl_cai")
    with pytest.raises(RecipeError, match="goes on with the adapters of pmp: give both the same"):
        recipe(lora, lora, lora, pmp=ranked | {"lora": {"rank": 4}})
