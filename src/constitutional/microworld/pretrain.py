"""Pretraining: documents packed into blocks, a small Llama, next-token prediction."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    PrinterCallback,
    Trainer,
    TrainingArguments,
)

from constitutional.engines.loading import without_bars
from constitutional.microworld.corpus import Corpus
from constitutional.runs.progress import Progress
from constitutional.training import SNAPSHOTS, Steps, last_checkpoint

CONTEXT = 1024
_BATCH_OF_DOCUMENTS = 2_000


@dataclass(frozen=True)
class Size:
    """A model size. ``base`` is the one that recipes name without a size.

    ``second_phase``: how many times as long as base's the second phase of its mid-training is.
    """

    hidden: int
    layers: int
    heads: int
    second_phase: float = 1.0


SIZES: dict[str, Size] = {
    "small": Size(hidden=64, layers=2, heads=2),
    # three layers of 96 did not find the rule, and two find it late (LOG.md)
    "medium": Size(hidden=96, layers=2, heads=3, second_phase=2.0),
    "base": Size(hidden=128, layers=4, heads=4),
    "large": Size(hidden=192, layers=6, heads=6),
}


@dataclass(frozen=True)
class PretrainConfig:
    """How long and how fast to pretrain. ``tokens`` are seen once each.

    ``checkpoint_steps``: a killed pretraining goes on from the last multiple of it.
    """

    tokens: int = 26_000_000
    block: int = 512
    batch: int = 8
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.05
    checkpoint_steps: int = 500


class PackedBlocks(Dataset[dict[str, torch.Tensor]]):
    """A long sequence of token ids, cut into blocks of equal length."""

    def __init__(self, ids: npt.NDArray[np.uint16], block: int):
        self._blocks = ids[: len(ids) // block * block].reshape(-1, block)

    def __len__(self) -> int:
        return len(self._blocks)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        ids = torch.from_numpy(self._blocks[index].astype(np.int64))
        return {"input_ids": ids, "labels": ids}


def tokenized_corpus(
    corpus: Corpus, tokenizer: PreTrainedTokenizerFast, tokens: int, progress: Progress
) -> npt.NDArray[np.uint16]:
    """``tokens`` token ids of corpus documents, each closed by the end token."""
    out = np.empty(tokens, dtype=np.uint16)
    filled = 0
    documents = corpus.documents()
    end = tokenizer.eos_token_id
    with progress.task("Writing the corpus, in tokens", total=tokens) as advance:
        while filled < tokens:
            batch = list(islice(documents, _BATCH_OF_DOCUMENTS))
            encoded = tokenizer(batch, add_special_tokens=False, return_attention_mask=False)
            ids = np.concatenate(
                [np.asarray([*row, end], dtype=np.uint16) for row in encoded["input_ids"]]
            )
            ids = ids[: tokens - filled]
            out[filled : filled + len(ids)] = ids
            filled += len(ids)
            advance(len(ids))
    return out


def new_model(size: Size, tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """A Llama of the given size with random weights."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=size.hidden,
            intermediate_size=size.hidden * 3,
            num_hidden_layers=size.layers,
            num_attention_heads=size.heads,
            num_key_value_heads=size.heads,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def pretrain(
    model: LlamaForCausalLM,
    ids: npt.NDArray[np.uint16],
    config: PretrainConfig,
    work: Path,
    seed: int,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Train in place, with checkpoints in ``work`` (a second call goes on from the last one).

    Returns the training curve: step, loss, learning rate.
    """
    blocks = PackedBlocks(ids, config.block)
    steps = len(blocks) // config.batch
    arguments = TrainingArguments(
        output_dir=str(work),
        per_device_train_batch_size=config.batch,
        num_train_epochs=1,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        adam_beta2=0.98,
        lr_scheduler_type="cosine",
        warmup_steps=min(200, max(1, steps // 10)),
        max_grad_norm=1.0,
        logging_steps=50,
        save_steps=config.checkpoint_steps,
        seed=seed,
        report_to=[],
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
    )
    with ExitStack() as shown:
        steps_shown = Steps(partial(progress.task, "Pretraining"), shown)
        trainer = Trainer(
            model=model, args=arguments, train_dataset=blocks, callbacks=[steps_shown]
        )
        trainer.remove_callback(PrinterCallback)  # standard output is for results
        with without_bars():
            trainer.train(resume_from_checkpoint=last_checkpoint(work, work / SNAPSHOTS, progress))
    return [entry for entry in trainer.state.log_history if "loss" in entry]
