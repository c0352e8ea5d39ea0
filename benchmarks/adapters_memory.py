"""What adapters save in memory: measured, beside what ``cai plan`` says of the same.

    python benchmarks/adapters_memory.py               # the table, one process for each row
    python benchmarks/adapters_memory.py --layers 4    # a smaller model

A random Llama of 110 million weights in float32, adapters of rank 16 on every matrix of its layers.
``held`` counts the bytes of all weights and of the optimiser's moments after the last step, tensor
by tensor (of a tensor in 4 bits with its scales). ``peak`` is the peak of the resident set during
the steps, above what the process had with its libraries loaded, under a malloc that gives every
freed block back. What loading takes on the way is not in it: pages of the mapped file, which the
kernel may drop.
SFT and preference model take two steps on 2 sequences of 32 tokens; PPO samples 2 answers of 8
tokens to prompts of about 24, and learns from them one by one. So short, because weights and what
goes with them are what is compared; activations are those of ``benchmarks/planning.py``.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from constitutional.planning.amounts import amount
from constitutional.planning.memory import Memory
from constitutional.planning.plan import Target, stage_memories
from constitutional.planning.shape import ModelShape, shape_of
from constitutional.planning.work import Stage, Work
from constitutional.training_settings import LoraSettings
from planning import NO_HEAP, SMALL, resident
from planning import train as train_some

LORA = LoraSettings(rank=16)
SMALL_LORA = LoraSettings(rank=16, quantize="4bit")
WORDS, PROMPT, NEW, ROWS, MINIBATCH = 32000, 24, 8, 2, 1

#: Row: what is trained, with which adapters, and on how many bases PPO's networks stand.
ROWS_OF_TABLE: dict[str, tuple[str, LoraSettings | None, int]] = {
    "SFT, whole": ("sft", None, 1),
    "SFT, LoRA": ("sft", LORA, 1),
    "SFT, QLoRA": ("sft", SMALL_LORA, 1),
    "preference model, whole": ("pm", None, 1),
    "preference model, LoRA": ("pm", LORA, 1),
    "preference model, QLoRA": ("pm", SMALL_LORA, 1),
    "PPO, four whole networks": ("ppo", None, 1),
    "PPO, two bases with adapters": ("ppo", LORA, 2),
    "PPO, one base with adapters": ("ppo", LORA, 1),
    "PPO, one base in 4 bits": ("ppo", SMALL_LORA, 1),
}


def main() -> None:
    """Print the table, or measure one row of it in this process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--rows", help="only rows whose name has this in it", default="")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.row:
        print(json.dumps(measure(*ROWS_OF_TABLE[args.row], args.folder)))
        return
    with TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--folder", folder]
        make_models(Path(folder), args.layers)
        print_table([row for row in ROWS_OF_TABLE if args.rows in row], command)


