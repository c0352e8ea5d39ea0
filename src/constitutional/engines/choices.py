"""How likely a model finds each of a few fixed continuations: the (A)/(B) of AI feedback."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from constitutional.engines.prefill import CausalModel, Ids, Prefilled, prefill
from constitutional.errors import EngineError


@torch.inference_mode()
def choice_scores(
    model: CausalModel, prompts: Sequence[Ids], choices: Sequence[Sequence[Ids]]
) -> list[tuple[float, ...]]:
    """Natural log-probability of each of ``choices[i]`` (as many for each i) after ``prompts[i]``.

    One forward pass per prompt; choices of several tokens add one short pass over the cache.
    """
    longest = max(len(choice) for row in choices for choice in row)
    state = prefill(model, prompts, room=longest - 1)
    firsts = torch.tensor([[choice[0] for choice in row] for row in choices], device=model.device)
    scores = _log_softmax(state.logits).gather(-1, firsts)
    longer = [
        (prompt, number)
        for prompt, row in enumerate(choices)
        for number, choice in enumerate(row)
        if len(choice) > 1
    ]
    if longer:
        owners, numbers = torch.tensor(longer, device=model.device).T
        state.select(owners)
        scores[owners, numbers] += _rest_scores(model, state, [choices[p][n] for p, n in longer])
    return [tuple(row) for row in scores.tolist()]


def _rest_scores(model: CausalModel, state: Prefilled, choices: Sequence[Ids]) -> Tensor:
    """Log-probability (rows,) of all but the first token of each row's choice, summed."""
    device = model.device
    steps = max(len(choice) for choice in choices) - 1
    # Padding stands on the right here, after all that is read, so causal attention hides it.
    fed = _right_padded([choice[:-1] for choice in choices], steps).to(device)
    wanted = _right_padded([choice[1:] for choice in choices], steps).to(device)
    counts = torch.tensor([[len(choice) - 1] for choice in choices], device=device)
    columns = torch.arange(steps, device=device)

    positions = state.lengths[:, None] + columns
    mask = state.visible(state.width + steps)
    logits = model.logits(fed, positions, mask, state.cache, keep=steps)
    picked = _log_softmax(logits).gather(-1, wanted[..., None])[..., 0]
    return picked.masked_fill(columns >= counts, 0.0).sum(dim=-1)


def _right_padded(rows: Sequence[Ids], width: int) -> Tensor:
    return torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])


def _log_softmax(logits: Tensor) -> Tensor:
    """In float32 whatever the model's number format. Raises EngineError on broken logits."""
    scores = torch.log_softmax(logits.float(), dim=-1)
    if scores.isnan().any():
        raise EngineError(
            "the model's logits are not finite (NaN or infinity): its weights are broken, or the "
            "number format is too narrow; try dtype float32"
        )
    return scores
