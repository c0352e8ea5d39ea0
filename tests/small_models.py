"""Randomly initialised models of real families, with tokenizers and chat templates, as folders.

Each has what its family has and others have not: Qwen3 an empty thought and more rows of embeddings
than tokens; Llama 3 header tokens and today's date in its system header; Gemma no system role, tied
embeddings, softly capped logits and windows on every other layer; Mistral ``[INST]``, a window on
every layer and, like Llama, no pad token. The templates are ours and behave as the families' do.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

#: Positions that a layer with a window sees, where a family has such layers.
WINDOW = 16
#: Rows of embeddings behind the last token, as Qwen has some three hundred.
UNUSED_ROWS = 13

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    # an answer that ends the chat has its thought, earlier ones have lost theirs
    "{% if m['role'] == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n"
    "{% endif %}{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% if date_string is not defined %}"
    "{% set date_string = strftime_now('%d %b %Y %H:%M:%S') %}{% endif %}"
    "<|start_header_id|>system<|end_header_id|>\n\nToday Date: {{ date_string }}\n\n"
    "{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] }}"
    "{% set messages = messages[1:] %}{% endif %}<|eot_id|>"
    "{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>"
    "\n\n{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
_ALTERNATING = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate user and assistant') }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    + _ALTERNATING
    + "<start_of_turn>"
    "{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{{ m['content'] | trim }}"
    "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{% set system = messages[0]['content'] %}{% set messages = messages[1:] %}{% endif %}"
    + _ALTERNATING
    + "{% if m['role'] == 'user' %}[INST] "
    "{% if loop.last and system is defined %}{{ system }}\n\n{% endif %}{{ m['content'] }}[/INST]"
    "{% else %} {{ m['content'] | trim }}{{ eos_token }}{% endif %}{% endfor %}"
)


@dataclass(frozen=True)
class Family:
    """What a family's models and tokenizers have of their own."""

    model_type: str
    template: str
    special: tuple[str, ...]
    eos: str
    bos: str | None = None
    pad: str | None = None
    #: Of the pretrained model, which never saw a chat: its end token, and whether its tokenizer has
    #: a chat template all the same.
    base_eos: str | None = None
    base_template: bool = False
    config: dict[str, Any] = field(default_factory=dict)


_HEADERS = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
_TURNS = ("<start_of_turn>", "<end_of_turn>")
_GEMMA: dict[str, Any] = {"head_dim": 8, "sliding_window": WINDOW, "query_pre_attn_scalar": 8}
FAMILIES = {
    "qwen3": Family(
        model_type="qwen3",
        template=CHATML,
        special=("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        eos="<|im_end|>",
        pad="<|endoftext|>",
        base_eos="<|endoftext|>",
        base_template=True,
        config={"head_dim": 8, "tie_word_embeddings": True},
    ),
    "llama": Family(
        model_type="llama",
        template=LLAMA3,
        special=("<|begin_of_text|>", "<|end_of_text|>", *_HEADERS),
        eos="<|eot_id|>",
        bos="<|begin_of_text|>",
        base_eos="<|end_of_text|>",
    ),
    "gemma2": Family(
        model_type="gemma2",
        template=GEMMA,
        special=("<pad>", "<eos>", "<bos>", *_TURNS),
        # of the tokenizer; the turn ends in another, which the generation settings name too
        eos="<eos>",
        bos="<bos>",
        pad="<pad>",
        config={**_GEMMA, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 5.0},
    ),
    "gemma3": Family(
        model_type="gemma3_text",
        template=GEMMA,
        special=("<pad>", "<eos>", "<bos>", *_TURNS),
        eos="<eos>",
        bos="<bos>",
        pad="<pad>",
        config={**_GEMMA, "layer_types": ["sliding_attention", "full_attention"]},
    ),
    "mistral": Family(
        model_type="mistral",
        template=MISTRAL,
        special=("<unk>", "<s>", "</s>", "[INST]", "[/INST]"),
        eos="</s>",
        bos="<s>",
        config={"sliding_window": WINDOW, "head_dim": 8},
    ),
}
_SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 8192,
}


def save_random_model(
    folder: Path, family: str, texts: Iterable[str], *, base: bool = False, **config: Any
) -> Path:
    """A 2-layer model of ``family`` with random weights and a tokenizer of the texts.

    ``base`` is the pretrained model and else the chat model, as the family's two are on the hub.
    """
    tokenizer = random_tokenizer(family, texts, base=base)
    model = random_model(family, tokenizer, **config)
    # A random model hardly ever stops: here part of the vocabulary ends a text.
    ends = [tokenizer.eos_token, *(["<end_of_turn>"] if "gemma" in family and not base else [])]
    ends = tokenizer.convert_tokens_to_ids(ends)
    model.generation_config.eos_token_id = [*ends, *range(300, len(tokenizer), 4)]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def random_model(family: str, tokenizer: PreTrainedTokenizerFast, **config: Any) -> Any:
    """The model in memory, in evaluation mode."""
    known = FAMILIES[family]
    settings = {
        "vocab_size": len(tokenizer) + UNUSED_ROWS,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        **_SIZES,
        **known.config,
        **config,
    }
    torch.manual_seed(0)
    made = AutoModelForCausalLM.from_config(AutoConfig.for_model(known.model_type, **settings))
    return made.eval()


def random_tokenizer(
    family: str, texts: Iterable[str], *, base: bool = False
) -> PreTrainedTokenizerFast:
    """A byte-level BPE of the texts with the family's special tokens."""
    known = FAMILIES[family]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1000,
        special_tokens=list(known.special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    if known.bos is not None:  # plain texts begin with it too
        begin = [(known.bos, bpe.token_to_id(known.bos))]
        bpe.post_processor = processors.TemplateProcessing(
            single=f"{known.bos} $A", special_tokens=begin
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=known.bos,
        eos_token=known.base_eos if base and known.base_eos else known.eos,
        pad_token=known.pad,
        chat_template=None if base and not known.base_template else known.template,
    )
