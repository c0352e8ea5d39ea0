"""Rates and lengths measured here, in about five seconds, with the recipe's own models and code.

Sampling is that of the supervised stage on the recipe's first prompts; training is forward,
backward and AdamW on what it wrote. What the Trainer and a checkpoint add is not in the rates.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import islice
from statistics import fmean
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict

from constitutional.dialogue import Conversation, PromptRecord, prompt_for
from constitutional.dialogue.tokens import encode_example, prompt_ids
from constitutional.engines.base import Completion, Prompt, SamplingParams
from constitutional.engines.loading import load_parts
from constitutional.engines.local import LocalEngine
from constitutional.errors import InputError
from constitutional.feedback.question import CHOICES
from constitutional.inputs import Inputs, Model
from constitutional.packing import Batching
from constitutional.planning.amounts import Amount, between
from constitutional.planning.shape import ModelShape
from constitutional.planning.sizes import Role
from constitutional.planning.speed import Rates
from constitutional.recipe import Recipe
from constitutional.supervised.critique_revision import CritiqueRevision
from constitutional.supervised.finetune import target_losses
from constitutional.training import IGNORED, pad_right

#: Seconds that a calibration aims at, and the prompts that it begins with.
SECONDS, FIRST = 5.0, 4
#: How far the mean of a batch of texts may be from that of the run, and a trained policy's from
#: those that it learned from.
SAME_MODEL = between(0.8, 1.0, 1.25)
LEARNED = between(0.6, 1.0, 1.5)


class Calibration(BaseModel):
    """What was measured, and the seconds that it took, loading left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rates: Rates
    new: dict[Role, Amount]
    seconds: float


class _Timed(LocalEngine):
    """A local engine that keeps (tokens read, tokens written, seconds) of each call."""

    calls: list[tuple[int, int, float]]

    def sample(
        self, prompts: Sequence[Prompt], params: SamplingParams, seeds: Sequence[int]
    ) -> list[Completion]:
        start = time.perf_counter()
        found = super().sample(prompts, params, seeds)
        self._keep(prompts, sum(c.tokens for c in found), start)
        return found

    def choice_logprobs(
        self, prompts: Sequence[Prompt], choices: Sequence[str]
    ) -> list[tuple[float, ...]]:
        start = time.perf_counter()
        found = super().choice_logprobs(prompts, choices)
        self._keep(prompts, 0, start)
        return found

    def _keep(self, prompts: Sequence[Prompt], written: int, start: float) -> None:
        seconds = time.perf_counter() - start
        read = sum(len(prompt_ids(self._tokenizer, prompt)) for prompt in prompts)
        self.calls.append((read, written, seconds))


def calibrate(recipe: Recipe, inputs: Inputs, shape: ModelShape) -> Calibration:
    """Sample and train with the recipe's models for about :data:`SECONDS`.

    ``shape`` is that of the helpful model, or of the pretrained one where there is no other. Raises
    InputError for a recipe whose prompts are not here.
    """
    start = time.perf_counter()
    sampled: dict[Role, list[int]] = {}
    engine = _engine(inputs.helpful_model or inputs.pretrained_model, recipe)
    prompts = _prompts(inputs)
    _write(engine, recipe, inputs, prompts[:FIRST], {})  # the first call warms up
    per_prompt = (time.perf_counter() - start) / FIRST
    block = min(recipe.models.batch_size, recipe.block)
    rows = max(FIRST, min(block, int(SECONDS / 3 / max(per_prompt, 1e-6)) * FIRST))
    engine.calls.clear()
    texts = _write(engine, recipe, inputs, prompts[:rows], sampled)
    if inputs.helpful_model is not None:
        _answer(_engine(inputs.pretrained_model, recipe), recipe, prompts[:rows], sampled)
    read, write = _fitted(engine.calls)
    train, step = _training(recipe, inputs.pretrained_model, texts, SECONDS / 3)
    new = {role: fmean(lengths) * SAME_MODEL for role, lengths in sampled.items() if lengths}
    learned = [new[role].value for role in ("revision", "reply", "response") if role in new]
    new["policy"] = fmean(learned[:2]) * LEARNED
    rates = Rates(model=shape, read=read, write=write, train=train, step=step)
    return Calibration(rates=rates, new=new, seconds=time.perf_counter() - start)


def _engine(model: Model, recipe: Recipe) -> _Timed:
    settings = recipe.models
    engine = _Timed.load(
        model.path,
        style=settings.style,
        device=settings.device,
        dtype=settings.dtype,
        batch_size=settings.batch_size,
    )
    assert isinstance(engine, _Timed)
    engine.calls = []
    return engine


def _prompts(inputs: Inputs) -> Sequence[PromptRecord]:
    rl = () if inputs.rl is None else inputs.rl.prompts
    found = (*inputs.red_team, *rl, *inputs.evaluation)
    if not found:
        raise InputError("a calibration needs prompts, and the recipe has none")
    return found


