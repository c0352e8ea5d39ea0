"""Attention by a layout: which tokens of a packed row belong together.

A forward pass of a packed row gives the model ``layout=...`` beside its tokens. `transformers`
hands it on to the attention function of every layer, which is ours inside of
:func:`packed_attention`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from transformers import AttentionInterface

from constitutional.packing.reading import last_layers, reading_some
from constitutional.packing.rows import pack_rows

#: Our name among the attention functions of transformers.
NAME = "constitutional_packed"


class Attending(NamedTuple):
    """How a layer attends: its number, and what few have, a window or a softcap of scores."""

    layer: int
    scale: float | None
    window: int | None
    softcap: float | None
    dropout: float


class Layout(Protocol):
    """Says for the tokens of a packed row what each of them sees."""

    def attend(self, how: Attending, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """The attended values, (tokens, heads, size).

        ``query`` is (heads, tokens, size); ``key`` and ``value`` are (key heads, tokens, size) of
        the same tokens.
        """
        ...


class CannotPackError(Exception):
    """A model whose attention asks for what a layout does not do."""


@contextmanager
def packed_attention(*models: Any) -> Iterator[None]:
    """Let ``models`` attend by the layout that their forward passes bring.

    They heed ``read_at`` as well (:mod:`.reading`). What happens in the backward pass (recomputed
    activations) has to stand inside too.
    """
    configs = [config for model in models for config in attention_configs(model)]
    with attending_by_layout(configs), reading_some(last_layers(models)):
        yield


@contextmanager
def attending_by_layout(configs: Sequence[Any]) -> Iterator[None]:
    """:func:`packed_attention` of models whose :func:`attention_configs` are known."""
    before = [config._attn_implementation for config in configs]
    try:
        for config in configs:
            config._attn_implementation_internal = NAME
        yield
    finally:
        # backwards, for a configuration may be here twice
        for config, name in reversed(list(zip(configs, before, strict=True))):
            config._attn_implementation_internal = name


def supports_packing(model: Any) -> bool:
    """Whether ``model`` gives packed rows the states that it gives each of them on its own.

    It is tried: what an architecture does beside plain attention (a convolution, a state, a bias by
    distance, sinks) mixes packed texts up, or asks our function for more than it knows.
    """
    vocabulary = model.get_input_embeddings().weight.shape[0]
    draw = torch.Generator().manual_seed(0)
    whole = torch.randint(vocabulary, (12,), generator=draw).tolist()
    rows = [whole[:7], whole[:4] + whole[8:], whole[5:8]]
    packed = pack_rows(rows).to(model.device)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), _trunk_states(model) as states:
            for row in rows:
                model(input_ids=torch.tensor([row], device=model.device), use_cache=False)
            with packed_attention(model):
                packed.forward(model)
                packed.forward(model, read_at=packed.ends)
    except torch.OutOfMemoryError:
        raise
    except (CannotPackError, TypeError, ValueError, RuntimeError):
        return False
    finally:
        model.train(was_training)
    if len(states) < len(rows) + 2:  # what is read is not the trunk as a whole
        return False
    *alone, together, at_ends = (state[0].float() for state in states)
    expected = torch.cat([*alone, *(row[-1:] for row in alone)])
    places = torch.cat([packed.row(number) for number in range(len(rows))])
    found = torch.cat([together[places], at_ends[packed.ends]])
    # rounding is below that share of the spread, and another row's tokens are far above it
    allowed = 0.01 + 16 * torch.finfo(states[0].dtype).eps
    return bool((found - expected).abs().max() <= allowed * expected.std())


@contextmanager
def _trunk_states(model: Any) -> Iterator[list[Tensor]]:
    """The last states of all tokens, (batch, length, width), of each pass inside."""
    states: list[Tensor] = []
    hook = model.base_model.register_forward_hook(
        lambda trunk, given, output: states.append(output[0])
    )
    try:
        yield states
    finally:
        hook.remove()


def attention_configs(model: Any) -> list[Any]:
    """The configurations in which the layers of a model look up how to attend."""
    # a trunk that several models share is none of their modules
    modules = (*model.modules(), *model.base_model.modules())
    found = {id(x.config): x.config for x in modules if hasattr(x, "config")}
    return [config for config in found.values() if hasattr(config, "_attn_implementation")]


def _attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    layout: Layout | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """transformers' attention function; each of its states is (1, heads, tokens, size)."""
    unknown = [name for name in ("s_aux", "position_bias") if others.get(name) is not None]
    if layout is None or unknown or not getattr(module, "is_causal", True):
        raise CannotPackError(f"{type(module).__name__} {unknown or 'without a layout'}")
    layer: Any = module.layer_idx
    how = Attending(layer, scaling, sliding_window, softcap, dropout)
    return layout.attend(how, query[0], key[0], value[0])[None], None


AttentionInterface.register(NAME, _attention)
