"""Answers of the policy to a batch of prompts, as text and as tensors."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from constitutional.dialogue import PromptRecord, prompt_for, prompt_ids
from constitutional.dialogue.transcript import STOP_STRINGS
from constitutional.engines.base import Completion, SamplingParams
from constitutional.engines.local import LocalEngine
from constitutional.packing import Batching, Rows
from constitutional.runs.seeds import derive_seed
from constitutional.training import pad_right


@dataclass(frozen=True)
class Prompts:
    """The two kinds of prompts that a batch is drawn from, in a set ratio."""

    red_team: Sequence[PromptRecord]
    helpful: Sequence[PromptRecord]

    def batch(self, step: int, size: int, red_team_share: float, seed: int) -> list[PromptRecord]:
        """The prompts of a step: each kind is gone through in shuffled order, pass after pass.

        It depends on nothing but its arguments, so the data cursor of a checkpoint is the step.
        """
        harmful = round(size * red_team_share)
        return [
            *_drawn(self.red_team, step, harmful, seed, "red_team"),
            *_drawn(self.helpful, step, size - harmful, seed, "helpful"),
        ]


def _drawn(
    records: Sequence[PromptRecord], step: int, size: int, seed: int, kind: str
) -> list[PromptRecord]:
    if size and not records:
        raise ValueError(f"a batch asks for {size} {kind} prompts, and there are none")
    chosen = []
    orders: dict[int, list[int]] = {}
    for position in range(step * size, (step + 1) * size):
        number, index = divmod(position, len(records))
        if number not in orders:
            orders[number] = list(range(len(records)))
            random.Random(derive_seed(seed, "prompts", kind, number)).shuffle(orders[number])
        chosen.append(records[orders[number][index]])
    return chosen


@dataclass(frozen=True)
class Batch:
    """Prompts with their answers.

    ``ids`` are the tokens of each row, of which the first ``before`` (batch,) are its prompt.
    ``responses`` and ``mask`` (True on sampled tokens) are (batch, R), right-padded. Masks come
    from lengths, never from token ids. ``batching`` says how models take the rows.
    """

    ids: tuple[list[int], ...]
    before: Tensor
    responses: Tensor
    mask: Tensor
    batching: Batching

    def rows(self, chosen: Tensor) -> Batch:
        """Some of the rows."""
        return replace(
            self,
            ids=tuple(self.ids[row] for row in chosen.tolist()),
            **{name: getattr(self, name)[chosen] for name in ("before", "responses", "mask")},
        )

    def to(self, device: torch.device) -> Batch:
        """The same on ``device``."""
        tensors = {name: getattr(self, name).to(device) for name in ("before", "responses", "mask")}
        return replace(self, **tensors)

    @cached_property
    def together(self) -> Rows:
        """The rows for one pass."""
        return self.batching.rows(self.ids).to(self.mask.device)

    @cached_property
    def states(self) -> Tensor:
        """Where the states before all response tokens lie, row by row: (tokens,)."""
        places = self.together.places
        width = torch.arange(self.mask.shape[1], device=places.device)
        columns = (self.before[:, None] - 1 + width).clamp(max=places.shape[1] - 1)
        return places.gather(1, columns)[self.mask]

    def spread(self, values: Tensor) -> Tensor:
        """What there is for each response token, (tokens,), as (batch, R) with zeros behind."""
        empty = torch.zeros(self.mask.shape, dtype=values.dtype, device=values.device)
        return empty.masked_scatter(self.mask, values)


def response_logits(model: Any, batch: Batch) -> Tensor:
    """Logits that predict each response token, row by row: (tokens, vocabulary)."""
    return batch.together.logits(model, batch.states).float()


def logprobs_of(logits: Tensor, batch: Batch) -> Tensor:
    """The log-probabilities (batch, R) of the responses by their ``logits``; 0 behind them."""
    drawn = batch.responses[batch.mask][:, None]
    return batch.spread(torch.log_softmax(logits, dim=-1).gather(-1, drawn)[:, 0])


def sample_answers(
    engine: LocalEngine,
    prompts: Sequence[PromptRecord],
    step: int,
    max_new_tokens: int,
    seed: int,
    *,
    first: int = 0,
) -> list[Completion]:
    """One answer to each prompt from the whole distribution at T=1, with its log-probs.

    ``first`` is the row in the batch of the first prompt, where these are a part of the batch: the
    draws depend on seed, step and row.
    """
    params = SamplingParams(max_new_tokens, 1.0, STOP_STRINGS, logprobs=True)
    seeds = [derive_seed(seed, "rollout", step, first + row) for row in range(len(prompts))]
    asked = [prompt_for(prompt.conversation, "assistant", engine.style) for prompt in prompts]
    return engine.sample(asked, params, seeds)


def collate(
    tokenizer: Any,
    engine: LocalEngine,
    prompts: Sequence[PromptRecord],
    completions: Sequence[Completion],
    batching: Batching,
) -> Batch:
    """The tensors of a batch of answers."""
    before = [
        prompt_ids(tokenizer, prompt_for(prompt.conversation, "assistant", engine.style))
        for prompt in prompts
    ]
    after = [list(completion.token_ids) for completion in completions]
    responses, mask = pad_right(after, 0)
    return Batch(
        ids=tuple([*prompt, *answer] for prompt, answer in zip(before, after, strict=True)),
        before=torch.tensor([len(prompt) for prompt in before]),
        responses=responses,
        mask=mask.bool(),
        batching=batching,
    )
