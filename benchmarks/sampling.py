"""Tokens per second of the local engine and of ``model.generate``, in one run.

    python benchmarks/sampling.py                     # a small model with random weights
    python benchmarks/sampling.py --model FOLDER --batch-sizes 16 64 --repeats 7

Both sides sample from the whole distribution, with the same prompts, number format and threads, and
take turns; which one begins changes every round. No end token is known to either side, so that both
write exactly ``--new-tokens`` for each prompt. Printed are medians, and the median of the rounds'
ratios.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from constitutional.engines.base import SamplingParams
from constitutional.engines.decoding import Ending, decode
from constitutional.engines.loading import load_parts
from constitutional.engines.prefill import CausalModel
from constitutional.engines.sampler import uniforms

Run = Callable[[list[list[int]]], None]


def main() -> None:
    """Measure and print one line for each batch size."""
    args = arguments()
    torch.set_num_threads(args.threads)
    model = (
        random_model()
        if args.model is None
        else load_parts(args.model, device="auto", dtype="auto")[0]
    )
    model.generation_config.eos_token_id = None
    print(
        f"{model.num_parameters():,} parameters, {model.dtype}, {model.device}, "
        f"{args.threads} thread(s); prompts {args.prompt_tokens} tokens, {args.new_tokens} new; "
        f"{args.repeats} rounds, tokens/s"
    )
    print(f"{'batch':>6} {'prompts':>8} {'generate':>10} {'engine':>10} {'engine/generate':>16}")
    for size in args.batch_sizes:
        for kind in ("equal", "ragged"):
            report(model, size, kind, args)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="a model folder; random weights without it")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--prompt-tokens", type=int, default=32)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def random_model() -> Any:
    """A Llama of 2 million parameters with random weights."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=1024,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        tie_word_embeddings=True,
        eos_token_id=None,
        bos_token_id=None,
    )
    return LlamaForCausalLM(config).eval()


def report(model: Any, size: int, kind: str, args: argparse.Namespace) -> None:
    """Time both sides on prompts of one length, or of lengths between half and the whole of it."""
    prompts = random_prompts(model, size, args.prompt_tokens, ragged=kind == "ragged")
    sides = {
        "generate": by_generate(model, args.new_tokens),
        "engine": by_engine(model, args.new_tokens),
    }
    for run in sides.values():
        run(prompts)
    speeds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(args.repeats):
        for name in sorted(sides, reverse=turn % 2 == 1):
            seconds = timed(sides[name], prompts)
            speeds[name].append(size * args.new_tokens / seconds)
    ratios = [e / g for e, g in zip(speeds["engine"], speeds["generate"], strict=True)]
    generate, engine = (statistics.median(speeds[name]) for name in ("generate", "engine"))
    ratio = statistics.median(ratios)
    print(f"{size:>6} {kind:>8} {generate:>10.0f} {engine:>10.0f} {ratio:>16.2f}", flush=True)


def random_prompts(model: Any, size: int, length: int, *, ragged: bool) -> list[list[int]]:
    """Different prompts of random tokens, the longest first."""
    draw = random.Random(0)
    lengths = [draw.randint(length // 2, length) if ragged else length for _ in range(size)]
    vocabulary = model.config.vocab_size
    return [[draw.randrange(3, vocabulary) for _ in range(n)] for n in sorted(lengths)[::-1]]


def by_generate(model: Any, new_tokens: int) -> Run:
    """``model.generate`` with left padding and its default cache."""

    @torch.inference_mode()
    def run(prompts: list[list[int]]) -> None:
        width = max(len(prompt) for prompt in prompts)
        ids = torch.tensor([[0] * (width - len(p)) + p for p in prompts], device=model.device)
        mask = torch.tensor(
            [[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=model.device
        )
        out = model.generate(
            ids,
            attention_mask=mask,
            do_sample=True,
            top_k=0,
            top_p=1.0,
            temperature=1.0,
            max_new_tokens=new_tokens,
            pad_token_id=0,
        )
        assert out.shape == (len(prompts), width + new_tokens)

    return run


def by_engine(model: Any, new_tokens: int) -> Run:
    """The engine's own loop, with its seeds, on the same ids."""
    forward = CausalModel(model)
    params = SamplingParams(new_tokens)

    def run(prompts: list[list[int]]) -> None:
        ending = Ending(None, [], ())  # no stop strings: the tokenizer is not asked
        draws = uniforms(range(len(prompts)), new_tokens)
        out = decode(forward, prompts, draws, params, ending)
        assert all(len(tokens) == new_tokens for tokens in out)

    return run


def timed(run: Run, prompts: list[list[int]]) -> float:
    """Wall-clock seconds; a GPU is waited for on both ends."""

    def wait() -> None:
        if torch.cuda.is_available():
            torch.cuda.current_stream().synchronize()

    wait()
    start = time.perf_counter()
    run(prompts)
    wait()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
