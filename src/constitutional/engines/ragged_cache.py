"""Keys and values of rows of different lengths, and the attention of new tokens to them.

Every row's states begin at 0 of its own place, so that nothing is padded in memory but the room for
what is still to come. States of a root, which all rows begin with, are held once and attended to as
one matrix product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from constitutional.packing.attention import Attending

#: Rows attend together while their scores are no more than this many numbers (float32: 256 MB).
SCORES_AT_ONCE = 1 << 26


class States(NamedTuple):
    """Keys and values of one layer, each (rows, room, heads, size)."""

    keys: Tensor
    values: Tensor


class RowCache:
    """The states of ``rows`` rows of at most ``room`` tokens, layer by layer."""

    def __init__(self, rows: int, room: int):
        self.rows, self.room = rows, room
        self.layers: dict[int, States] = {}

    def size_of(self, rows: int, room: int) -> int:
        """Bytes of the states of so many rows of so many tokens; 0 while nothing is written."""
        return sum(
            rows * room * x.element_size() * x.shape[2] * x.shape[3]
            for states in self.layers.values()
            for x in states
        )

    def write(self, layer: int, rows: Tensor, columns: Tensor, key: Tensor, value: Tensor) -> None:
        """Put states (tokens, heads, size) at ``rows`` and ``columns`` (tokens,)."""
        flat = rows * self.room + columns
        for mine, new in zip(self._states(layer, key, value), (key, value), strict=True):
            mine.flatten(0, 1).index_copy_(0, flat, new)

    def write_column(
        self, layer: int, rows: slice, column: int, key: Tensor, value: Tensor
    ) -> None:
        """Put one state a row, (rows, heads, size), at the same column of each of ``rows``."""
        for mine, new in zip(self._states(layer, key, value), (key, value), strict=True):
            mine[rows, column] = new

    def copy(self, other: RowCache, sources: Tensor, targets: Tensor, length: int) -> None:
        """Put the first ``length`` states of ``other``'s rows ``sources`` in rows ``targets``."""
        for layer, theirs in other.layers.items():
            for mine, states in zip(self._states(layer, *theirs), theirs, strict=True):
                mine[targets, :length] = states[sources, :length]

    def _states(self, layer: int, key: Tensor, value: Tensor) -> States:
        """Those of a layer; all zeros, with the heads and size of these, where it has none yet.

        Zeros, for what is hidden counts for nothing only if it is a number.
        """
        if layer not in self.layers:
            self.layers[layer] = States(
                *(x.new_zeros((self.rows, self.room, *x.shape[-2:])) for x in (key, value))
            )
        return self.layers[layer]


