"""From completions to records: the text without outer blanks, and what is wrong with its shape."""

from __future__ import annotations

from collections.abc import Sequence

from constitutional.dialogue.shape import flags
from constitutional.engines.base import Engine, Prompt, SamplingParams
from constitutional.runs.records import Sample


def draw(
    engine: Engine, prompts: Sequence[Prompt], params: SamplingParams, seeds: Sequence[int]
) -> list[Sample]:
    """One sample for each prompt, in order, each drawn with its own seed."""
    return [
        Sample(
            text=completion.text.strip(),
            ended=completion.ended,
            tokens=completion.tokens,
            seed=seed,
            flags=flags(completion.text, completion.ended),
        )
        for completion, seed in zip(engine.sample(prompts, params, seeds), seeds, strict=True)
    ]
