"""A key-value cache that is allocated once, for models that `transformers` runs.

`transformers`' own dynamic cache copies every key and value at every step (``torch.cat``). How many
positions a batch can need is known before it starts, so here each layer writes in place.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer


class PreallocatedLayer(DynamicLayer):  # type: ignore[misc]  # transformers is untyped here
    """A full-attention layer's keys and values, each (rows, heads, capacity, head size).

    ``keys`` and ``values`` are views of the part in use. What lies behind it is not initialised
    and never read.
    """

    def __init__(self, capacity: int):
        super().__init__()
        self.capacity = capacity
        self.length = 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocate for the rows and heads of the first states."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self._keys = self._room(key_states, key_states.shape[0])
        self._values = self._room(value_states, value_states.shape[0])
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append states (rows, heads, new, head size); returns all states so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        new = key_states.shape[-2]
        self._keys.narrow(-2, self.length, new).copy_(key_states)
        self._values.narrow(-2, self.length, new).copy_(value_states)
        self.length += new
        self._show()
        return self.keys, self.values

    def get_seq_length(self) -> int:
        """How many positions are in use."""
        return self.length

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keep the rows ``beam_idx`` (int64), in that order; a row may be named more than once."""
        if not self.is_initialized:
            return
        self._keys = self._selected(self._keys, beam_idx)
        self._values = self._selected(self._values, beam_idx)
        self._show()

    def _room(self, like: Tensor, rows: int) -> Tensor:
        return like.new_empty((rows, like.shape[1], self.capacity, like.shape[-1]))

    def _selected(self, states: Tensor, rows: Tensor) -> Tensor:
        selected = self._room(states, len(rows))
        used = states.narrow(-2, 0, self.length)
        selected.narrow(-2, 0, self.length).copy_(used.index_select(0, rows))
        return selected

    def _show(self) -> None:
        self.keys = self._keys.narrow(-2, 0, self.length)
        self.values = self._values.narrow(-2, 0, self.length)


def new_cache(config: Any, capacity: int) -> Cache:
    """An empty cache for a model of this `transformers` configuration and ``capacity`` positions.

    Sliding-window, linear and other special layers keep `transformers`' own classes.
    """
    cache = DynamicCache(config=config)
    cache.layers = [
        PreallocatedLayer(capacity) if type(layer) is DynamicLayer else layer
        for layer in cache.layers
    ]
    return cache
