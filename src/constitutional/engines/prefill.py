"""Reading prompts: one forward pass that fills the cache, shared where prompts are alike.

Rows are padded on the left, so that the last column is every prompt's last token. Equal prompts
are read once, and a beginning that all prompts share (few-shot examples) is read for one row only.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from constitutional.engines.cache import all_full_attention, new_cache

#: A shared beginning shorter than this is not worth a forward pass of its own.
SHARED_AT_LEAST = 32

Ids = list[int]


class CausalModel:
    """The one way in which this package calls a `transformers` causal language model."""

    def __init__(self, model: Any):
        self.model = model
        self.config = model.config
        self._accepted = set(inspect.signature(model.forward).parameters)

    @property
    def device(self) -> torch.device:
        """Where inputs belong."""
        device: torch.device = self.model.device
        return device

    def logits(
        self, ids: Tensor, positions: Tensor, mask: Tensor | None, cache: Cache, *, keep: int = 1
    ) -> Tensor:
        """Logits after the last ``keep`` columns: (rows, keep, vocabulary).

        ``ids`` and ``positions`` are int64 (rows, new); ``mask`` is (rows, cached + new), 1 on real
        tokens, or None when nothing is padded. The cache grows by the new columns.
        """
        inputs = {
            "input_ids": ids,
            "position_ids": positions,
            "attention_mask": mask,
            "past_key_values": cache,
            "use_cache": True,
            "logits_to_keep": keep,
        }
        # Some families know no position ids (ALiBi), some cannot leave logits out.
        taken = {name: value for name, value in inputs.items() if name in self._accepted}
        logits: Tensor = self.model(**taken).logits
        return logits[:, -keep:]


@dataclass
class Prefilled:
    """Prompts that were read, ready for their next token."""

    logits: Tensor
    """(rows, vocabulary), for the token after each prompt."""
    cache: Cache
    mask: Tensor | None
    """int64 (rows, capacity), 1 on real tokens and on all room to come; None without padding."""
    lengths: Tensor
    """int64 (rows,): real tokens of each prompt, which is the position of its next token."""
    width: int
    """Cache positions in use, padding included."""

    def select(self, rows: Tensor) -> None:
        """Keep ``rows`` (int64), in that order; a row may be named more than once."""
        self.logits = self.logits[rows]
        self.cache.reorder_cache(rows)
        self.mask = None if self.mask is None else self.mask[rows]
        self.lengths = self.lengths[rows]

    def visible(self, width: int) -> Tensor | None:
        """The mask over the first ``width`` cache positions."""
        return None if self.mask is None else self.mask[:, :width]


def prefill(model: CausalModel, prompts: Sequence[Ids], room: int) -> Prefilled:
    """Read ``prompts`` (none of them empty) into a new cache with ``room`` positions to spare."""
    numbers: dict[tuple[int, ...], int] = {}
    rows = [numbers.setdefault(tuple(prompt), len(numbers)) for prompt in prompts]
    state = _prefill_unique(model, [list(prompt) for prompt in numbers], room)
    if len(numbers) < len(rows):
        state.select(torch.tensor(rows, device=model.device))
    return state


def _prefill_unique(model: CausalModel, prompts: Sequence[Ids], room: int) -> Prefilled:
    width = max(len(prompt) for prompt in prompts)
    cache = new_cache(model.config, width + room)
    shared = shared_length(prompts)
    if shared < SHARED_AT_LEAST or not all_full_attention(cache):
        shared = 0
    if shared:
        _read_shared(model, prompts[0][:shared], len(prompts), cache)
    ids, mask = _padded([prompt[shared:] for prompt in prompts], shared, width, room)
    ids, mask = ids.to(model.device), mask.to(model.device)
    positions = (mask[:, :width].cumsum(dim=-1) - 1).clamp_(min=0)[:, shared:]
    padded = any(len(prompt) < width for prompt in prompts)
    visible = mask[:, :width] if padded else None
    logits = model.logits(ids, positions, visible, cache)[:, -1]
    lengths = mask[:, :width].sum(dim=-1)
    return Prefilled(logits, cache, mask if padded else None, lengths, width)


def shared_length(prompts: Sequence[Ids]) -> int:
    """How many first tokens all prompts share; at least one token of each is left over.

    0 for a single prompt, which has nothing to share with.
    """
    if len(prompts) < 2:
        return 0
    # The first and the last in order differ at least as early as any other two.
    first, last = min(prompts), max(prompts)
    limit = min(len(prompt) for prompt in prompts) - 1
    for position in range(limit):
        if first[position] != last[position]:
            return position
    return limit


def _read_shared(model: CausalModel, shared: Ids, rows: int, cache: Cache) -> None:
    ids = torch.tensor([shared], device=model.device)
    positions = torch.arange(len(shared), device=model.device)[None]
    model.logits(ids, positions, None, cache)
    cache.reorder_cache(torch.zeros(rows, dtype=torch.long, device=model.device))


def _padded(rests: Sequence[Ids], shared: int, width: int, room: int) -> tuple[Tensor, Tensor]:
    """Left-padded ids (rows, width - shared), and the mask (rows, width + room).

    Padding lies between the shared beginning and the rest.
    """
    ids = torch.zeros((len(rests), width - shared), dtype=torch.long)
    mask = torch.ones((len(rests), width + room), dtype=torch.long)
    for row, rest in enumerate(rests):
        start = width - shared - len(rest)
        ids[row, start:] = torch.tensor(rest)
        mask[row, shared : shared + start] = 0
    return ids, mask
