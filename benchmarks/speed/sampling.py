"""Plain sampling with nothing to share: different prompts, 64 new tokens each, no end token."""

from __future__ import annotations

import random
from typing import Any

from benchmarks.speed import material
from benchmarks.speed.floor import Need, Shape, forward_flops, sampling_bytes
from benchmarks.speed.generating import GenerateEngine
from benchmarks.speed.measuring import Clock, Floor, Measured, Side
from benchmarks.speed.options import Options

from constitutional.dialogue import prompt_ids
from constitutional.engines.base import Engine, Prompt, SamplingParams, TextPrompt
from constitutional.engines.loading import load_parts
from constitutional.engines.local import LocalEngine

PROMPT_TOKENS = 32
NEW_TOKENS = 64
#: Of both sides; a round is so many calls, so that it takes seconds.
CALLS = 3


def ours(options: Options, rows: int) -> Side:
    """The local engine."""
    model, tokenizer = _without_end(options)
    engine = LocalEngine(model, tokenizer, name="sampling", style="transcript", batch_size=rows)
    prompts = random_prompts(tokenizer, rows)
    _sample(engine, prompts, 0, calls=1)
    floor = _floor(model, [len(prompt_ids(tokenizer, prompt)) for prompt in prompts])

    def round_(number: int) -> Measured:
        return Measured(_sample(engine, prompts, number), CALLS * rows * NEW_TOKENS, floor=floor)

    return Side(round_)


def peer(options: Options, rows: int) -> Side:
    """``model.generate`` with left padding and its default cache."""
    model, tokenizer = _without_end(options)
    engine = GenerateEngine(model, tokenizer, batch_size=rows)
    prompts = random_prompts(tokenizer, rows)
    _sample(engine, prompts, 0, calls=1)

    def round_(number: int) -> Measured:
        return Measured(_sample(engine, prompts, number), CALLS * rows * NEW_TOKENS)

    return Side(round_)


def random_prompts(tokenizer: Any, rows: int) -> list[Prompt]:
    """Texts of random words, of which no two begin alike."""
    draw = random.Random(0)
    words = sorted(word for word in tokenizer.get_vocab() if word.isalpha())
    firsts = draw.sample(words, min(rows, len(words)))
    return [
        TextPrompt(" ".join([firsts[row % len(firsts)], *draw.choices(words, k=PROMPT_TOKENS - 1)]))
        for row in range(rows)
    ]


def _without_end(options: Options) -> tuple[Any, Any]:
    """Model and tokenizer that know no end token, so that all texts have the same length."""
    model, tokenizer = load_parts(
        material.model_folder("helpful", options), device=options.device, dtype=options.dtype
    )
    model.generation_config.eos_token_id = model.config.eos_token_id = None
    tokenizer.eos_token = None
    return model, tokenizer


def _sample(engine: Engine, prompts: list[Prompt], seed: int, calls: int = CALLS) -> float:
    clock = Clock()
    for call in range(calls):
        seeds = [(seed * calls + call) * len(prompts) + row for row in range(len(prompts))]
        with clock():
            found = engine.sample(prompts, SamplingParams(NEW_TOKENS), seeds)
        assert all(completion.tokens == NEW_TOKENS for completion in found)
    return clock.seconds


def _floor(model: Any, lengths: list[int]) -> Floor:
    shape, rows = Shape.of(model.config), len(lengths)
    fed = [position for length in lengths for position in range(length + NEW_TOKENS - 1)]
    contexts = [length + step for length in lengths for step in range(NEW_TOKENS)]
    need = Need(
        forward_flops(shape, fed, heads=rows * NEW_TOKENS),
        sampling_bytes(shape, contexts, NEW_TOKENS, model.dtype.itemsize),
    )
    return Floor(need.times(CALLS), shape, rows)
