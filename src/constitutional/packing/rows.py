"""Whole texts packed into one row: for training and for scoring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import dropout, scaled_dot_product_attention

if TYPE_CHECKING:
    from constitutional.packing.attention import Attending


#: Up to this length plain matrix products are faster on a CPU than torch's fused attention.
SHORT = 64


@dataclass(frozen=True)
class PackedRows:
    """R rows of tokens as one of T; a beginning that several share is in it once.

    Between the layers' matrices the tokens lie packed. For attention they are put into rows again,
    padded to the longest, L, where causality alone hides the padding.
    """

    input_ids: Tensor
    """int64 (1, T)."""
    position_ids: Tensor
    """int64 (1, T): the place of each token in its text."""
    places: Tensor
    """int64 (R, L): where each row's tokens lie among the T; 0 behind its end."""
    owners: Tensor
    """int64 (T,): of each token one of its places in (R, L), flat."""
    lengths: Tensor
    """int64 (R,)."""

    def row(self, number: int) -> Tensor:
        """Where the tokens of a row lie, (its length,)."""
        return self.places[number, : int(self.lengths[number])]

    @property
    def ends(self) -> Tensor:
        """Where the last token of each row lies, (R,)."""
        return self.places.gather(1, self.lengths[:, None] - 1)[:, 0]

    @property
    def tokens(self) -> int:
        """T."""
        return self.input_ids.shape[1]

    def to(self, device: torch.device | str) -> PackedRows:
        """The same on ``device``."""
        return PackedRows(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))

    def forward(self, model: Any, read_at: Tensor | None = None, **more: Any) -> Any:
        """What ``model`` gives for the T tokens; inside of :func:`~.attention.packed_attention`.

        Only at the places ``read_at``, int64 (n,), has it to be right; see :mod:`.reading`.
        """
        if read_at is not None:
            read = torch.zeros(self.tokens, dtype=torch.bool, device=self.input_ids.device)
            read[read_at] = True  # each once, though rows share their beginnings
            more["read_at"] = read.nonzero()[:, 0]
        return model(
            input_ids=self.input_ids,
            position_ids=self.position_ids,
            layout=self,
            use_cache=False,
            **more,
        )

    def logits(self, model: Any, at: Tensor) -> Tensor:
        """The logits behind the tokens ``at`` some of the places, (n, vocabulary)."""
        if len(at) >= self.tokens:
            every: Tensor = self.forward(model).logits[0]
            return every[at]
        logits: Tensor = self.forward(model, read_at=at, logits_to_keep=at).logits[0]
        # a model that does not know the argument gives those of all tokens
        return logits if len(logits) == len(at) else logits[at]

    def attend(self, how: Attending, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Causal attention in each row; see :class:`~.attention.Layout`."""
        query, key, value = (self._in_rows(states) for states in (query, key, value))
        long = self.places.shape[1]
        seen = _window(long, how.window, query.device)
        if how.softcap is not None or (long <= SHORT and query.device.type == "cpu"):
            out = _by_matrices(how, query, key, value, seen)
        else:
            out = scaled_dot_product_attention(
                query.transpose(0, 1),
                key.transpose(0, 1),
                value.transpose(0, 1),
                attn_mask=seen,
                is_causal=seen is None,
                dropout_p=how.dropout,
                scale=how.scale,
                enable_gqa=len(query) != len(key),
            ).transpose(0, 1)
        # (heads, R, L, size) to the tokens, each from one of the rows that it is in
        return out.flatten(1, 2).index_select(1, self.owners).transpose(0, 1)

    def _in_rows(self, states: Tensor) -> Tensor:
        """(heads, T, size) as (heads, R, L, size)."""
        heads, _, size = states.shape
        return states.index_select(1, self.places.flatten()).view(heads, *self.places.shape, size)


def pack_rows(rows: Sequence[Sequence[int]]) -> PackedRows:
    """Pack ``rows`` of token ids, none of them empty.

    Rows with a common beginning share it, as the two texts of a comparison do. Raises ValueError
    for an empty row.
    """
    if not all(rows):
        raise ValueError("a row to pack has no tokens")
    longest = max(map(len, rows))
    ids: list[int] = []
    positions: list[int] = []
    owners: list[int] = []
    places: list[list[int]] = [[]] * len(rows)
    before: Sequence[int] = ()
    there: list[int] = []
    # in the order of their tokens each row shares the most with the row before it
    for number in sorted(range(len(rows)), key=lambda at: tuple(rows[at])):
        row = rows[number]
        shared, start = common_length(before, row), len(ids)
        ids += row[shared:]
        positions += range(shared, len(row))
        owners += range(number * longest + shared, number * longest + len(row))
        there = [*there[:shared], *range(start, len(ids))]
        places[number] = there + [0] * (longest - len(row))
        before = row
    return PackedRows(
        input_ids=torch.tensor([ids]),
        position_ids=torch.tensor([positions]),
        places=torch.tensor(places),
        owners=torch.tensor(owners),
        lengths=torch.tensor([len(row) for row in rows]),
    )


def common_length(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens both begin with."""
    limit = min(len(first), len(second))
    if first[:limit] == second[:limit]:  # in C, and so it mostly is
        return limit
    return next((place for place in range(limit) if first[place] != second[place]), limit)


def _window(length: int, window: int | None, device: torch.device) -> Tensor | None:
    """What each token of a row sees, bool (length, length); None where it is all before it."""
    if window is None or window >= length:
        return None
    back = torch.arange(length, device=device)[:, None] - torch.arange(length, device=device)
    return (back >= 0) & (back < window)


def _by_matrices(
    how: Attending, query: Tensor, key: Tensor, value: Tensor, seen: Tensor | None
) -> Tensor:
    """Attention of (heads, R, L, size) by plain matrix products.

    Scores are bounded by ``softcap * tanh(score / softcap)`` where there is one (Gemma 2).
    """
    groups, long = len(query) // len(key), query.shape[2]
    if groups > 1:
        key, value = (states.repeat_interleave(groups, dim=0) for states in (key, value))
    scale = query.shape[-1] ** -0.5 if how.scale is None else how.scale
    if seen is None:
        seen = torch.ones(long, long, dtype=torch.bool, device=query.device).tril()
    hidden = torch.zeros_like(seen, dtype=query.dtype).masked_fill(~seen, float("-inf"))
    flat_query, flat_key, flat_value = (x.flatten(0, 1) for x in (query, key, value))
    if how.softcap is None:
        scores = torch.baddbmm(hidden, flat_query, flat_key.transpose(1, 2), alpha=scale)
    else:
        scores = torch.bmm(flat_query, flat_key.transpose(1, 2)) * (scale / how.softcap)
        scores = torch.tanh(scores) * how.softcap + hidden
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(query.dtype)
    return torch.bmm(dropout(weights, how.dropout), flat_value).view_as(query)
