"""Finetuning of the pretrained model on revisions and helpful responses (Bai et al. 2022, s. 3.2).

It is transformers' Trainer, with its resume, its Accelerate and its trackers; what is ours are the
data: loss masks by position, and packed batches. The defaults are the paper's where it gives
them (one epoch, constant learning rate); it gives learning rates only relative to pretraining.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset
from transformers import TrainerCallback

from constitutional import processes
from constitutional.adapters import (
    base_fingerprint,
    keep_adapters,
    merged,
    quantize_of,
    with_adapters,
)
from constitutional.dialogue import Conversation
from constitutional.dialogue.tokens import TokenizedExample, encode_examples
from constitutional.engines.base import Style
from constitutional.engines.loading import eos_ids, load_parts, without_bars
from constitutional.errors import InputError
from constitutional.packing import Batching, Rows
from constitutional.runs.checkpoints import mark_snapshot
from constitutional.runs.progress import Progress
from constitutional.supervised.settings import FinetuneConfig
from constitutional.training import (
    IGNORED,
    SNAPSHOTS,
    OwnLoss,
    Steps,
    loading_device,
    losses,
    pad_right,
    tell_left_out,
    train,
    trained,
)
from constitutional.training_settings import LoraSettings


@dataclass(frozen=True)
class FinetuneReport:
    """What a finetuning did. ``losses`` are (step, mean loss of the steps since the last).

    The loss of a step is the mean over its target tokens. ``too_long`` examples were left out.
    """

    examples: int
    too_long: int
    too_long_tokens: int
    target_tokens: int
    steps: int
    losses: tuple[tuple[int, float], ...]


class Examples(Dataset[dict[str, Any]]):
    """Tokenised examples as the Trainer reads them, and the ``numbers`` of their conversations."""

    def __init__(self, examples: Sequence[TokenizedExample], numbers: Sequence[int]):
        self._examples, self._numbers = examples, numbers

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        example = self._examples[index]
        labels = [
            token if learn else IGNORED
            for token, learn in zip(example.input_ids, example.loss, strict=True)
        ]
        return {"input_ids": example.input_ids, "labels": labels}

    def name(self, index: int) -> str:
        """The conversation by its place among those that were given, from 1."""
        return f"conversation {self._numbers[index]}"


@dataclass(frozen=True)
class ExampleBatches:
    """Collates n examples: n rows, and "labels" (n, longest), ``IGNORED`` where none is learned."""

    batching: Batching

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The batch."""
        labels, _ = pad_right([example["labels"] for example in examples], IGNORED)
        return {
            "rows": self.batching.rows([example["input_ids"] for example in examples]),
            "labels": labels,
        }


