from __future__ import annotations

from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
)

from constitutional.dialogue import Conversation, PromptRecord

WORDS = [
    "<pad>",
    "<end>",
    "yes",
    "no",
    "maybe",
    "why",
    "how",
    "what",
    "Human:",
    "Assistant:",
    "\n\n",
]


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<pad>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="<end>", unk_token="<pad>"
    )


def config() -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
        num_labels=1,
    )


@pytest.fixture
def policy() -> Any:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    return LlamaForCausalLM(config())


@pytest.fixture
def preference_model() -> Any:
    torch.manual_seed(1)
    return LlamaForSequenceClassification(config())


@pytest.fixture(scope="session")
def prompts() -> list[PromptRecord]:
    return [
        PromptRecord(id=f"p{i}", conversation=Conversation.of(text), kind="red_team", source="test")
        for i, text in enumerate(("why", "how", "what", "why how", "how what why", "what what"))
    ]
