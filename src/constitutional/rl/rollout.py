"""Answers of the policy to a batch of prompts, as text and as tensors."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from constitutional.dialogue import PromptRecord, prompt_for, prompt_ids
from constitutional.dialogue.transcript import STOP_STRINGS
from constitutional.engines.base import Completion, SamplingParams
from constitutional.engines.local import LocalEngine
from constitutional.runs.seeds import derive_seed


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
    """Prompts (left-padded, width P) with their answers (right-padded, width R) as tensors.

    ``input_ids``, ``attention_mask``, ``position_ids``: (batch, P + R). ``responses`` and ``mask``
    (True on sampled tokens): (batch, R). Masks come from lengths, never from token ids.
    """

    input_ids: Tensor
    attention_mask: Tensor
    position_ids: Tensor
    responses: Tensor
    mask: Tensor

    def rows(self, chosen: Tensor) -> Batch:
        """Some of the rows."""
        return Batch(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))

    def to(self, device: torch.device) -> Batch:
        """The same on ``device``."""
        return Batch(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


def response_logits(model: Any, batch: Batch) -> Tensor:
    """Logits (batch, R, vocabulary) that predict each response token."""
    width = batch.responses.shape[1]
    logits: Tensor = model(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        position_ids=batch.position_ids,
        logits_to_keep=width + 1,
        use_cache=False,
    ).logits
    return logits[:, -width - 1 : -1].float()


def logprobs_of(logits: Tensor, tokens: Tensor) -> Tensor:
    """The log-probabilities (batch, R) of ``tokens`` by the ``logits`` (batch, R, vocabulary)."""
    return torch.log_softmax(logits, dim=-1).gather(-1, tokens[..., None])[..., 0]


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
) -> Batch:
    """The tensors of a batch of answers."""
    before = [
        prompt_ids(tokenizer, prompt_for(prompt.conversation, "assistant", engine.style))
        for prompt in prompts
    ]
    after = [list(completion.token_ids) for completion in completions]
    wide, long = max(map(len, before)), max(map(len, after))
    ids = torch.zeros(len(prompts), wide + long, dtype=torch.long)
    seen = torch.zeros_like(ids)
    for row, (prompt, response) in enumerate(zip(before, after, strict=True)):
        start, end = wide - len(prompt), wide + len(response)
        ids[row, start:end] = torch.tensor([*prompt, *response])
        seen[row, start:end] = 1
    return Batch(
        input_ids=ids,
        attention_mask=seen,
        position_ids=(seen.cumsum(1) - 1).clamp(min=0),
        responses=ids[:, wide:],
        mask=seen[:, wide:].bool(),
    )