def print_table(rows: list[str], command: list[str]) -> None:
    """A Markdown table; megabytes are 10^6 bytes."""
    shape = shape_of(f"{command[-1]}/base")
    print(f"{shape.parameters / 1e6:.0f} million weights\n", flush=True)
    print("| | held: predicted | measured | ratio | peak: predicted | measured | ratio |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for row in rows:
        environment = {**os.environ, **NO_HEAP, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [*command, "--row", row], env=environment, stdout=subprocess.PIPE, check=True
        )
        held, peak = json.loads(done.stdout.splitlines()[-1])
        memory = predicted(*ROWS_OF_TABLE[row], shape)
        columns = []
        kept = memory.weights.value + memory.optimiser.value
        for says, found in ((kept, held), (memory.peak.low, peak)):
            columns.append(f"{says / 1e6:.0f} MB | {found / 1e6:.0f} MB | {says / found:.2f}")
        print(f"| {row} | {' | '.join(columns)} |", flush=True)


# What the plan says


def predicted(kind: str, lora: LoraSettings | None, bases: int, shape: ModelShape) -> Memory:
    """The memory of the one stage."""
    common: dict[str, Any] = {"what": "", "model": shape, "sequences": amount(ROWS)}
    common["prompt"] = amount(ROWS * (PROMPT + NEW))
    common["longest"] = amount(PROMPT + NEW)
    work = Work(kind="train", batch=ROWS, lora=lora, language_model=kind == "sft", **common)
    works, beside = (work,), 0
    if kind == "ppo":
        adapters = 4 if bases == 1 else 2
        update = {"batch": MINIBATCH, "critic": True, "language_model": True}
        update |= {"scored_tail": amount(NEW), "bases": bases, "adapters": adapters}
        sample = Work(kind="sample", batch=ROWS, room=NEW, new=amount(ROWS * NEW), **common)
        works, beside = (sample, work.model_copy(update=update)), 0 if lora else 2
    stage = Stage(name="", works=works, beside=((shape, "float32"),) * beside)
    (memory,) = stage_memories([stage], Target())
    return memory


# Models


def make_models(folder: Path, layers: int) -> None:
    """A random base; a policy and a preference model that begin on it, whole and as adapters."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from constitutional.adapters import base_fingerprint, keep_adapters, with_adapters
    from constitutional.preference.model import PreferenceModel

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=WORDS,
        hidden_size=768,
        intermediate_size=2048,
        num_hidden_layers=layers,
        num_attention_heads=12,
        num_key_value_heads=12,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    words = {"<pad>": 0, "<end>": 1, **{f"w{n}": n for n in range(2, WORDS)}}
    level = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    level.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=level, pad_token="<pad>", eos_token="<end>", unk_token="<pad>"
    )
    base = folder / "base"
    LlamaForCausalLM(config).save_pretrained(base)
    tokenizer.save_pretrained(base)
    mark = base_fingerprint(base)
    model = PreferenceModel.begin(base, style="transcript", seed=0, device="cpu")
    model.card = model.card.model_copy(update={"mean": 0.0, "deviation": 1.0, "scored": 1})
    scorer = folder / "adapters"
    model.save(scorer)
    (folder / "small adapters").mkdir()
    for file in scorer.iterdir():
        (folder / "small adapters" / file.name).hardlink_to(file)
    on = with_adapters(model.network, LORA, 0, what="this", head=model.head)
    for lora, name in ((LORA, "adapters"), (SMALL_LORA, "small adapters")):
        # adapters of a policy are on layers of the same names
        for result in (folder / name, folder / f"policy, {name}"):
            keep_adapters(on, result, base=base, fingerprint=mark, settings=lora)


# A row


def measure(kind: str, lora: LoraSettings | None, bases: int, folder: Path) -> tuple[int, int]:
    """Bytes held after the last step and at the worst moment; in a process of its own."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(1)
    work: Callable[[], Any] = {"sft": supervised, "pm": preference, "ppo": reinforced}[kind](
        lora, bases, folder
    )
    train_some(LlamaForCausalLM(LlamaConfig(**SMALL)), 1, 8)  # what libraries load late
    before = resident("VmRSS")
    steps = work()
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    kept = steps()
    held, peak = sum(bytes_of_all()), resident("VmHWM") - before
    del kept
    return held, peak


def supervised(lora: LoraSettings | None, _: int, folder: Path) -> Callable[[], Any]:
    from constitutional.adapters import quantize_of, with_adapters
    from constitutional.engines.loading import load_parts

    def work() -> Any:
        quantize = quantize_of(lora)
        network, _ = load_parts(folder / "base", device="cpu", dtype="float32", quantize=quantize)
        network = with_adapters(network, lora, 0, what="this") if lora else network
        return partial(two_steps, network, lambda ids: network(input_ids=ids, labels=ids).loss)

    return work


def preference(lora: LoraSettings | None, _: int, folder: Path) -> Callable[[], Any]:
    from constitutional.adapters import quantize_of, with_adapters
    from constitutional.preference.model import PreferenceModel

    begin = partial(
        PreferenceModel.begin, folder / "base", style="transcript", seed=0, device="cpu"
    )

    def work() -> Any:
        model = begin(quantize=quantize_of(lora))
        network = model.network
        if lora:
            network = with_adapters(network, lora, 0, what="this", head=model.head)
        return partial(
            two_steps, network, lambda ids: network(input_ids=ids).logits.square().mean()
        )

    return work


def two_steps(network: Any, loss: Callable[[Any], Any]) -> Any:
    """Two steps of AdamW on random tokens."""
    import torch

    trained = [weight for weight in network.train().parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained)
    for _ in range(2):
        loss(torch.randint(2, WORDS, (ROWS, PROMPT + NEW))).backward()
        optimizer.step()
        optimizer.zero_grad()
    return network, optimizer


def reinforced(lora: LoraSettings | None, bases: int, folder: Path) -> Callable[[], Any]:
    from constitutional.adapters import kept_adapters
    from constitutional.dialogue import Conversation, PromptRecord
    from constitutional.engines.loading import load_parts, load_tokenizer
    from constitutional.preference.combined import Response
    from constitutional.preference.model import PreferenceModel
    from constitutional.rl.networks import begin_networks
    from constitutional.rl.one_base import OneBase, OneBaseNetworks, same_base
    from constitutional.rl.ppo import PPO
    from constitutional.rl.rollout import Prompts
    from constitutional.rl.settings import PPOConfig

    assert kept_adapters  # loaded before memory is measured
    config = PPOConfig(
        steps=1,
        batch_size=ROWS,
        minibatch_size=MINIBATCH,
        epochs=1,
        max_new_tokens=NEW,
        red_team_share=1.0,
        checkpoint_steps=1000,
        lora=lora,
    )
    text = " ".join(f"w{n}" for n in range(100, 100 + PROMPT - 2))
    prompts = [
        PromptRecord(
            id=str(n), conversation=Conversation.of(text), kind="red_team", source="random"
        )
        for n in range(ROWS)
    ]
    name = "small adapters" if lora and lora.quantize else "adapters"

    def networks() -> tuple[Any, PreferenceModel]:
        if lora and bases == 1:
            found = same_base(folder / f"policy, {name}", folder / name, folder / "base", lora)
            assert isinstance(found, OneBase), found
            shared = OneBaseNetworks(found, 0.0, 0, device="cpu")
            return shared, PreferenceModel.around(shared.scorer, folder / name)
        scorer = PreferenceModel.load(folder / name, device="cpu")
        policy, _ = load_parts(folder / "base", device="cpu", dtype="float32")
        return begin_networks(policy, scorer.network, 0.0, lora, 0), scorer

    def work() -> Any:
        begun, scorer = networks()
        ppo = PPO(
            begun,
            load_tokenizer(folder / "base"),
            score=lambda answers: scorer.scores([Response(*answer) for answer in answers]),
            offset=0.0,
            held_out_score=None,
            prompts=Prompts(prompts, ()),
            config=config,
            seed=0,
            work=folder / "ppo",
        )

        def step() -> Any:
            ppo._step(0)
            return ppo, scorer

        return step

    return work


def bytes_of_all() -> Iterator[int]:
    """The bytes of every block of memory that a living tensor holds, each block once."""
    import torch

    gc.collect()
    seen: set[int] = set()
    for found in gc.get_objects():
        if not isinstance(found, torch.Tensor) or found.device.type == "meta":
            continue
        block = found.untyped_storage()
        if block.data_ptr() not in seen:
            seen.add(block.data_ptr())
            yield block.nbytes()


if __name__ == "__main__":
    main()
