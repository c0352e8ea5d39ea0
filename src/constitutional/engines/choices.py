"""How likely a model finds each of a few fixed continuations: the (A)/(B) of AI feedback."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from constitutional.engines.rows import Ids, OpenRows
from constitutional.errors import EngineError


@torch.inference_mode()
def choice_scores(
    rows: OpenRows, prompts: Sequence[Ids], choices: Sequence[Sequence[Ids]]
) -> list[tuple[float, ...]]:
    """Natural log-probability of each of ``choices[i]`` (as many for each i) after ``prompts[i]``.

    Prompts are read once; choices of several tokens add one short pass behind them.
    """
    logits = rows.read(prompts)
    firsts = torch.tensor([[choice[0] for choice in row] for row in choices], device=logits.device)
    scores = _log_softmax(logits).gather(-1, firsts)
    longer = [
        (prompt, number)
        for prompt, row in enumerate(choices)
        for number, choice in enumerate(row)
        if len(choice) > 1
    ]
    if longer:
        texts = [choices[prompt][number] for prompt, number in longer]
        after = rows.continued([prompt for prompt, _ in longer], [text[:-1] for text in texts])
        for (prompt, number), text, logits in zip(longer, texts, after, strict=True):
            wanted = torch.tensor(text[1:], device=logits.device)[:, None]
            scores[prompt, number] += _log_softmax(logits).gather(-1, wanted).sum()
    return [tuple(row) for row in scores.tolist()]


def _log_softmax(logits: Tensor) -> Tensor:
    """In float32 whatever the model's number format. Raises EngineError on broken logits."""
    scores = torch.log_softmax(logits.float(), dim=-1)
    if scores.isnan().any():
        raise EngineError(
            "the model's logits are not finite (NaN or infinity): its weights are broken, or the "
            "number format is too narrow; try dtype float32"
        )
    return scores