@dataclass(frozen=True)
class NewTokens:
    """A layout of new tokens: which row each is of, and what of the cache it sees.

    T tokens of N rows lie one after another, those of a row together; a row's ``lengths`` tokens
    come behind the ``past`` ones that the cache has of it already.
    """

    cache: RowCache
    root: RowCache | None
    rows: Tensor
    """int64 (N,): the rows in the cache."""
    past: Tensor
    """int64 (N,)."""
    lengths: Tensor
    """int64 (N,): new tokens, at least one each."""
    longest: int
    """The largest of ``lengths``."""
    reach: int
    """The largest of ``past + lengths``."""
    root_length: int
    fresh: bool
    """Whether there is nothing before any of these tokens."""
    last_layer: int | None
    """The layer behind which nothing but the last token of each row matters; None if all do."""
    run: slice | None
    """Where ``rows`` lie in the cache if they lie there side by side, in order."""
    column: int | None
    """Where each row's only new token comes, if that is the same place in all of them."""
    _masks: dict[tuple[int | None, range], Tensor] = field(default_factory=dict)

    @cached_property
    def places(self) -> Tensor:
        """int64 (N, longest): where each row's tokens lie among the T; any place behind its end."""
        starts = self.lengths.cumsum(0) - self.lengths
        columns = torch.arange(self.longest, device=self.rows.device)
        return (starts[:, None] + columns).clamp_(max=int(self.lengths.sum()) - 1)

    @cached_property
    def real(self) -> Tensor:
        """bool (N, longest): False behind a row's end."""
        return torch.arange(self.longest, device=self.rows.device) < self.lengths[:, None]

    @cached_property
    def flat(self) -> Tensor:
        """int64 (T,): where each token lies among the N * longest places of the rows."""
        return self.real.flatten().nonzero()[:, 0]

    @cached_property
    def columns(self) -> Tensor:
        """int64 (T,): the place of each token in its row of the cache."""
        if self.longest == 1:
            return self.past
        new = torch.arange(self.longest, device=self.rows.device)
        return (self.past[:, None] + new)[self.real]

    @cached_property
    def row_of_token(self) -> Tensor:
        """int64 (T,)."""
        if self.longest == 1:
            return self.rows
        return self.rows.repeat_interleave(self.lengths)

    @property
    def positions(self) -> Tensor:
        """int64 (T,): the place of each token in its text, its root included."""
        return self.columns + self.root_length

    @property
    def ends(self) -> Tensor:
        """int64 (N,): where the last token of each row lies among the T."""
        if self.longest == 1:
            return torch.arange(len(self.rows), device=self.rows.device)
        return self.lengths.cumsum(0) - 1

    def attend(self, how: Attending, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """See :class:`~constitutional.packing.Layout`; the cache grows by the new states."""
        key, value = key.transpose(0, 1), value.transpose(0, 1)
        if self.run is not None and self.column is not None:
            self.cache.write_column(how.layer, self.run, self.column, key, value)
        else:
            self.cache.write(how.layer, self.row_of_token, self.columns, key, value)
        if how.layer == self.last_layer and self.longest > 1:
            # the others' keys and values were needed, and what becomes of them is not
            out = query.new_zeros((query.shape[1], query.shape[0], value.shape[-1]))
            out[self.ends] = self._attend_ends(how, query[:, self.ends])
            return out
        asked = self._in_rows(query)
        if self.fresh and how.softcap is None and how.window is None:
            out = scaled_dot_product_attention(
                asked,
                self._in_rows(key.transpose(0, 1)),
                self._in_rows(value.transpose(0, 1)),
                is_causal=self.longest > 1,
                scale=how.scale,
                enable_gqa=asked.shape[1] != key.shape[1],
            )
            return self._of_tokens(out)
        # rows that are equally long see all that is there
        hides = self.column is None or how.window is not None
        mask = self._mask(how.window, range(self.reach), query.dtype) if hides else None
        own, weight = (self._of_tokens(x) for x in self._attend_rows(how, asked, mask))
        if self.root is None:
            return own
        to_root = self._root_mask(how, query.dtype)
        if to_root is not None:
            to_root = self._of_tokens(to_root).transpose(0, 1)
        return self._with_root(how, query, own, weight, to_root)

    def _attend_ends(self, how: Attending, query: Tensor) -> Tensor:
        """The last token of each row alone: (heads, N, size) to (N, heads, size)."""
        rows = torch.arange(len(self.rows), device=self.rows.device)

        def at_end(mask: Tensor) -> Tensor:
            return mask[rows, :, self.lengths - 1][:, :, None]

        mask = at_end(self._mask(how.window, range(self.reach), query.dtype))
        own, weight = self._attend_rows(how, query.transpose(0, 1)[:, :, None], mask)
        if self.root is None:
            return own[:, :, 0]
        to_root = self._root_mask(how, query.dtype)
        if to_root is not None:
            to_root = at_end(to_root)[:, :, 0].transpose(0, 1)
        return self._with_root(how, query, own[:, :, 0], weight[:, :, 0], to_root)

    def _attend_rows(
        self, how: Attending, asked: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Attention in the cache, of queries (N, heads, new, size); see :func:`_attended`."""
        states = self.cache.layers[how.layer]
        found = [
            _attended(
                how, asked[rows], self._seen(states, rows), None if mask is None else mask[rows]
            )
            for rows in self._parts(asked.shape[1] * asked.shape[2])
        ]
        return (
            found[0]
            if len(found) == 1
            else (
                torch.cat([out for out, _ in found]),
                torch.cat([weight for _, weight in found]),
            )
        )

    def _with_root(
        self, how: Attending, query: Tensor, own: Tensor, weight: Tensor, mask: Tensor | None
    ) -> Tensor:
        """Attention to the own states, (tokens, heads, size), and to the root's, together.

        ``query`` is (heads, tokens, size), ``mask`` (1, tokens, root_length): all tokens are one
        row of queries to the root.
        """
        assert self.root is not None
        shared = States(*(x.transpose(1, 2) for x in self.root.layers[how.layer]))
        at_root, root_weight = _attended(
            how, query[None], shared, None if mask is None else mask[None]
        )
        share = torch.sigmoid(root_weight[0].transpose(0, 1) - weight)
        return torch.lerp(own, at_root[0].transpose(0, 1), share)

    def _in_rows(self, states: Tensor) -> Tensor:
        """(heads, T, size) as (N, heads, longest, size)."""
        if self.longest == 1:
            return states.transpose(0, 1)[:, :, None]
        heads, _, size = states.shape
        rows = states.index_select(1, self.places.flatten())
        return rows.view(heads, *self.places.shape, size).transpose(0, 1)

    def _of_tokens(self, rows: Tensor) -> Tensor:
        """(N, heads, longest, size) as (T, heads, size)."""
        if self.longest == 1:
            return rows[:, :, 0]
        return rows.transpose(1, 2).flatten(0, 1).index_select(0, self.flat)

    def _seen(self, states: States, rows: slice) -> States:
        """The states of these rows, each (rows, heads, reach, size)."""
        if self.run is not None:
            chosen = slice(self.run.start + rows.start, self.run.start + rows.stop)
            return States(*(x[chosen, : self.reach].transpose(1, 2) for x in states))
        picked = self.rows[rows]
        return States(*(x[:, : self.reach].index_select(0, picked).transpose(1, 2) for x in states))

    def _parts(self, queries: int) -> list[slice]:
        """The rows, with so many queries each, in parts whose scores fit into memory."""
        count = len(self.rows)
        size = max(1, min(count, SCORES_AT_ONCE // (queries * self.reach)))
        return [slice(start, min(start + size, count)) for start in range(0, count, size)]

    def _root_mask(self, how: Attending, dtype: torch.dtype) -> Tensor | None:
        """(N, 1, longest, root_length); None where all of the root is seen."""
        if how.window is None:
            return None
        return self._mask(how.window, range(-self.root_length, 0), dtype)

    def _mask(self, window: int | None, columns: range, dtype: torch.dtype) -> Tensor:
        """(N, 1, longest, columns): 0 where a token looks, far below any score elsewhere.

        Columns count from the first of a row; those of the root are below 0. It is not minus
        infinity, for a token may see nothing of a root: what comes of it then counts for nothing.
        """
        key = (window, columns)
        if key not in self._masks:
            device = self.rows.device
            new = torch.arange(self.longest, device=device)
            here = (self.past[:, None] + new)[:, :, None]  # (N, longest, 1)
            there = torch.arange(columns.start, columns.stop, device=device)
            hidden = there > here
            if window is not None:
                hidden |= there <= here - window
            mask = torch.zeros(hidden.shape, dtype=dtype, device=device)
            self._masks[key] = mask.masked_fill_(hidden, torch.finfo(dtype).min / 2)[:, None]
        return self._masks[key]


def _attended(
    how: Attending, query: Tensor, seen: States, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Attention, and the logarithm of the sum of its weights before they were normalised.

    ``query`` is (rows, heads, new, size), the states are (rows, key heads, columns, size), ``mask``
    (rows, 1, new, columns) is added to the scores. Returns (rows, heads, new, size) and (..., 1).
    """
    rows, heads, new, size = query.shape
    groups = heads // seen.keys.shape[1]
    if groups > 1:  # the heads that share a key head are more queries to it
        query = query.reshape(rows, -1, groups * new, size)
        mask = None if mask is None else mask.repeat(1, 1, groups, 1)
    scale = size**-0.5 if how.scale is None else how.scale
    if how.softcap is None and query.device.type == "cpu":
        out, weight = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, *seen, attn_mask=mask, scale=scale
        )
        weight = weight[..., None]
    else:
        scores = (query @ seen.keys.transpose(-1, -2)).float() * scale
        if how.softcap is not None:
            scores = torch.tanh(scores / how.softcap) * how.softcap
        scores = scores if mask is None else scores + mask
        weight = scores.logsumexp(dim=-1, keepdim=True)
        out = (scores - weight).exp().to(query.dtype) @ seen.values
    shape = (rows, heads, new, -1)
    return out.reshape(shape), weight.to(query.dtype).reshape(shape)


def run_of(rows: Sequence[int]) -> slice | None:
    """The slice that ``rows`` are, if they are one."""
    run = range(rows[0], rows[0] + len(rows))
    return slice(run.start, run.stop) if list(rows) == list(run) else None
