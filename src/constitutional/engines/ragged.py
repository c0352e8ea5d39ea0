"""Rows without padding: read as one, and with what they share read once.

Prompts are read in passes (see :mod:`.sharing`); each pass is one forward pass of all its tokens in
a single row, which attention alone takes apart (see :mod:`.ragged_cache`). Rows come and go at any
time.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from constitutional.engines.ragged_cache import NewTokens, RowCache, run_of
from constitutional.engines.rows import CausalModel, Ids
from constitutional.engines.sharing import Span, spans
from constitutional.engines.shelf import Found, Shelf
from constitutional.packing.attention import attending_by_layout, attention_configs
from constitutional.packing.reading import last_layers, reading_some


class Copy(NamedTuple):
    """Of row ``source`` of a cache the first ``length`` states, for row ``target`` of the own."""

    cache: RowCache
    source: int
    target: int
    length: int


class RaggedRows:
    """See :class:`~.rows.OpenRows`.

    ``root`` is what all prompts begin with, which :meth:`read` is given without it. There is room
    for ``rows`` rows of ``room`` tokens behind the root. ``shelf`` holds what was read before.
    """

    grows = True

    def __init__(self, model: CausalModel, root: Ids, rows: int, room: int, shelf: Shelf):
        self._model, self._shelf = model, shelf
        self._configs = attention_configs(model.model)
        self._last = last_layers([model.model])
        self._device = model.device
        self._root_ids = tuple(root)
        self._last_layer = model.config.get_text_config().num_hidden_layers - 1
        self._root = self._read_root(root)
        self._cache = RowCache(rows, room)
        self._texts: list[Ids] = []

    def read(self, prompts: Sequence[Ids]) -> Tensor:
        """See :class:`~.rows.OpenRows`."""
        first = len(self._texts)
        row_of: dict[tuple[int, ...], int] = {}
        rows = [row_of.setdefault(tuple(p), first + n) for n, p in enumerate(prompts)]
        after = self._read_texts({row: list(text) for text, row in row_of.items()})
        self._texts += [list(prompt) for prompt in prompts]
        twins = [(row, first + n) for n, row in enumerate(rows) if row != first + n]
        self._copy([Copy(self._cache, row, twin, len(self._texts[row])) for row, twin in twins])
        return torch.stack([after[row] for row in rows])

    def advance(self, tokens: Tensor) -> Tensor:
        """See :class:`~.rows.OpenRows`."""
        past = [len(text) for text in self._texts]
        for text, token in zip(self._texts, tokens.tolist(), strict=True):
            text.append(token)
        layout = self._layout(range(len(past)), past, [1] * len(past))
        return self._forward(tokens, layout)

    def keep(self, rows: Sequence[int]) -> list[int]:
        """See :class:`~.rows.OpenRows`. The last rows move to the places of those that leave."""
        self._shelve(sorted(set(range(len(self._texts))) - set(rows)))
        count, kept = len(rows), set(rows)
        moving = [row for row in sorted(kept) if row >= count]
        order = list(range(count))
        for hole in (row for row in range(count) if row not in kept):
            order[hole] = moving.pop()
        moved = [(row, place) for place, row in enumerate(order) if row != place]
        self._copy([Copy(self._cache, row, at, len(self._texts[row])) for row, at in moved])
        self._texts = [self._texts[row] for row in order]
        return order

    def continued(self, owners: Sequence[int], texts: Sequence[Ids]) -> list[Tensor]:
        """See :class:`~.rows.OpenRows`."""
        past = [len(self._texts[row]) for row in owners]
        before, new = self._cache, [len(text) for text in texts]
        self._cache = RowCache(len(owners), max(past) + max(new))
        self._copy([Copy(before, o, n, past[n]) for n, o in enumerate(owners)])
        ids = self._ids([token for text in texts for token in text])
        every = torch.arange(len(ids), device=self._device)
        layout = replace(self._layout(range(len(owners)), past, new), last_layer=None)
        return list(torch.split(self._forward(ids, layout, every), new))

    def _shelve(self, rows: Sequence[int]) -> None:
        """Keep what was read in ``rows`` for the next request, where that is wanted."""
        texts = [self._texts[row] for row in rows]
        longest = max(map(len, texts), default=0)
        size = self._cache.size_of(len(rows), longest)
        if rows and self._shelf.takes(size, self._device):
            apart = RowCache(len(rows), longest)
            apart.copy(self._cache, self._ids(rows), self._ids(range(len(rows))), apart.room)
            self._shelf.put(self._root_ids, apart, texts)

    def _read_root(self, root: Ids) -> RowCache | None:
        if not root:
            return None
        found = self._shelf.root(tuple(root))
        if found is None:
            found = RowCache(1, len(root))
            layout = self._layout([0], [0], [len(root)], cache=found)
            self._forward(self._ids(root), layout)
            self._shelf.put_root(tuple(root), found)
        return found

    def _read_texts(self, texts: dict[int, Ids]) -> dict[int, Tensor]:
        """Read different texts, by the row that each gets; the logits (vocabulary,) after them."""
        rows = sorted(texts, key=lambda row: texts[row])
        # a token has to be read, or nothing would be known of what comes after it
        known = [self._shelf.longest(self._root_ids, texts[row][:-1]) for row in rows]
        after: dict[int, Tensor] = {}
        for spans_of_pass in spans([texts[row] for row in rows], [found.length for found in known]):
            reads = sorted((rows[span.row], span) for span in spans_of_pass)
            begun = [self._begin(rows, known[span.row], span) for _, span in reads]
            self._copy(begun)
            tokens = [
                token
                for (row, span), copy in zip(reads, begun, strict=True)
                for token in texts[row][copy.length : span.end]
            ]
            past = [copy.length for copy in begun]
            news = [span.end - start for (_, span), start in zip(reads, past, strict=True)]
            layout = self._layout([row for row, _ in reads], past, news)
            logits = self._forward(self._ids(tokens), layout)
            after |= {row: logits[number] for number, (row, _) in enumerate(reads)}
        return after

    def _begin(self, rows: Sequence[int], known: Found, span: Span) -> Copy:
        """What a span comes behind, from where most of it was read."""
        target = rows[span.row]
        if known.length > span.start:
            return Copy(known.cache, known.row, target, min(known.length, span.end - 1))
        source = target if span.after is None else rows[span.after]
        return Copy(self._cache, source, target, span.start)

    def _copy(self, copies: Sequence[Copy]) -> None:
        """All that come of one cache at once, as long as the longest of them."""
        by_cache: dict[int, list[Copy]] = {}
        for copy in copies:
            if copy.length and (copy.cache, copy.source) != (self._cache, copy.target):
                by_cache.setdefault(id(copy.cache), []).append(copy)
        for of_one in by_cache.values():
            sources = [copy.source for copy in of_one]
            targets = [copy.target for copy in of_one]
            length = max(copy.length for copy in of_one)
            self._cache.copy(of_one[0].cache, self._ids(sources), self._ids(targets), length)

    def _layout(
        self,
        rows: Sequence[int],
        past: Sequence[int],
        new: Sequence[int],
        cache: RowCache | None = None,
    ) -> NewTokens:
        """``new`` tokens of each of ``rows`` behind ``past`` ones; in ``cache`` without a root."""
        root = self._root if cache is None else None
        return NewTokens(
            cache=cache or self._cache,
            root=root,
            rows=self._ids(rows),
            past=self._ids(past),
            lengths=self._ids(new),
            longest=max(new),
            reach=max(before + more for before, more in zip(past, new, strict=True)),
            root_length=0 if root is None else len(self._root_ids),
            fresh=root is None and not any(past),
            last_layer=self._last_layer,
            run=run_of(rows),
            column=past[0] if max(new) == 1 and len(set(past)) == 1 else None,
        )

    def _forward(self, ids: Tensor, layout: NewTokens, keep: Tensor | None = None) -> Tensor:
        """The logits after each row's last new token, or after the tokens ``keep``."""
        inputs: dict[str, Any] = {"input_ids": ids[None], "position_ids": layout.positions[None]}
        kept: int | Tensor = len(ids) if keep is None else keep
        with ExitStack() as inside:
            inside.enter_context(attending_by_layout(self._configs))
            if keep is None and layout.longest > 1:
                inside.enter_context(reading_some(self._last))
                kept = inputs["read_at"] = layout.ends
            return self._model.logits(kept, use_cache=False, layout=layout, **inputs)[0]

    def _ids(self, numbers: Sequence[int]) -> Tensor:
        return torch.tensor(list(numbers), device=self._device)
