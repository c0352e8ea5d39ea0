"""Rows of tokens that a model has read: what sampling and choosing ask of them."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

Ids = list[int]


class OpenRows(Protocol):
    """Texts that a model has read, one to a row, each ready for its next tokens."""

    #: Whether rows may be read beside others that are under way.
    grows: bool

    def read(self, prompts: Sequence[Ids]) -> Tensor:
        """Read prompts, none of them empty, as new rows behind those that are here.

        Returns the logits (new rows, vocabulary) of what comes after each.
        """
        ...

    def advance(self, tokens: Tensor) -> Tensor:
        """Read a token more in each row, int64 (rows,); the logits (rows, vocabulary) after it."""
        ...

    def keep(self, rows: Sequence[int]) -> list[int]:
        """Keep these rows alone. Returns them in the order in which they stand from now on."""
        ...

    def continued(self, owners: Sequence[int], texts: Sequence[Ids]) -> list[Tensor]:
        """Logits (tokens of the text, vocabulary) after each token of texts behind rows.

        ``texts[i]`` continues row ``owners[i]``. It is the last that is asked of the rows.
        """
        ...


class CausalModel:
    """The one way in which the local engine calls a `transformers` causal language model."""

    def __init__(self, model: Any):
        self.model = model
        self.config = model.config
        self._accepted = set(inspect.signature(model.forward).parameters)

    @property
    def device(self) -> torch.device:
        """Where inputs belong."""
        device: torch.device = self.model.device
        return device

    def accepts(self, name: str) -> bool:
        """Whether the model's forward pass knows an argument of this name."""
        return name in self._accepted

    def logits(self, keep: int | Tensor, **inputs: Any) -> Tensor:
        """The logits of the last ``keep`` columns, or of the columns ``keep`` (int64).

        ``inputs`` that the model does not know are left out: some families know no position ids
        (ALiBi). So are logits to keep, and then all of them are computed.
        """
        inputs["logits_to_keep"] = keep
        taken = {name: value for name, value in inputs.items() if self.accepts(name)}
        # these go on to the layers among the names that no model declares
        taken |= {name: inputs[name] for name in ("layout", "read_at") if name in inputs}
        logits: Tensor = self.model(**taken).logits
        if isinstance(keep, int):
            return logits[:, -keep:]
        return logits if self.accepts("logits_to_keep") else logits[:, keep]
