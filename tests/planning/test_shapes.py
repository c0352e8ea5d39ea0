"""Parameters, arithmetic and activations, against `transformers` and torch's own counters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from constitutional.errors import ModelError
from constitutional.planning.amounts import amount
from constitutional.planning.arithmetic import adapter_parameters, forward_flops, logit_flops
from constitutional.planning.memory import cache_bytes, kept_per_token
from constitutional.planning.shape import ModelShape, shape_from_config, shape_of

SIZES = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 301,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    "family", ["llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text"]
)
def test_parameters_are_those_of_transformers(family: str, tied: bool) -> None:
    sizes = dict(SIZES)
    if family == "qwen2":
        sizes["head_dim"] = 12  # it has no key of its own for them
    config = AutoConfig.for_model(family, **sizes, tie_word_embeddings=tied)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert shape_from_config(config.to_dict(), "x").parameters == model.num_parameters()


@pytest.mark.parametrize("bias", ["attention_bias", "mlp_bias"])
def test_biases_count(bias: str) -> None:
    config = LlamaConfig(**SIZES, **{bias: True})
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    assert shape_from_config(config.to_dict(), "x").parameters == model.num_parameters()


#: As the hub's pages give them.
PUBLISHED = {
    "Qwen/Qwen2.5-0.5B": 494_032_768,
    "Qwen/Qwen2.5-1.5B": 1_543_714_304,
    "Qwen/Qwen2.5-3B": 3_085_938_688,
    "Qwen/Qwen2.5-7B": 7_615_616_512,
    "Qwen/Qwen2.5-14B": 14_770_033_664,
    "Qwen/Qwen2.5-32B": 32_763_876_352,
    "Qwen/Qwen2.5-72B": 72_706_203_648,
    "Qwen/Qwen3-0.6B": 596_049_920,
    "Qwen/Qwen3-1.7B": 1_720_574_976,
    "Qwen/Qwen3-4B": 4_022_468_096,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "Qwen/Qwen3-14B": 14_768_307_200,
    "Qwen/Qwen3-32B": 32_762_123_264,
    "meta-llama/Llama-3.2-1B": 1_235_814_400,
    "meta-llama/Llama-3.2-3B": 3_212_749_824,
    "meta-llama/Llama-3.1-8B": 8_030_261_248,
    "meta-llama/Llama-3.1-70B": 70_553_706_496,
    "mistralai/Mistral-7B-v0.3": 7_248_023_552,
    "google/gemma-2-2b": 2_614_341_888,
    "google/gemma-2-9b": 9_241_705_984,
    "google/gemma-3-1b-it": 999_885_952,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_known_sizes_have_the_published_parameters(name: str) -> None:
    assert shape_of(name).parameters == PUBLISHED[name]


def test_the_papers_size() -> None:
    assert shape_of("52B").parameters == pytest.approx(52e9, rel=0.01)


def small() -> tuple[Any, ModelShape]:
    # torch does not count the fused attention of a CPU
    config = LlamaConfig(**SIZES, attn_implementation="eager")
    torch.manual_seed(0)
    return LlamaForCausalLM(config), shape_from_config(config.to_dict(), "x")


def test_flops_are_those_that_torch_counts() -> None:
    model, shape = small()
    rows, length = 2, 24
    ids = torch.zeros(rows, length, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        loss = model(input_ids=ids, labels=ids).loss
        forward = counter.get_total_flops()
        loss.backward()
    tokens = amount(rows * length)
    # torch counts the scores of every position, also of those that are masked
    expected = forward_flops(shape, tokens, length) + logit_flops(shape, tokens)
    assert forward == expected.value
    assert counter.get_total_flops() == 3 * forward


def test_flops_by_hand() -> None:
    shape = ModelShape(
        name="x", layers=1, width=2, inner=3, heads=1, kv_heads=1, head_size=2, vocabulary=5
    )
    # four 2x2 matrices and three 2x3: 34 entries; scores and sum over 10 positions of width 2
    assert forward_flops(shape, amount(7), 10).value == 7 * (2 * 34 + 4 * 2 * 10)
    assert logit_flops(shape, amount(7)).value == 7 * 2 * 2 * 5
    assert adapter_parameters(shape, 4) == 4 * (4 * 4 + 3 * 5)


def test_the_cache_of_grouped_queries_by_hand() -> None:
    # Llama 3.1 8B: 32 layers x 2 x 8 heads x 128 x 2 bytes = 128 KiB for each token
    assert cache_bytes(shape_of("meta-llama/Llama-3.1-8B"), 1, 1, 2) == 128 * 1024


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_what_layers_keep_is_what_autograd_saves(family: str) -> None:
    def saved(layers: int) -> float:
        sizes = {**SIZES, "num_hidden_layers": layers, "num_key_value_heads": 4}
        config = AutoConfig.for_model(family, **sizes, attn_implementation="sdpa")
        model = AutoModelForCausalLM.from_config(config).train()
        weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
        found: dict[int, torch.Tensor] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            if tensor.untyped_storage().data_ptr() not in weights:
                found[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        ids = torch.zeros(4, 32, dtype=torch.long)
        mask = torch.ones_like(ids)
        mask[0, -1] = 0
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = model(input_ids=ids, attention_mask=mask, labels=ids).loss
        assert loss > 0
        return sum(t.untyped_storage().nbytes() for t in found.values()) / 4 / ids.numel()

    def shape(layers: int) -> ModelShape:
        sizes = {**SIZES, "num_hidden_layers": layers, "num_key_value_heads": 4}
        return shape_from_config({"model_type": family, **sizes}, "x")

    one_more = kept_per_token(shape(3), 32) - kept_per_token(shape(2), 32)
    assert saved(3) - saved(2) == pytest.approx(one_more, abs=1)


def test_a_shape_is_read_from_a_folder_a_file_and_the_table(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **SIZES}))
    assert shape_of(str(folder)).name == "model"
    assert shape_of(str(folder)) == shape_of(str(folder / "config.json"))
    assert shape_of(str(folder), as_written="mine").name == "mine"


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"model_type": "mamba"}, "mamba"),
        ({"model_type": "llama"}, "num_attention_heads"),
        ({"model_type": "llama", **SIZES, "num_hidden_layers": 0}, "layers"),
    ],
)
def test_a_configuration_that_cannot_be_planned(config: dict[str, object], word: str) -> None:
    with pytest.raises(ModelError, match=word):
        shape_from_config(config, "x")


def test_an_unknown_model_is_refused_with_the_way_out() -> None:
    with pytest.raises(ModelError, match="--shape somebody/model=FILE"):
        shape_of("somebody/model")
