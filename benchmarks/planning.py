"""What ``cai plan`` predicts beside what is measured: tokens and seconds of a run, and memory.

    python benchmarks/planning.py run                  # the demo's recipe: calibrate, plan, run it
    python benchmarks/planning.py run --small          # the same with a fifth of the prompts
    python benchmarks/planning.py run --recipe FILE
    python benchmarks/planning.py memory               # random weights, one process for each row

``run`` plans first, then runs, in the same process and folder of its own; tokens are counted at the
engines, so the texts that preference models score are not among them. ``memory`` is the peak of the
resident set above what the process had with torch and transformers loaded; "tensors" is the same
with a malloc that gives every freed block back, which is what the low end of a plan's range is.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from constitutional.planning.amounts import Amount, amount, total
from constitutional.planning.memory import Memory, work_memory
from constitutional.planning.shape import ModelShape
from constitutional.planning.work import Stage, Work
from constitutional.recipe import Recipe

#: Kind, vocabulary, width, inner, layers, heads, heads of keys, rows, tokens; a row is written to
#: its half. The last two are the embedded model in the demo's batches.
CASES = (
    ("train", 1000, 512, 1536, 8, 8, 8, 8, 256),
    ("train", 8000, 512, 1536, 8, 8, 2, 2, 128),
    ("train", 353, 768, 2304, 8, 8, 8, 1, 32),
    ("sample", 1000, 512, 1536, 8, 8, 8, 64, 256),
    ("sample", 1000, 512, 1536, 8, 8, 2, 64, 256),
    ("sample", 8000, 512, 1536, 4, 8, 8, 256, 64),
    ("sample", 32000, 512, 1536, 4, 8, 8, 64, 64),
    ("train", 353, 128, 384, 4, 4, 4, 16, 96),
    ("sample", 353, 128, 384, 4, 4, 4, 128, 96),
)
#: A model whose steps load what libraries load late, before anything is measured.
SMALL = {
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
#: Freed blocks go back to the system at once, so that only what is alive is resident.
NO_HEAP = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


def main() -> None:
    """Print one of the two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["run", "memory", "case"])
    parser.add_argument("--recipe", type=Path)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--case", type=int)
    args = parser.parse_args()
    if args.what == "run":
        compare_run(args.recipe, small=args.small)
    elif args.what == "memory":
        compare_memory()
    else:
        print(peak_of(args.case))


# Tokens and seconds


def compare_run(recipe_file: Path | None, *, small: bool) -> None:
    """Plan the recipe with a calibration, run it, and print both."""
    from constitutional.inputs import load_inputs
    from constitutional.microworld import data_file
    from constitutional.pipeline import constitutional_ai
    from constitutional.planning.plan import build_of
    from constitutional.planning.reading import find_out
    from constitutional.planning.stages import stages_of
    from constitutional.recipe import load_recipe
    from constitutional.runs import Progress, RunFolder

    path = recipe_file or data_file("recipe.yaml")
    recipe = load_recipe(path)
    if small:
        recipe = cut(recipe)
    known = find_out(recipe, path.parent, calibrate=True)
    stages = stages_of(build_of(recipe, known.sizes, known.shapes, known.target))
    rates = known.target.rates
    assert rates is not None
    print(*known.notes, sep="\n", file=sys.stderr)

    read, new = counting_engines()
    inputs = load_inputs(recipe, path.parent)
    with (
        TemporaryDirectory() as folder,
        RunFolder.open(
            Path(folder) / "run", recipe.model_dump(mode="json"), command="", inputs=inputs.hashes
        ) as run,
    ):
        constitutional_ai(recipe, inputs, run, Progress())
        seconds = run.seconds()
    predicted = {stage.name: total(map(rates.seconds, stage.works)) for stage in stages}
    print_run(stages, predicted, read, new, seconds)


def cut(recipe: Recipe) -> Recipe:
    """The demo's recipe with a fifth of its prompts and four steps of PPO."""
    data = recipe.model_dump(mode="json")
    for section, limit in (
        (data["prompts"]["red_team"], 100),
        (data["prompts"]["helpful"], 120),
        (data["rl"]["comparisons"], 200),
        (data["rl"]["helpfulness"]["prompts"], 200),
        (data["evaluation"]["red_team"], 100),
        (data["evaluation"]["helpful"], 100),
    ):
        section["limit"] = limit
    data["rl"]["pmp"]["epochs"] = 0.3
    data["rl"]["ppo"] |= {"steps": 4, "snapshot_steps": 2, "checkpoint_steps": 2}
    return Recipe.model_validate(data)


def counting_engines() -> tuple[Mapping[str, int], Mapping[str, int]]:
    """Tokens read and written by local engines, by the stage of the run in which they are."""
    from constitutional.dialogue.tokens import prompt_ids
    from constitutional.engines.local import LocalEngine
    from constitutional.runs import RunFolder

    read: dict[str, int] = defaultdict(int)
    new: dict[str, int] = defaultdict(int)
    stage = [""]

    def named(work: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Any, name: str, *args: Any, **more: Any) -> Any:
            stage[0] = name
            return work(self, name, *args, **more)

        return call

    def counted(work: Callable[..., Any], *, writes: bool) -> Callable[..., Any]:
        def call(self: Any, prompts: Any, *args: Any) -> Any:
            found = work(self, prompts, *args)
            read[stage[0]] += sum(len(prompt_ids(self._tokenizer, p)) for p in prompts)
            new[stage[0]] += sum(c.tokens for c in found) if writes else 0
            return found

        return call

    for name in ("stage_records", "stage_artifact"):
        setattr(RunFolder, name, named(getattr(RunFolder, name)))
    for name in ("sample", "choice_logprobs"):
        setattr(LocalEngine, name, counted(getattr(LocalEngine, name), writes=name == "sample"))
    return read, new


