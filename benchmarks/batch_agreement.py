"""How often a text changes with the batch it is sampled in, all else equal.

    .venv/bin/python benchmarks/batch_agreement.py [--model FOLDER] [--prompts 2000]

Float rounding differs with a matrix's shape, so a text may flip a token in another batch size; the
promise is at most 1 text in 1,000. Prints the share of texts that differ from batch size 128.
"""

from __future__ import annotations

import argparse

from constitutional.dialogue import load_prompts, prompt_for
from constitutional.dialogue.transcript import STOP_STRINGS
from constitutional.engines.base import SamplingParams
from constitutional.engines.local import LocalEngine
from constitutional.evaluation.intervals import proportion
from constitutional.microworld import data_file
from constitutional.runs.seeds import derive_seed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=str(data_file("helpful")))
    parser.add_argument("--prompts", type=int, default=2000)
    given = parser.parse_args()
    records = [
        *load_prompts(data_file("prompts/supervised_red_team.jsonl"), kind="red_team"),
        *load_prompts(data_file("prompts/rl_red_team.jsonl"), kind="red_team"),
        *load_prompts(data_file("prompts/rl_helpful.jsonl"), kind="helpful"),
        *load_prompts(data_file("prompts/supervised_helpful.jsonl"), kind="helpful"),
    ][: given.prompts]
    prompts = [prompt_for(record.conversation, "assistant", "transcript") for record in records]
    seeds = [derive_seed(0, "agreement", record.id) for record in records]
    params = SamplingParams(48, 1.0, STOP_STRINGS)

    def texts(batch_size: int) -> list[str]:
        engine = LocalEngine.load(given.model, batch_size=batch_size)
        return [completion.text for completion in engine.sample(prompts, params, seeds)]

    reference = texts(128)
    print(f"{len(records)} texts; share that differs from batch size 128:")
    for batch_size in (1, 8, 64, 256):
        differ = sum(a != b for a, b in zip(texts(batch_size), reference, strict=True))
        estimate = proportion(differ, len(records))
        assert estimate is not None
        share, most = 100 * estimate.value, 100 * estimate.high
        print(f"batch {batch_size:4}: {differ} ({share:.2f}%, to {most:.2f}%)")


if __name__ == "__main__":
    main()
