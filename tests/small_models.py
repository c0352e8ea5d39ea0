"""Randomly initialised models of real architectures, with their chat templates, as folders."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n"
    "{% endif %}{% endif %}"
)
LLAMA3 = (
    "<|begin_of_text|>{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>"
    "\n\n{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
_SPECIAL = {
    "qwen3": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    "llama": ["<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"],
}
_SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 8192,
}


def save_random_model(folder: Path, architecture: str, texts: Iterable[str]) -> Path:
    """A 2-layer ``qwen3`` or ``llama`` with random weights and a tokenizer of the texts."""
    tokenizer = _tokenizer(architecture, texts)
    torch.manual_seed(0)
    common = {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id, **_SIZES}
    if architecture == "qwen3":
        model = Qwen3ForCausalLM(Qwen3Config(head_dim=8, bos_token_id=None, **common))
    else:
        model = LlamaForCausalLM(LlamaConfig(bos_token_id=tokenizer.bos_token_id, **common))
    # A random model hardly ever stops: here a tenth of the vocabulary ends a text.
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, *range(300, 400)]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer(architecture: str, texts: Iterable[str]) -> PreTrainedTokenizerFast:
    special = _SPECIAL[architecture]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1000,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    llama = architecture == "llama"
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=special[0] if llama else None,
        eos_token="<|eot_id|>" if llama else "<|im_end|>",
        chat_template=LLAMA3 if llama else CHATML,
    )
