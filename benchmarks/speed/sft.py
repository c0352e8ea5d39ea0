"""Finetuning on the demo's revisions and helpful replies, by ours and by TRL's SFTTrainer.

The same examples, batch size, epoch and learning rate; the loss is on the last turn alone. Ours is
timed whole, from texts to saved weights; the peer from ``train()`` on, its data prepared before.
"""

from __future__ import annotations

import random
from pathlib import Path

import torch
from benchmarks.speed import material, trl_trainings
from benchmarks.speed.demo import demo, finetuning_examples, recipe
from benchmarks.speed.floor import Need, Shape, optimizer_bytes, training_flops
from benchmarks.speed.measuring import Clock, Floor, Measured, Side
from benchmarks.speed.options import Options

from constitutional.dialogue import Conversation, encode_example
from constitutional.engines.loading import load_parts
from constitutional.runs.progress import QuietProgress
from constitutional.supervised.finetune import finetune
from constitutional.supervised.settings import FinetuneConfig

HELD_OUT = 200


def ours(options: Options) -> Side:
    """:func:`finetune`."""
    model = material.model_folder("pretrained", options)
    train, held_out = _examples(options)
    config = _config()

    def trained(examples: list[Conversation], out: Path, seed: int) -> float:
        clock = Clock()
        with clock():
            finetune(
                model,
                examples,
                style="transcript",
                config=config,
                work=out,
                seed=seed,
                progress=QuietProgress(),
                device=options.device,
            )
        return clock.seconds

    trained(train[: config.batch_size], options.emptied("sft/ours"), 0)
    floor = _floor(model, train, config, options)

    def round_(number: int) -> Measured:
        out = options.emptied("sft/ours")
        seconds = trained(train, out, number)
        return Measured(seconds, len(train), _quality(out, held_out, options), floor=floor)

    return Side(round_)


def peer(options: Options) -> Side:
    """TRL's SFTTrainer."""
    model = material.model_folder("pretrained", options)
    train, held_out = _examples(options)
    config = _config()
    first = train[: config.batch_size]
    trl_trainings.finetune(model, first, config, options.emptied("sft/peer"), 0, Clock())

    def round_(number: int) -> Measured:
        out, clock = options.emptied("sft/peer"), Clock()
        trl_trainings.finetune(model, train, config, out, number, clock)
        return Measured(clock.seconds, len(train), _quality(out, held_out, options))

    return Side(round_)


def _config() -> FinetuneConfig:
    """The demo's, for one epoch; a checkpoint as often as TRL's trainers write one."""
    return recipe().finetune.model_copy(update={"epochs": 1.0, "checkpoint_steps": 500})


def _examples(options: Options) -> tuple[list[Conversation], list[Conversation]]:
    """What is trained on, and what the loss is taken of afterwards."""
    found = finetuning_examples(demo(options))
    random.Random(0).shuffle(found)
    aside = options.sized(HELD_OUT, 16)
    return found[aside:][: options.sized(3000, 64)], found[:aside]


@torch.inference_mode()
def _quality(out: Path, held_out: list[Conversation], options: Options) -> dict[str, float]:
    """The mean loss of a held-out target token, in nats."""
    model, tokenizer = load_parts(out / "result", device=options.device, dtype="float32")
    total, count = 0.0, 0
    for conversation in held_out:
        example = encode_example(tokenizer, conversation, "transcript", 10_000)
        ids = torch.tensor([example.input_ids], device=model.device)
        scores = model(ids).logits[0, :-1].log_softmax(-1)
        learnt = torch.tensor(example.loss[1:], device=model.device)
        each = -scores.gather(-1, ids[0, 1:, None])[:, 0]
        total += each[learnt].sum().item()
        count += int(learnt.sum())
    return {"held_out_loss": total / count}


def _floor(
    model: Path, train: list[Conversation], config: FinetuneConfig, options: Options
) -> Floor:
    network, tokenizer = load_parts(model, device="cpu", dtype="float32")
    examples = [encode_example(tokenizer, c, "transcript", config.max_length) for c in train]
    shape = Shape.of(network.config)
    flops = training_flops(
        shape, [len(e.input_ids) for e in examples], heads=sum(sum(e.loss) for e in examples)
    )
    steps = -(-len(train) // config.batch_size)
    return Floor(Need(flops, optimizer_bytes(network.num_parameters(), steps)), shape, 1024)
