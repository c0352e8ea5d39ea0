"""How texts go through a model together: packed where its attention lets them, else padded."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from constitutional.packing.attention import packed_attention, supports_packing
from constitutional.packing.padded import pad_rows
from constitutional.packing.rows import pack_rows


class Rows(Protocol):
    """R rows of tokens, laid out for one forward pass.

    What the pass gives for each token is read at its place: an index into the first two
    dimensions, (batch, length), made one.
    """

    @property
    def places(self) -> Tensor:
        """Where each row's tokens lie, int64 (R, longest); anything behind its end."""
        ...

    @property
    def lengths(self) -> Tensor:
        """int64 (R,)."""
        ...

    @property
    def ends(self) -> Tensor:
        """Where the last token of each row lies, int64 (R,)."""
        ...

    @property
    def tokens(self) -> int:
        """How many tokens are computed, padding not counted."""
        ...

    def to(self, device: torch.device | str) -> Rows:
        """The same on ``device``."""
        ...

    def forward(self, model: Any, read_at: Tensor | None = None, **more: Any) -> Any:
        """What ``model`` gives for the rows.

        It need only be right at the places ``read_at``, int64 (n,), where these are given.
        """
        ...

    def logits(self, model: Any, at: Tensor) -> Tensor:
        """The logits behind the tokens ``at`` some of the places, (n, vocabulary)."""
        ...


@dataclass(frozen=True)
class Batching:
    """The way that some models take their batches; :meth:`of` finds it."""

    packs: bool

    @classmethod
    def of(cls, *models: Any) -> Batching:
        """Packed, if that is the same to all ``models``; they are tried."""
        return cls(all(supports_packing(model) for model in models))

    def rows(self, rows: Sequence[Sequence[int]]) -> Rows:
        """The rows of ids, none of them empty, for one pass."""
        return pack_rows(rows) if self.packs else pad_rows(rows)

    def attention(self, *models: Any) -> AbstractContextManager[None]:
        """Where ``models`` take such rows; a backward pass belongs inside as well."""
        return packed_attention(*models) if self.packs else nullcontext()
