"""What vLLM is told and what is read from its answers, as plain values.

Read in the sources of vLLM 0.29.0: `vllm/entrypoints/llm.py` (LLM), `vllm/engine/arg_utils.py`
(EngineArgs), `vllm/sampling_params.py`, `vllm/outputs.py`, `vllm/logprobs.py`. Nothing here imports
vllm, so that all of it is tested without a GPU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from constitutional.engines.base import Completion, SamplingParams
from constitutional.engines.vllm.checks import rank_to_reserve
from constitutional.engines.vllm.settings import VllmSettings
from constitutional.errors import EngineError

#: vLLM raises a smaller temperature to this one, and refuses one above the other.
LEAST_TEMPERATURE, MOST_TEMPERATURE = 0.01, 2.0
#: The most token ids of one question (`MAX_LOGPROB_TOKEN_IDS`).
MOST_TOKENS = 128


class Logprob(Protocol):
    """The part of vLLM's `Logprob` that is read."""

    logprob: float


class Output(Protocol):
    """The part of vLLM's `CompletionOutput` that is read."""

    text: str
    token_ids: Sequence[int]
    #: For each new token: by token id the log-probabilities that were asked for.
    logprobs: Sequence[Mapping[int, Logprob]] | None
    finish_reason: str | None
    #: The stop string or end token that was met; None for the first end token.
    stop_reason: int | str | None


class Ends(Protocol):
    """Where a text ends: :class:`constitutional.engines.decoding.Ending`."""

    def completion(self, tokens: Sequence[int], logprobs: Sequence[float]) -> Completion:
        """The text of all sampled tokens, and why it ended."""
        ...


def llm_arguments(settings: VllmSettings) -> dict[str, Any]:
    """The arguments of `vllm.LLM`. Raises ModelError for an adapter that vLLM would refuse.

    Log-probabilities are those of the model, before temperature. Weights are read from safetensors
    alone, no code of a model is run, and its sampling defaults stay unread.
    """
    arguments: dict[str, Any] = {
        "model": settings.model,
        "trust_remote_code": False,
        "load_format": "safetensors",
        "generation_config": "vllm",
        "dtype": "bfloat16" if settings.dtype == "auto" else settings.dtype,
        "tensor_parallel_size": settings.tensor_parallel_size,
        "gpu_memory_utilization": settings.gpu_memory_utilization,
        "enable_prefix_caching": True,
        "logprobs_mode": "raw_logprobs",
    }
    if settings.max_model_len is not None:
        arguments["max_model_len"] = settings.max_model_len
    if settings.lora is not None:
        rank = rank_to_reserve(settings.lora)
        arguments |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": rank}
    return arguments


def sampling_arguments(params: SamplingParams, seed: int, eos_ids: Sequence[int]) -> dict[str, Any]:
    """The arguments of `vllm.SamplingParams` for one text. Raises EngineError.

    Top-k, top-p and penalties are left at vLLM's defaults, which switch them off.
    """
    temperature = params.temperature
    if temperature and not LEAST_TEMPERATURE <= temperature <= MOST_TEMPERATURE:
        raise EngineError(
            f"vLLM samples at temperatures from {LEAST_TEMPERATURE} to {MOST_TEMPERATURE}, or at 0 "
            f"(greedy), found {temperature}"
        )
    if params.logprobs and temperature not in (0.0, 1.0):
        raise EngineError(
            "vLLM gives log-probabilities of the model's own distribution, which are those of the "
            f"draw at temperature 1 (or 0), and not at {temperature}"
        )
    return {
        "max_tokens": params.max_new_tokens,
        "temperature": temperature,
        "seed": seed,
        "stop": list(params.stop),
        "stop_token_ids": list(eos_ids),
        "logprobs": 0 if params.logprobs else None,
    }


def choice_arguments(tokens: Sequence[int]) -> dict[str, Any]:
    """The arguments of `vllm.SamplingParams` for the log-probabilities of ``tokens`` as the next.

    One token is sampled and thrown away. Log-probabilities of the prompt are never asked for: they
    bypass the prefix cache and need memory for the whole vocabulary at every position.
    """
    if len(tokens) > MOST_TOKENS:
        raise EngineError(f"vLLM weighs at most {MOST_TOKENS} tokens at once, found {len(tokens)}")
    return {
        "max_tokens": 1,
        "temperature": 0.0,
        "logprob_token_ids": list(tokens),
        "detokenize": False,
    }


def completion_of(output: Output, ending: Ends, *, logprobs: bool) -> Completion:
    """One sampled text. The tokens decide, as with the local engine. Raises EngineError."""
    _check_finished(output)
    tokens = list(output.token_ids)
    drawn = [_of(output, at, token) for at, token in enumerate(tokens)] if logprobs else []
    completion = ending.completion(tokens, drawn)
    if isinstance(output.stop_reason, str) and completion.ended != "stop":
        # vLLM decodes step by step and may find a stop string that the whole text does not hold
        return replace(completion, text=output.text, ended="stop")
    return completion


def next_token_logprobs(output: Output, tokens: Sequence[int]) -> list[float]:
    """The log-probabilities of ``tokens`` as the next. Raises EngineError where one is missing."""
    _check_finished(output)
    return [_of(output, 0, token) for token in tokens]


def _of(output: Output, at: int, token: int) -> float:
    try:
        return float((output.logprobs or ())[at][token].logprob)
    except (IndexError, KeyError):
        raise EngineError(
            f"vLLM was asked for the log-probability of token {token} and left it out"
        ) from None


def _check_finished(output: Output) -> None:
    if output.finish_reason not in ("stop", "length"):
        raise EngineError(f"vLLM did not finish a request: {output.finish_reason}")
