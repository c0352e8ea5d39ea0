"""Packed rows against the same rows alone, on networks of random weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest
import torch
import transformers as tf

from constitutional.packing import (
    Batching,
    PackedRows,
    PaddedRows,
    pack_rows,
    packed_attention,
    pad_rows,
    supports_packing,
)
from constitutional.packing.reading import last_layers, reading_some
from constitutional.training import recompute_activations

SHAPE: dict[str, Any] = {
    "vocab_size": 101,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
}
GPT: dict[str, Any] = {"vocab_size": 101, "n_embd": 32, "n_layer": 2, "n_head": 4}
GPT |= {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}

#: Those that can be packed, with what their attention has beside the plain one.
PACKED = {
    "llama": tf.LlamaConfig(**SHAPE),
    "qwen3": tf.Qwen3Config(**SHAPE),
    "mistral, window": tf.MistralConfig(**SHAPE, sliding_window=3),
    "gemma2, softcap": tf.Gemma2Config(**SHAPE, sliding_window=3, attn_logit_softcapping=2.0),
    "gemma3": tf.Gemma3TextConfig(**SHAPE, sliding_window=3, layer_types=["sliding_attention"] * 2),
    "gpt2": tf.GPT2Config(**GPT, bos_token_id=0, eos_token_id=0),
}
#: And those that cannot: a bias by distance, sinks, a state.
REFUSED = {
    "falcon, alibi": tf.FalconConfig(
        vocab_size=101,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        alibi=True,
        bos_token_id=0,
        eos_token_id=0,
    ),
    "gpt-oss": tf.GptOssConfig(**SHAPE, num_local_experts=2, num_experts_per_tok=1),
    "bloom": tf.BloomConfig(vocab_size=101, hidden_size=32, n_layer=2, n_head=4),
    "mamba": tf.MambaConfig(vocab_size=101, hidden_size=32, num_hidden_layers=2),
}

#: Two share four tokens, one is another's beginning, one is there twice.
ROWS = [[5, 6, 7, 8, 9, 10, 11], [20, 21], [5, 6, 7, 8, 30], [5, 6], [20, 21], [44] * 9]
#: So long that torch's own attention is taken.
LONG = [[n % 97 for n in range(start, start + 70)] for start in (0, 3, 9)] + [ROWS[0]]


def network(config: Any, kind: Any = tf.AutoModelForCausalLM) -> Any:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    config.initializer_range = 0.3  # large, so that attention says something
    config.pad_token_id = 0
    return kind.from_config(config).eval()


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("rows", [ROWS, LONG], ids=["short", "long"])
def test_packed_is_as_alone(name: str, rows: Sequence[list[int]]) -> None:
    """Logits and gradients."""
    model = network(PACKED[name])
    assert supports_packing(model)
    alone = [model(input_ids=torch.tensor([row]), use_cache=False).logits[0] for row in rows]
    torch.cat(alone).tanh().sum().backward()
    expected = {key: weight.grad for key, weight in model.named_parameters()}
    model.zero_grad()
    packed = pack_rows(rows)
    with packed_attention(model):
        together = packed.forward(model).logits[0]
        parts = [together[packed.row(number)] for number in range(len(rows))]
        torch.cat(parts).tanh().sum().backward()
    for part, lone in zip(parts, alone, strict=True):
        assert torch.allclose(part, lone, atol=2e-4), (part - lone).abs().max()
    scale = max(gradient.abs().max() for gradient in expected.values())
    for key, weight in model.named_parameters():
        assert (weight.grad - expected[key]).abs().max() < 1e-4 * scale, key


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_packed_is_refused(name: str) -> None:
    model = network(REFUSED[name]).train()
    before = model.config._attn_implementation
    assert not supports_packing(model)
    assert model.config._attn_implementation == before
    assert model.training, "it is left as it was"
    assert Batching.of(model) == Batching(packs=False)
    assert isinstance(Batching.of(model).rows(ROWS), PaddedRows)


def test_a_classifier_is_tried_too() -> None:
    assert Batching.of(
        network(PACKED["llama"]), network(PACKED["llama"], tf.AutoModelForSequenceClassification)
    ).packs
    refused = network(REFUSED["bloom"], tf.AutoModelForSequenceClassification)
    assert not Batching.of(network(PACKED["llama"]), refused).packs


def test_a_beginning_is_there_once() -> None:
    packed = pack_rows(ROWS)
    assert packed.input_ids.numel() == 7 + 1 + 2 + 9
    for number, row in enumerate(ROWS):
        lies = packed.row(number)
        assert packed.input_ids[0, lies].tolist() == row
        assert packed.position_ids[0, lies].tolist() == list(range(len(row)))
        assert packed.ends[number] == lies[-1]
    first, _, third, fourth, *_ = (packed.row(number).tolist() for number in range(6))
    assert first[:4] == third[:4] and first[:2] == fourth


@pytest.mark.parametrize("packs", [True, False])
def test_logits_at_some_places(packs: bool) -> None:
    model, batching = network(PACKED["qwen3"]), Batching(packs)
    rows = batching.rows(ROWS)
    assert isinstance(rows, PackedRows if packs else PaddedRows)
    asked = [(0, 6), (2, 3), (2, 4), (5, 8), (4, 1)]
    at = torch.stack([rows.places[number, column] for number, column in asked])
    expected = [model(input_ids=torch.tensor([ROWS[n][: c + 1]])).logits[0, -1] for n, c in asked]
    with batching.attention(model), torch.no_grad():
        found = rows.logits(model, at)
        assert torch.allclose(found, torch.stack(expected), atol=1e-4)
        every = rows.logits(model, rows.places[rows.places >= 0])
        assert torch.allclose(rows.logits(model, rows.ends), every[rows_ends(rows)], atol=1e-4)


def rows_ends(rows: Any) -> torch.Tensor:
    """Among all places, one after the other."""
    long = rows.places.shape[1]
    return torch.arange(len(rows.lengths)) * long + rows.lengths - 1


def test_recomputed_activations_are_packed_too() -> None:
    gradients = []
    for recomputes in (False, True):
        model = network(PACKED["llama"]).train()
        if recomputes:
            recompute_activations(model)
        packed = pack_rows(ROWS)
        with packed_attention(model):
            packed.forward(model).logits.tanh().sum().backward()
        gradients.append([weight.grad for weight in model.parameters()])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*gradients, strict=True))


def test_an_mlp_that_gives_more_than_states_is_refused() -> None:
    model = network(REFUSED["gpt-oss"])
    ids, read_at = torch.tensor([[5, 6, 7]]), torch.tensor([2])
    with reading_some(last_layers([model])), pytest.raises(TypeError, match="more than states"):
        model(input_ids=ids, use_cache=False, read_at=read_at)


def test_rows_without_tokens_are_an_error() -> None:
    for lay in (pack_rows, pad_rows):
        with pytest.raises(ValueError, match="no tokens"):
            lay([[1], []])


def test_the_order_of_rows_changes_no_state() -> None:
    model = network(PACKED["llama"])
    found = []
    for order in ([0, 1, 2, 3, 4, 5], [5, 3, 1, 0, 2, 4]):
        packed = pack_rows([ROWS[n] for n in order])
        with packed_attention(model), torch.no_grad():
            ends = packed.forward(model).logits[0, packed.ends]
        found.append(ends[torch.tensor(order).argsort()])
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in pairwise(found))


@contextmanager
def counting(model: Any) -> Iterator[list[int]]:
    """The tokens that the last layer's MLP computes, pass by pass."""
    counts: list[int] = []
    last = [layer for layer in model.modules() if hasattr(layer, "mlp")][-1]
    matrix = next(last.mlp.children())
    hook = matrix.register_forward_hook(lambda layer, given, out: counts.append(out.shape[1]))
    yield counts
    hook.remove()


