"""Makes everything that ships with the microworld again, from a seed: ``cai microworld build``.

Corpus, tokenizer, pretrained model, helpful-only model, prompt files. Each step that is done is not
done again; the pretraining goes on from its last checkpoint.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import torch

from constitutional.microworld.corpus import Corpus
from constitutional.microworld.pretrain import (
    CONTEXT,
    SIZES,
    PretrainConfig,
    new_model,
    pretrain,
    tokenized_corpus,
)
from constitutional.microworld.tokenizer import build_tokenizer

_DOCUMENTS_FOR_VOCABULARY = 20_000


def build_pretrained(out: Path, size: str, config: PretrainConfig, seed: int) -> Path:
    """The pretrained model in ``out / "pretrained"``, with its training curve beside it."""
    done = out / "pretrained"
    if done.exists():
        return done
    tokenizer = build_tokenizer(
        islice(Corpus(seed).documents(), _DOCUMENTS_FOR_VOCABULARY), CONTEXT
    )
    ids = tokenized_corpus(Corpus(seed), tokenizer, config.tokens)
    model = new_model(SIZES[size], tokenizer, seed)
    curve = pretrain(model, ids, config, out / "work-pretrained", seed)
    partial = out / "pretrained.partial"
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    record = {
        "size": size,
        "seed": seed,
        "parameters": model.num_parameters(),
        "threads": torch.get_num_threads(),
        "config": asdict(config),
        "curve": curve,
    }
    (out / "pretraining.json").write_text(json.dumps(record, indent=1) + "\n")
    partial.rename(done)
    return done
