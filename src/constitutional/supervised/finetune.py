"""Finetuning of the pretrained model on revisions and helpful responses (Bai et al. 2022, s. 3.2).

It is transformers' Trainer, with its resume, its Accelerate and its trackers; what is ours are the
data: loss masks by position and batches of like length. The defaults are the paper's where it gives
them (one epoch, constant learning rate); it gives learning rates only relative to pretraining.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import TrainerCallback

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
    merge = config.lora is not None
    snapshots = work / "snapshots"
    keep = (
        [Snapshots(snapshots, config.snapshot_steps, tokenizer, merge=merge)]
        if config.snapshot_steps
        else []
    )
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
        callbacks=keep,
    )
    report = FinetuneReport(
        examples=len(kept),
        too_long=len(examples) - len(kept),
        target_tokens=sum(sum(example.loss) for example in kept),
        steps=trainer.state.global_step,
        losses=losses(trainer),
    )
    result = work / "result"
    _save(trainer.model, tokenizer, result, merge=merge)
    (result / "finetune.json").write_text(json.dumps(asdict(report), indent=2) + "\n")
    if snapshots.exists():
        shutil.copytree(snapshots, result / "snapshots", dirs_exist_ok=True)
    return report


class Snapshots(TrainerCallback):  # type: ignore[misc]  # transformers is not typed
    """Keeps a copy of the model every so many steps, in ``folder / "step-N"``; not of the last."""

    def __init__(self, folder: Path, every: int, tokenizer: Any, *, merge: bool):
        self._folder, self._every = folder, every
        self._tokenizer, self._merge = tokenizer, merge

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Write the copy under another name first: what can be seen is whole."""
        step = state.global_step
        if step % self._every or step >= state.max_steps:
            return
        partial, whole = self._folder / "partial", self._folder / f"step-{step}"
        for stale in (partial, whole):
            shutil.rmtree(stale, ignore_errors=True)
        _save(
            copy.deepcopy(model) if self._merge else model,
            self._tokenizer,
            partial,
            merge=self._merge,
        )
        partial.rename(whole)


def _pad_id(tokenizer: Any) -> int:
    """Any id will do, since padding is masked by position."""
    for token in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    return 0


def _save(network: Any, tokenizer: Any, folder: Path, *, merge: bool) -> None:
    network = network.merge_and_unload() if merge else network
    with without_bars():
        network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
