from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from constitutional.engines.local import LocalEngine

CORPUS = [
    "\n\nHuman: Can you tell me how the weather will be tomorrow?",
    "\n\nAssistant: I can not see the weather, but the forecast can tell you.",
    "\n\nCritiqueRequest: Point out what is harmful in the answer.",
    "(A) the first answer is better (B) the second answer is better",
] * 20


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE: 256 bytes, 3 special tokens, some merges."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|endoftext|>")


@pytest.fixture(scope="session")
def model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.3,  # wide, so that the distributions are far from uniform
        eos_token_id=0,
        bos_token_id=None,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="session")
def qwen(tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    """With sliding windows on its second layer, which keeps the cache class of transformers."""
    torch.manual_seed(1)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=8,
        max_position_embeddings=256,
        use_sliding_window=True,
        sliding_window=12,
        max_window_layers=1,
        initializer_range=0.3,
        eos_token_id=0,
        bos_token_id=None,
    )
    return Qwen3ForCausalLM(config).eval()


@pytest.fixture(scope="session")
def engine(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> LocalEngine:
    return LocalEngine(model, tokenizer, name="tiny")


@pytest.fixture
def folder(tmp_path: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> Path:
    """The tiny model, saved, with sampling defaults that must not be followed."""
    path = tmp_path / "tiny"
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    settings = {"do_sample": True, "temperature": 0.01, "top_k": 1, "eos_token_id": 0}
    (path / "generation_config.json").write_text(json.dumps(settings))
    return path