def print_run(
    stages: list[Stage],
    predicted: Mapping[str, Amount],
    read: Mapping[str, int],
    new: Mapping[str, int],
    seconds: Mapping[str, float],
) -> None:
    """A Markdown table; "=" marks tokens that were known before and came out so."""
    pairs = ("read", "new", "s")
    heads = " | ".join(f"{what}: predicted | measured" for what in pairs)
    print(f"| stage | {heads} | ratio |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for stage in stages:
        engine = [w for w in stage.works if w.kind == "sample" or w.what == "questions"]
        asked, written = total(w.prompt for w in engine), total(w.new for w in engine)
        took, was = predicted[stage.name].value, seconds.get(stage.name, float("nan"))
        exact = " =" if round(asked.value) == read[stage.name] > 0 else ""
        print(
            f"| {stage.name} | {asked.value:,.0f}{exact} | {read[stage.name]:,} "
            f"| {written.value:,.0f} | {new[stage.name]:,} | {took:.1f} | {was:.1f} "
            f"| {took / was:.2f} |"
        )
    took, was = total(predicted.values()), sum(seconds[s.name] for s in stages)
    low, value, high = took.ends
    whole = f"{value:.0f} ({low:.0f} to {high:.0f})"
    print(f"| all | | | | | {whole} | {was:.0f} | {value / was:.2f} |")


# Memory


def compare_memory() -> None:
    """Every case in processes of its own, with the usual heap and without."""
    print("| | tensors: predicted | measured | ratio | process: predicted | measured | ratio |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for number, (kind, vocabulary, width, _, layers, _, kv, rows, tokens) in enumerate(CASES):
        predicted = memory_of(number).peak
        tensors, process = (measured(number, heap) for heap in (NO_HEAP, {}))
        what = f"{kind}, {layers} x {width}, {kv} kv heads, {vocabulary} words, {rows} x {tokens}"
        print(
            f"| {what} | {predicted.low / 1e6:.0f} MB | {tensors / 1e6:.0f} MB "
            f"| {predicted.low / tensors:.2f} | {predicted.value / 1e6:.0f} MB "
            f"| {process / 1e6:.0f} MB | {predicted.value / process:.2f} |",
            flush=True,
        )


def measured(case: int, environment: Mapping[str, str]) -> float:
    """The peak of a case in a process of its own."""
    command = [sys.executable, __file__, "case", "--case", str(case)]
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def memory_of(case: int) -> Memory:
    """What the plan says of it."""
    kind, vocabulary, width, inner, layers, heads, kv, rows, tokens = CASES[case]
    shape = ModelShape(
        name="random",
        layers=layers,
        width=width,
        inner=inner,
        heads=heads,
        kv_heads=kv,
        head_size=width // heads,
        vocabulary=vocabulary,
        tied=True,
    )
    new = tokens // 2 if kind == "sample" else 0
    work = Work(
        what="",
        kind="train" if kind == "train" else "sample",
        model=shape,
        sequences=amount(rows),
        prompt=amount(rows * (tokens - new)),
        new=amount(rows * new),
        longest=amount(tokens),
        batch=rows,
        room=new,
    )
    return work_memory(work, 0 if kind == "train" else shape.parameters * 4, gpu=False)


def peak_of(case: int) -> int:
    """Bytes above what the process had; runs in a process of its own."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    kind, vocabulary, width, inner, layers, heads, kv, rows, tokens = CASES[case]
    torch.set_num_threads(1)
    train(LlamaForCausalLM(LlamaConfig(**SMALL)), 1, 8)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv,
        tie_word_embeddings=True,
    )
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    model = LlamaForCausalLM(config)
    if kind == "train":
        train(model, rows, tokens)
    else:
        write(model.eval(), rows, tokens)
    return resident("VmHWM") - before


def train(model: Any, rows: int, tokens: int) -> None:
    """Three steps on random tokens, one of them padding."""
    import torch

    optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(3):
        ids = torch.randint(0, model.config.vocab_size, (rows, tokens))
        mask = torch.ones_like(ids)
        mask[0, -1] = 0
        model(input_ids=ids, attention_mask=mask, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def write(model: Any, rows: int, tokens: int) -> None:
    """The engine's loop, which writes half of the tokens after prompts of the other half."""
    from constitutional.engines.base import SamplingParams
    from constitutional.engines.decoding import Ending, decode
    from constitutional.engines.ragged import RaggedRows
    from constitutional.engines.rows import CausalModel
    from constitutional.engines.sampler import uniforms
    from constitutional.engines.shelf import Shelf

    new, vocabulary = tokens // 2, model.config.vocab_size
    prompts = [[(i * 7 + j) % vocabulary for j in range(tokens - new)] for i in range(rows)]
    prompts[0] = prompts[0][1:]
    ending = Ending(None, [], ())
    room = RaggedRows(CausalModel(model), [], rows, tokens, Shelf())
    decode(room, prompts, uniforms(range(rows), new), SamplingParams(new), ending, rows)


def resident(field: str) -> int:
    """Bytes, from the kernel's account of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"the kernel tells no {field}")


if __name__ == "__main__":
    main()
