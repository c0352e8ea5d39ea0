"""Finetuning of the pretrained model on revisions and helpful responses (Bai et al. 2022, s. 3.2).

It is transformers' Trainer, with its resume, its Accelerate and its trackers; what is ours are the
data: loss masks by position and batches of like length. The defaults are the paper's where it gives
them (one epoch, constant learning rate); it gives learning rates only relative to pretraining.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from constitutional.dialogue import Conversation
from constitutional.dialogue.tokens import TokenizedExample, encode_example
from constitutional.engines.base import Style
from constitutional.engines.loading import load_parts, without_bars
from constitutional.errors import InputError
from constitutional.runs.progress import Progress
from constitutional.supervised.settings import FinetuneConfig
from constitutional.training import Steps, losses, pad_right, train, with_adapters

IGNORED = -100


@dataclass(frozen=True)
class FinetuneReport:
    """What a finetuning did. ``losses`` are (step, mean loss of the steps since the last).

    The loss of a step is the mean over its target tokens.
    """

    examples: int
    too_long: int
    target_tokens: int
    steps: int
    losses: tuple[tuple[int, float], ...]


class Examples(Dataset[dict[str, Any]]):
    """Tokenised examples as the Trainer reads them."""

    def __init__(self, examples: Sequence[TokenizedExample]):
        self._examples = examples

    @property
    def lengths(self) -> list[int]:
        """The tokens of each example."""
        return [len(example.input_ids) for example in self._examples]

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        example = self._examples[index]
        labels = [
            token if learn else IGNORED
            for token, learn in zip(example.input_ids, example.loss, strict=True)
        ]
        return {"input_ids": example.input_ids, "labels": labels}


@dataclass(frozen=True)
class PadRight:
    """Collates examples into (batch, longest) tensors, padded on the right.

    The attention mask follows from the lengths, so the pad token may equal the end token.
    """

    pad_id: int

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """The batch as the model takes it."""
        ids, mask = pad_right([example["input_ids"] for example in examples], self.pad_id)
        labels, _ = pad_right([example["labels"] for example in examples], IGNORED)
        return {"input_ids": ids, "labels": labels, "attention_mask": mask}


def finetune(
    model: str | Path,
    conversations: Sequence[Conversation],
    *,
    style: Style,
    config: FinetuneConfig,
    work: Path,
    seed: int,
    progress: Progress,
    title: str = "Finetuning",
    device: str = "auto",
    steps: type[Steps] = Steps,
) -> FinetuneReport:
    """Train ``model`` on the last turn of each conversation; leaves ``work / "result"``.

    The result is a plain Hugging Face folder with the report beside the weights. A call that was
    killed goes on from its last complete checkpoint in ``work`` and, on a CPU, ends with the same
    bytes. Raises InputError when no example is left to train on.
    """
    network, tokenizer = load_parts(model, device=device, dtype="float32")
    examples = [encode_example(tokenizer, c, style, config.max_length) for c in conversations]
    kept = [example for example in examples if not example.cut]
    if not kept:
        raise InputError(
            f"there is nothing to train on: {len(examples)} examples, of which {len(examples)} are "
            f"longer than max_length {config.max_length}"
        )
    if config.lora:
        network = with_adapters(network, config.lora, seed, what="finetuning")
    trainer = train(
        network,
        Examples(kept),
        PadRight(_pad_id(tokenizer)),
        settings=config,
        work=work,
        seed=seed,
        task=partial(progress.task, title),
        device=device,
        steps=steps,
    )
    report = FinetuneReport(
        examples=len(kept),
        too_long=len(examples) - len(kept),
        target_tokens=sum(sum(example.loss) for example in kept),
        steps=trainer.state.global_step,
        losses=losses(trainer),
    )
    _save(trainer.model, tokenizer, report, work / "result", merge=config.lora is not None)
    return report


def _pad_id(tokenizer: Any) -> int:
    """Any id will do, since padding is masked by position."""
    for token in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    return 0


def _save(
    network: Any, tokenizer: Any, report: FinetuneReport, result: Path, *, merge: bool
) -> None:
    network = network.merge_and_unload() if merge else network
    with without_bars():
        network.save_pretrained(result)
    tokenizer.save_pretrained(result)
    (result / "finetune.json").write_text(json.dumps(asdict(report), indent=2) + "\n")
