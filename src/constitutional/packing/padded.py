"""Whole texts side by side, padded to the longest: for models that cannot be packed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class PaddedRows:
    """R rows of tokens, padded on the right to the longest, L.

    See :class:`~.batching.Rows`; here the places are those in the flat (R, L). The mask follows
    from the lengths, so that the filler may be any token.
    """

    input_ids: Tensor
    """int64 (R, L)."""
    attention_mask: Tensor
    """int64 (R, L): 1 on tokens."""
    places: Tensor
    """int64 (R, L)."""
    lengths: Tensor
    """int64 (R,)."""

    @property
    def ends(self) -> Tensor:
        """Where the last token of each row lies, (R,)."""
        return self.places[:, 0] + self.lengths - 1

    @property
    def tokens(self) -> int:
        """Those of all rows, padding not counted."""
        return int(self.lengths.sum())

    def to(self, device: torch.device | str) -> PaddedRows:
        """The same on ``device``."""
        return PaddedRows(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))

    def forward(self, model: Any, read_at: Tensor | None = None, **more: Any) -> Any:
        """What ``model`` gives for the rows; for all their tokens, wherever it is read."""
        return model(
            input_ids=self.input_ids, attention_mask=self.attention_mask, use_cache=False, **more
        )

    def logits(self, model: Any, at: Tensor) -> Tensor:
        """The logits behind the tokens ``at`` some of the places, (n, vocabulary)."""
        long = self.input_ids.shape[1]
        first = int((at % long).min()) if len(at) else 0
        logits: Tensor = self.forward(model, logits_to_keep=long - first).logits
        width = logits.shape[1]  # all, where a model does not know the argument
        rows, columns = at // long, at % long
        return logits.flatten(0, 1)[rows * width + columns - (long - width)]


def pad_rows(rows: Sequence[Sequence[int]], filler: int = 0) -> PaddedRows:
    """Pad ``rows`` of token ids, none of them empty. Raises ValueError for an empty row."""
    if not all(rows):
        raise ValueError("a row to pad has no tokens")
    lengths = torch.tensor([len(row) for row in rows])
    longest = int(lengths.max())
    ids = torch.tensor([[*row, *[filler] * (longest - len(row))] for row in rows])
    mask = (torch.arange(longest) < lengths[:, None]).long()
    return PaddedRows(ids, mask, torch.arange(ids.numel()).view_as(ids), lengths)