class TargetTrainer(OwnLoss):
    """The Trainer with the loss of target tokens, for which alone logits are computed."""

    def each(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """The cross-entropy of each target token, (targets,)."""
        return target_losses(model, inputs["rows"], inputs["labels"])


def target_losses(model: Any, rows: Rows, labels: torch.Tensor) -> torch.Tensor:
    """The cross-entropy of each token that ``labels`` (n, longest) do not leave out, (targets,)."""
    targets = labels[:, 1:]
    learned = targets != IGNORED
    logits = rows.logits(model, rows.places[:, :-1][learned])
    return cross_entropy(logits.float(), targets[learned], reduction="none")


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

    The result is a plain Hugging Face folder with the report beside the weights; of a training with
    adapters they are merged in, and kept beside them. Of several processes the main one writes it.
    A call that was killed goes on from its last complete checkpoint in ``work`` and, on a CPU, ends
    with the same bytes. Raises InputError when no example is left to train on.
    """
    lora = config.lora
    _refuse_copies_of_shards(config)

    def begin() -> tuple[Any, Any]:
        return load_parts(
            model, device=loading_device(device), dtype="float32", quantize=quantize_of(lora)
        )

    def ready(network: Any) -> Any:
        _stop_at(network, tokenizer, end)
        return with_adapters(network, lora, seed, what="finetuning") if lora else network

    network, tokenizer = begin()
    _tell_empty(conversations, progress, title)
    data = _tokenise(tokenizer, conversations, style, config.max_length)
    among = len(data.kept) + len(data.cut)
    tell_left_out(progress, title, len(data.cut), among, sum(data.cut), config.max_length)
    end = data.kept[0].input_ids[-1]
    saved = _Saved(model, lora, tokenizer)
    snapshots, every = work / SNAPSHOTS, config.snapshot_steps
    batching = Batching.of(network)
    network = ready(network)
    with batching.attention(network):
        trainer = train(
            network,
            Examples(data.kept, data.numbers),
            ExampleBatches(batching),
            settings=config,
            work=work,
            seed=seed,
            progress=progress,
            title=title,
            device=device,
            kind=TargetTrainer,
            steps=steps,
            callbacks=[Snapshots(snapshots, every, saved)] if every else (),
        )
    report = data.report(trainer)
    result, network = work / "result", trained(trainer, lambda: ready(begin()[0]))
    if network is None:
        return report
    saved.at_the_end(network, result)
    (result / "finetune.json").write_text(json.dumps(asdict(report), indent=2) + "\n")
    if snapshots.exists():
        shutil.copytree(snapshots, result / SNAPSHOTS, dirs_exist_ok=True)
    return report


class _Data(NamedTuple):
    """What is trained on, each with its conversation's number, and the lengths of what is not."""

    kept: list[TokenizedExample]
    numbers: list[int]
    cut: list[int]

    def report(self, trainer: Any) -> FinetuneReport:
        return FinetuneReport(
            examples=len(self.kept),
            too_long=len(self.cut),
            too_long_tokens=sum(self.cut),
            target_tokens=sum(sum(example.loss) for example in self.kept),
            steps=trainer.state.global_step,
            losses=losses(trainer),
        )


def _tokenise(
    tokenizer: Any, conversations: Sequence[Conversation], style: Style, max_length: int
) -> _Data:
    """The conversations as tokens. Raises InputError where none is short enough."""
    examples = encode_examples(tokenizer, conversations, style, max_length)
    data = _Data(
        kept=[example for example in examples if not example.cut],
        numbers=[number for number, example in enumerate(examples, 1) if not example.cut],
        cut=[len(example.input_ids) for example in examples if example.cut],
    )
    if not data.kept:
        raise InputError(
            f"there is nothing to train on: {len(examples)} examples, of which {len(examples)} are "
            f"longer than max_length {max_length}"
        )
    return data


def _refuse_copies_of_shards(config: FinetuneConfig) -> None:
    if processes.sharding() and config.snapshot_steps:
        raise InputError(
            "'snapshot_steps' copies the model on its way, which is not done of weights that are "
            "sharded: leave it out, or use the configuration 'ddp'"
        )


def _tell_empty(conversations: Sequence[Conversation], progress: Progress, title: str) -> None:
    """Say how many answers hold nothing. Raises InputError where all are so."""
    empty = sum(not conversation.last.text.strip() for conversation in conversations)
    if empty and empty == len(conversations):
        raise InputError(
            f"{title}: all {empty} answers to train on are empty, from which a model learns to say "
            "nothing: see to the file, or to the stage that wrote them"
        )
    if empty:
        progress.note(
            f"{title}: {empty} of {len(conversations)} answers are empty, and teach to say nothing"
        )


class Snapshots(TrainerCallback):  # type: ignore[misc]  # transformers is not typed
    """Keeps a copy of the model every so many steps, in ``folder / "step-N"``; not of the last."""

    def __init__(self, folder: Path, every: int, saved: _Saved):
        self._folder, self._every, self._saved = folder, every, saved

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Write the copy under another name first: what can be seen is whole."""
        step = state.global_step
        if step % self._every or step >= state.max_steps or not state.is_world_process_zero:
            return
        partial, whole = self._folder / "partial", self._folder / f"step-{step}"
        for stale in (partial, whole):
            shutil.rmtree(stale, ignore_errors=True)
        self._saved.on_the_way(model, partial)
        partial.rename(whole)
        mark_snapshot(self._folder, step)


def _stop_at(network: Any, tokenizer: Any, end: int) -> None:
    """Let whoever samples from the result stop at ``end``, with which it learns to end its turns.

    A pretrained model's own settings may know the end of a document alone.
    """
    known = eos_ids(network, tokenizer)
    if end not in known:
        network.generation_config.eos_token_id = [*known, end]


@dataclass(frozen=True)
class _Saved:
    """How a network is saved that is trained from ``model``, with adapters where ``lora`` says."""

    model: str | Path
    lora: LoraSettings | None
    tokenizer: Any

    def on_the_way(self, trained: Any, folder: Path) -> None:
        """A plain folder; the network stays as it is."""
        if self.lora and self.lora.quantize is None:
            trained = copy.deepcopy(trained)
        self._write(trained, folder)

    def at_the_end(self, trained: Any, folder: Path) -> None:
        """A plain folder, with the adapters beside the weights that they are merged into."""
        if self.lora:
            mark = base_fingerprint(self.model)
            keep_adapters(trained, folder, base=self.model, fingerprint=mark, settings=self.lora)
        self._write(trained, folder)

    def _write(self, trained: Any, folder: Path) -> None:
        if self.lora:
            trained = merged(trained, self.lora, self._base)
        with without_bars():
            trained.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def _base(self) -> Any:
        return load_parts(self.model, device="cpu", dtype="stored")[0]
