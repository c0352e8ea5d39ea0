"""Rows padded to one length: for models that do more than attend (see :mod:`.ragged` for others).

Rows are padded on the left, so that the last column is every prompt's last token. Equal prompts are
read once. The cache is that of `transformers`, whose layers know what the architecture needs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from constitutional.engines.cache import new_cache
from constitutional.engines.rows import CausalModel, Ids


class LeftPaddedRows:
    """See :class:`~.rows.OpenRows`. There is ``room`` for so many tokens behind the prompts."""

    grows = False

    def __init__(self, model: CausalModel, room: int):
        self._model, self._room = model, room

    def read(self, prompts: Sequence[Ids]) -> Tensor:
        """See :class:`~.rows.OpenRows`; rows that were here before are gone."""
        numbers: dict[tuple[int, ...], int] = {}
        rows = [numbers.setdefault(tuple(prompt), len(numbers)) for prompt in prompts]
        unique = [list(prompt) for prompt in numbers]
        self._width = width = max(map(len, unique))
        self._cache = new_cache(self._model.config, width + self._room)
        ids, mask = _left_padded(unique, width, self._room)
        device = self._model.device
        self._mask: Tensor | None = mask.to(device)
        positions = (self._mask[:, :width].cumsum(dim=-1) - 1).clamp_(min=0)
        self._lengths = self._mask[:, :width].sum(dim=-1)
        if all(len(prompt) == width for prompt in unique):
            self._mask = None
        logits = self._read(ids.to(device), positions, 1)[:, -1]
        if len(unique) < len(rows):
            chosen = torch.tensor(rows, device=device)
            self._select(chosen)
            logits = logits[chosen]
        return logits

    def advance(self, tokens: Tensor) -> Tensor:
        """See :class:`~.rows.OpenRows`."""
        positions = self._lengths[:, None]
        self._width += 1
        self._lengths = self._lengths + 1
        return self._read(tokens[:, None], positions, 1)[:, -1]

    def keep(self, rows: Sequence[int]) -> list[int]:
        """See :class:`~.rows.OpenRows`."""
        self._select(torch.tensor(list(rows), dtype=torch.long, device=self._model.device))
        return list(rows)

    def continued(self, owners: Sequence[int], texts: Sequence[Ids]) -> list[Tensor]:
        """See :class:`~.rows.OpenRows`."""
        # Padding stands on the right here, after all that is read, so causal attention hides it.
        steps = max(map(len, texts))
        device = self._model.device
        fed = torch.tensor([[*text, *[0] * (steps - len(text))] for text in texts], device=device)
        self._select(torch.tensor(list(owners), device=device))
        positions = self._lengths[:, None] + torch.arange(steps, device=device)
        self._width += steps
        logits = self._read(fed, positions, steps)
        return [row[: len(text)] for row, text in zip(logits, texts, strict=True)]

    def _read(self, ids: Tensor, positions: Tensor, keep: int) -> Tensor:
        """``ids`` and ``positions`` are (rows, new), the last columns of the width."""
        return self._model.logits(
            keep,
            input_ids=ids,
            position_ids=positions,
            attention_mask=None if self._mask is None else self._mask[:, : self._width],
            past_key_values=self._cache,
            use_cache=True,
        )

    def _select(self, rows: Tensor) -> None:
        self._cache.reorder_cache(rows)
        self._mask = None if self._mask is None else self._mask[rows]
        self._lengths = self._lengths[rows]


def _left_padded(prompts: Sequence[Ids], width: int, room: int) -> tuple[Tensor, Tensor]:
    """Ids (rows, width), and the mask (rows, width + room): 1 on real tokens and all room."""
    ids = torch.zeros((len(prompts), width), dtype=torch.long)
    mask = torch.ones((len(prompts), width + room), dtype=torch.long)
    for row, prompt in enumerate(prompts):
        start = width - len(prompt)
        ids[row, start:] = torch.tensor(prompt)
        mask[row, :start] = 0
    return ids, mask
