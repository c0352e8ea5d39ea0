"""What each server takes beyond the common protocol, and what it can be trusted with.

One line for each server that was read (vLLM, transformers) or is documented so (the others); tests
run `transformers serve` and, on request, llama.cpp. ``other`` asks for nothing unusual.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

ServerName = Literal["vllm", "sglang", "llama.cpp", "ollama", "transformers", "openai", "other"]
#: How choices are asked for; ``votes`` is by sampling, the others by log-probabilities.
Way = Literal[
    "logprobs", "logprob_token_ids", "generative_scoring", "decisions", "systemone", "votes"
]


@dataclass(frozen=True)
class Dialect:
    """How one kind of server is spoken to."""

    #: Stop strings that one request may carry; the others are cut off here.
    stops: int = 4
    #: Bits of a seed that it takes; 0: it takes none that holds for one request alone.
    seed_bits: int = 63
    #: Whether the same seed gives the same text again.
    seeds: bool = False
    #: Whether the model goes on with an assistant message that stands last, and what asks for it.
    continues: bool = True
    continuing: Mapping[str, Any] = field(default_factory=dict)
    #: What keeps a model's own defaults (top-k, top-p, penalties) out of the sampling.
    whole_distribution: Mapping[str, Any] = field(default_factory=dict)
    #: What switches thinking off in a chat.
    no_thinking: Mapping[str, Any] = field(default_factory=dict)
    #: The key of a chat that holds ``max_new_tokens``.
    max_tokens: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    #: The ways in which choices can be asked for; ``auto`` is the first.
    ways: tuple[Way, ...] = ("logprobs", "votes")


_CONTINUE = {"continue_final_message": True, "add_generation_prompt": False}
_NO_THINKING = {"chat_template_kwargs": {"enable_thinking": False}}
_WHOLE = {"top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}

DIALECTS: Mapping[ServerName, Dialect] = {
    "vllm": Dialect(
        stops=64,
        seeds=True,
        continuing=_CONTINUE,
        whole_distribution=_WHOLE,
        no_thinking=_NO_THINKING,
        ways=(
            "logprob_token_ids",
            "generative_scoring",
            "logprobs",
            "decisions",
            "systemone",
            "votes",
        ),
    ),
    "sglang": Dialect(
        stops=64, continuing=_CONTINUE, whole_distribution=_WHOLE, no_thinking=_NO_THINKING
    ),
    "llama.cpp": Dialect(
        stops=64,
        seed_bits=31,
        seeds=True,
        whole_distribution={"top_p": 1.0, "top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0},
        no_thinking=_NO_THINKING,
    ),
    "ollama": Dialect(seed_bits=31, seeds=True, whole_distribution={"top_p": 1.0}),
    # Its stop strings fail on some tokenizers and stay in the text, and its seed is one for all
    # requests. Without do_sample it is greedy at any temperature.
    "transformers": Dialect(
        stops=0,
        seed_bits=0,
        continues=False,
        whole_distribution={"generation_config": '{"do_sample": true, "top_k": 0, "top_p": 1.0}'},
        no_thinking=_NO_THINKING,
        ways=("logprobs", "systemone", "votes"),
    ),
    "openai": Dialect(
        continues=False,
        max_tokens="max_completion_tokens",
        ways=("logprobs", "decisions", "votes"),
    ),
    "other": Dialect(ways=("logprobs", "decisions", "systemone", "votes")),
}
