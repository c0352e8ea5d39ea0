"""Counts of the benchmarks' floors, beside torch's own counter and sums done by hand."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from benchmarks.speed.floor import (
    Need,
    Shape,
    distinct_positions,
    forward_flops,
    measured_rates,
    optimizer_bytes,
    sampling_bytes,
    training_flops,
)
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM

CONFIG = LlamaConfig(
    vocab_size=97,
    hidden_size=48,
    intermediate_size=80,
    num_hidden_layers=3,
    num_attention_heads=6,
    num_key_value_heads=2,
    head_dim=16,
    attn_implementation="eager",
)


@pytest.fixture(scope="module")
def network() -> LlamaForCausalLM:
    return LlamaForCausalLM(CONFIG)


def test_the_weights_of_a_shape_are_those_of_the_layers(network: LlamaForCausalLM) -> None:
    linear = [m for m in network.model.modules() if isinstance(m, torch.nn.Linear)]
    assert Shape.of(CONFIG).weights == sum(m.weight.numel() for m in linear)


def _counted(network: LlamaForCausalLM, length: int, *, backward: bool) -> int:
    with FlopCounterMode(display=False) as counter:
        logits = network(torch.zeros(1, length, dtype=torch.long)).logits
        if backward:
            logits.sum().backward()
    total: int = counter.get_total_flops()
    return total


def test_a_forward_pass_costs_what_torch_counts(network: LlamaForCausalLM) -> None:
    length, shape = 33, Shape.of(CONFIG)
    counted = _counted(network, length, backward=False)
    # torch computes the whole square of positions, of which a token needs what is before it
    unseen = 4 * shape.attended * shape.layers * length * (length - 1) // 2
    assert forward_flops(shape, range(length), heads=length) + unseen == counted


def test_a_training_pass_costs_three_forward_passes(network: LlamaForCausalLM) -> None:
    length, shape = 33, Shape.of(CONFIG)
    counted = _counted(network, length, backward=True)
    unseen = 3 * 4 * shape.attended * shape.layers * length * (length - 1) // 2
    found = training_flops(shape, [length], heads=length) + unseen
    # the gradient of the first layer's input is not asked for where embeddings are not trained
    assert counted == pytest.approx(found, rel=1e-3)


@given(st.lists(st.lists(st.integers(0, 2), max_size=6), max_size=8))
def test_distinct_positions_count_each_beginning_once(rows: list[list[int]]) -> None:
    beginnings = {tuple(row[:end]) for row in rows for end in range(1, len(row) + 1)}
    assert sorted(distinct_positions(rows)) == sorted(len(one) - 1 for one in beginnings)


def test_sampling_reads_weights_each_step_and_each_rows_own_past() -> None:
    shape = Shape(layers=2, hidden=4, attended=4, key_value=2, intermediate=8, vocabulary=10)
    # a layer: 4 x (4 + 2 + 2), 4 x 4, 4 x 16, 8 x 4; the head: 4 x 10
    weights = 2 * (32 + 16 + 64 + 32) + 40
    contexts: Sequence[int] = [5, 6, 7]
    expected = 4 * (3 * weights + 2 * 2 * 2 * 18)
    assert sampling_bytes(shape, contexts, steps=3, width=4) == expected


def test_an_optimiser_step_reads_four_numbers_and_writes_three() -> None:
    assert optimizer_bytes(parameters=1000, steps=5) == 1000 * 5 * 7 * 4


def test_needs_add_up() -> None:
    assert Need(1, 2) + Need(3, 4).times(2) == Need(7, 10)


def test_rates_are_within_what_machines_can_do() -> None:
    rates = measured_rates(Shape.of(CONFIG), rows=64, device="cpu", dtype="float32")
    assert 1e7 < rates.flops < 1e14 and 1e7 < rates.bytes < 1e13