@pytest.mark.parametrize("recomputes", [False, True])
@pytest.mark.parametrize("name", PACKED)
def test_where_nothing_is_read_the_last_mlp_computes_nothing(name: str, recomputes: bool) -> None:
    """Two of the rows end in the same place, which counts once in the gradient of what is read."""
    model = network(PACKED[name]).train()
    if recomputes:
        recompute_activations(model)
    packed = pack_rows(ROWS)
    found = []
    with packed_attention(model), packed_attention(model):  # entered twice, it is watched once
        for read_at in (None, packed.ends):
            with counting(model) as counts:
                states = packed.forward(model.base_model, read_at=read_at).last_hidden_state[0]
                states[packed.ends].tanh().sum().backward()
            computed = packed.tokens if read_at is None else len(set(map(tuple, ROWS)))
            assert counts == [computed] * (1 + recomputes)
            gradients = {key: weight.grad for key, weight in model.named_parameters()}
            model.zero_grad()
            found.append((states[packed.ends], gradients))
    (whole, expected), (some, gradients) = found
    assert torch.allclose(whole, some, atol=1e-5)
    for key, gradient in expected.items():
        if gradient is not None:
            assert torch.allclose(gradient, gradients[key], atol=1e-3), key
    layers = [layer for layer in model.modules() if hasattr(layer, "mlp")]
    assert not layers[-1]._forward_pre_hooks, "nothing is left behind"
