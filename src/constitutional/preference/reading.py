"""The scores of rows of tokens that went through a network together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from constitutional.errors import ModelError
from constitutional.packing import Rows
from constitutional.training import IGNORED, OwnLoss


def scores_of(network: Any, head: str, rows: Rows, *, through: Any | None = None) -> Tensor:
    """The score at the end of each row, float32 (R,).

    ``through`` is what is called where others have wrapped ``network`` up. transformers reads one
    score of a batch's every row, by pad tokens; here all are taken and read by place.
    """
    with _all_scores(network, head):
        whole = network if through is None else through
        logits: Tensor = rows.forward(whole, read_at=rows.ends).logits
    return logits.flatten(0, 1)[rows.ends, 0].float()


class LossByExample(OwnLoss):
    """A Trainer of a network with the scalar head of that name, whose loss is one of scores."""

    def __init__(self, head: str, **settings: Any):
        super().__init__(**settings)
        self._head = head

    def of_scores(self, scores: Tensor, inputs: dict[str, Any]) -> Tensor:
        """The loss of each example, (n,), from the ``scores`` of all rows."""
        raise NotImplementedError

    def each(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """The loss of each example; 0 of a stand-in, which has no label."""
        inner = self.accelerator.unwrap_model(model)
        scores = scores_of(inner, self._head, inputs["rows"], through=model)
        return torch.where(inputs["labels"] == IGNORED, 0.0, self.of_scores(scores, inputs))


def scalar_head(network: Any, name: str) -> str:
    """The name of the layer that gives the score. Raises ModelError where there is none."""
    for child, module in network.named_children():
        if isinstance(module, torch.nn.Linear) and module.out_features == 1:
            return str(child)
    raise ModelError(f"{name}: {type(network).__name__} has no single scalar head")


@contextmanager
def _all_scores(network: Any, head: str) -> Iterator[None]:
    """Let ``network`` give the scores of all tokens, (batch, length, 1), as its logits."""
    kept: list[Tensor] = []

    def put(network: Any, given: Any, output: Any) -> Any:
        output.logits = kept.pop()
        return output

    hooks = [
        network.get_submodule(head).register_forward_hook(
            lambda layer, given, scores: kept.append(scores)
        ),
        network.register_forward_hook(put),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
