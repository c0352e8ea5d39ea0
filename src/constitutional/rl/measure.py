"""Sampling, scoring and measuring a batch of a policy's answers, whatever trains the policy.

The entries mean what they mean for PPO (``docs/metrics.md``), so that trainings can be compared.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from constitutional.dialogue import PromptRecord, prompt_for, prompt_ids
from constitutional.engines.base import Completion
from constitutional.engines.local import LocalEngine
from constitutional.evaluation.intervals import mean
from constitutional.packing import Batching
from constitutional.rl.losses import kl_k1, kl_k3
from constitutional.rl.ppo import Score
from constitutional.rl.rollout import collate, logprobs_of, response_logits, sample_answers
from constitutional.rl.watch import StepWatch


@dataclass(frozen=True)
class Measured:
    """A batch of answers. ``reward_half_width`` is half of the 95% interval of ``reward``.

    It takes prompts as independent, and is None for a single one. ``seconds`` are by phase.
    """

    answers: int
    reward: float
    reward_half_width: float | None
    reward_held_out: float | None
    kl_k1: float
    kl_k3: float
    response_length: float
    end_of_text_rate: float
    seconds: dict[str, float]


@dataclass(frozen=True)
class Answered:
    """Prompts with the policy's answers, their scores, and what is known of them together."""

    completions: Sequence[Completion]
    scores: Sequence[float]
    measured: Measured


@dataclass(frozen=True)
class Rollouts:
    """Samples from ``engine``, scores with the preference model, and compares with ``reference``.

    ``engine`` holds the policy that is being trained, ``reference`` the network it started from;
    its log-probs are computed ``rows`` answers at a time.
    """

    engine: LocalEngine
    tokenizer: Any
    reference: Any
    score: Score
    held_out_score: Score | None
    max_new_tokens: int
    rows: int
    seed: int
    watch: StepWatch = field(default_factory=StepWatch)

    def prompt_ids(self, prompt: PromptRecord) -> list[int]:
        """The ids that an answer to ``prompt`` is sampled after."""
        asked = prompt_for(prompt.conversation, "assistant", self.engine.style)
        return prompt_ids(self.tokenizer, asked)

    def answer(self, prompts: Sequence[PromptRecord], step: int) -> Answered:
        """One answer to each prompt; the draws depend on the seed, ``step`` and the row alone.

        Raises TrainingError, with the step and the prompts, where a sample or a score goes wrong.
        """
        times = [time.perf_counter()]
        with self.watch.sampling(step + 1, prompts):
            completions = sample_answers(self.engine, prompts, step, self.max_new_tokens, self.seed)
        times.append(time.perf_counter())
        answers = [
            (prompt.conversation, completion.text.strip())
            for prompt, completion in zip(prompts, completions, strict=True)
        ]
        scores = self.score(answers)
        self.watch.scores(scores, [text for _, text in answers], step + 1, prompts)
        held_out = None
        if self.held_out_score is not None:
            held_out = fmean(self.held_out_score(answers))
        times.append(time.perf_counter())
        k1, k3 = self._divergence(prompts, completions)
        times.append(time.perf_counter())
        sample, weigh, compare = (end - start for start, end in pairwise(times))
        measured = Measured(
            answers=len(answers),
            reward=fmean(scores),
            reward_half_width=_half_width(prompts, scores),
            reward_held_out=held_out,
            kl_k1=k1,
            kl_k3=k3,
            response_length=sum(c.tokens for c in completions) / len(completions),
            end_of_text_rate=sum(c.ended == "eos" for c in completions) / len(completions),
            seconds={"sample": sample, "score": weigh, "forward": compare},
        )
        return Answered(completions, scores, measured)

    @cached_property
    def _batching(self) -> Batching:
        return Batching.of(self.reference)

    @torch.no_grad()
    def _divergence(
        self, prompts: Sequence[PromptRecord], completions: Sequence[Completion]
    ) -> tuple[float, float]:
        """Both KL estimates, from the log-probs with which the engine drew the tokens."""
        k1 = k3 = 0.0
        for start in range(0, len(prompts), self.rows):
            drawn = completions[start : start + self.rows]
            asked = prompts[start : start + self.rows]
            batch = collate(self.tokenizer, self.engine, asked, drawn, self._batching)
            batch = batch.to(self.reference.device)
            with self._batching.attention(self.reference):
                base = logprobs_of(response_logits(self.reference, batch), batch)
            policy = _padded([c.logprobs for c in drawn], base)
            k1 += torch.where(batch.mask, kl_k1(policy, base), 0.0).sum().item()
            k3 += torch.where(batch.mask, kl_k3(policy, base), 0.0).sum().item()
        return k1 / len(prompts), k3 / len(prompts)


def _padded(rows: Sequence[Sequence[float]], like: Tensor) -> Tensor:
    """The rows, right-padded with zeros to the shape of ``like``."""
    padded = torch.zeros_like(like)
    for number, row in enumerate(rows):
        padded[number, : len(row)] = torch.tensor(row)
    return padded


def _half_width(prompts: Sequence[PromptRecord], scores: Sequence[float]) -> float | None:
    """Half of the interval of the mean score; answers to one prompt are one observation."""
    by_prompt: dict[tuple[str, str], list[float]] = {}
    for prompt, score in zip(prompts, scores, strict=True):
        by_prompt.setdefault((prompt.kind, prompt.id), []).append(score)
    if len(by_prompt) < 2:
        return None
    found = mean([fmean(scores) for scores in by_prompt.values()])
    return found.high - found.value