def _write(
    engine: _Timed,
    recipe: Recipe,
    inputs: Inputs,
    prompts: Sequence[PromptRecord],
    sampled: dict[Role, list[int]],
) -> list[Conversation]:
    """Responses, a round of critique and revision, replies and questions: all that engines do."""
    if inputs.constitution is None or recipe.prompts is None:
        return _answer(engine, recipe, prompts, sampled)
    one_round = recipe.supervised.model_copy(update={"rounds": 1})
    one_round = one_round.model_copy(update={"helpful_responses": 1})
    stage = CritiqueRevision(engine, inputs.constitution, one_round, recipe.seed)
    chains = stage.chains(prompts)
    replies = stage.replies(inputs.helpful[: len(prompts)])
    sampled["response"] = [chain.response.tokens for chain in chains]
    rounds = [chain.rounds[0] for chain in chains]
    sampled["critique"] = [r.critique.tokens for r in rounds if r.critique is not None]
    sampled["revision"] = [r.revision.tokens for r in rounds]
    sampled["reply"] = [reply.responses[0].tokens for reply in replies]
    versions = [c.prompt.add("assistant", c.rounds[0].revision.text) for c in chains]
    engine.choice_logprobs(
        [prompt_for(v.add("human", "."), "assistant", engine.style) for v in versions], CHOICES
    )
    return [*versions, *(r.prompt.add("assistant", r.responses[0].text) for r in replies)]


def _answer(
    engine: _Timed,
    recipe: Recipe,
    prompts: Sequence[PromptRecord],
    sampled: dict[Role, list[int]],
) -> list[Conversation]:
    """Answers of the pretrained model, and a question after each."""
    asked = [prompt_for(p.conversation, "assistant", engine.style) for p in prompts]
    found = engine.sample(asked, recipe.supervised.sampling, range(len(asked)))
    engine.choice_logprobs(asked, CHOICES)
    sampled["answer"] = [completion.tokens for completion in found]
    return [
        p.conversation.add("assistant", c.text.strip() or ".")
        for p, c in zip(prompts, found, strict=True)
    ]


def _fitted(calls: Sequence[tuple[int, int, float]]) -> tuple[float, float]:
    """Seconds a token read and a token written, by least squares over the calls.

    The share of each call's time is what is fitted, so that long calls do not count more.
    """
    rows = torch.tensor(calls, dtype=torch.float64)
    weighted = rows[:, :2] / rows[:, 2:]
    found = torch.linalg.lstsq(weighted, torch.ones(len(rows), 1, dtype=torch.float64)).solution
    read, write = found[:, 0].tolist()
    only_read = [seconds / tokens for tokens, written, seconds in calls if not written]
    if read <= 0 or write <= 0:  # noise: what was read alone tells the one, the rest the other
        read = min(only_read)
        left = [(s - read * r) / w for r, w, s in calls if w]
        write = max(fmean(left), read)
    return read, write


def _training(
    recipe: Recipe, model: Model, texts: Sequence[Conversation], seconds: float
) -> tuple[float, float]:
    """Seconds a token trained on, and seconds of a step besides, from two sizes of batch."""
    network, tokenizer = load_parts(model.path, device=recipe.models.device, dtype="float32")
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.0, fused=True)
    limit = recipe.finetune.max_length
    rows = [encode_example(tokenizer, text, model.style, limit).input_ids for text in texts]
    rows = sorted(row for row in rows if len(row) <= limit)
    whole, part = recipe.finetune.batch_size, max(1, recipe.finetune.batch_size // 4)
    large = _timed_steps(network, optimizer, rows, whole, seconds / 2)
    small = _timed_steps(network, optimizer, rows, part, seconds / 2)
    if large[0] <= small[0]:  # one example in a batch: its step cannot be told apart
        return large[1] / large[0], 0.0
    each = (large[1] - small[1]) / (large[0] - small[0])
    each = min(max(each, 0.2 * large[1] / large[0]), large[1] / large[0])
    return each, max(0.0, large[1] - each * large[0])


def _timed_steps(
    network: Any, optimizer: Any, rows: Sequence[list[int]], batch: int, seconds: float
) -> tuple[float, float]:
    """Mean tokens and mean seconds of a step; a beginning that rows share is counted once."""
    tokens, times = [], []
    begun, batching, place = time.perf_counter(), Batching.of(network), network.device
    with batching.attention(network):
        for step in range(200):
            chosen = list(islice(_cycle(rows, step * batch), batch))
            start = time.perf_counter()
            together, labels = batching.rows(chosen).to(place), pad_right(chosen, IGNORED)[0]
            loss: Any = target_losses(network, together, labels.to(place)).mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            if step:  # the first one makes the moments
                tokens.append(together.tokens)
                times.append(time.perf_counter() - start)
            if times and time.perf_counter() - begun > seconds:
                break
    return fmean(tokens), fmean(times)


def _cycle(rows: Sequence[list[int]], start: int) -> Any:
    while True:
        yield rows[start % len(rows)]
        start += 1
