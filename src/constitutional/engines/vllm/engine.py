"""The `vllm` engine: batches of requests on GPUs, with a cache that shares their beginnings.

What this file adds to :mod:`.protocol` is the calls of vLLM themselves. Prompts are tokenised here
and handed over as token ids, so that they are those of the `transformers` engine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from constitutional.engines.asking import (
    check_fits,
    check_request,
    choices_ids,
    chosen_style,
    encode,
    ends_of_answers,
    spoken,
)
from constitutional.engines.base import Capabilities, Completion, Prompt, SamplingParams, Style
from constitutional.engines.decoding import Ending
from constitutional.engines.files import files_hash
from constitutional.engines.loading import end_ids, load_tokenizer
from constitutional.engines.system import with_system
from constitutional.engines.vllm.checks import check_installed
from constitutional.engines.vllm.protocol import (
    choice_arguments,
    completion_of,
    llm_arguments,
    next_token_logprobs,
    sampling_arguments,
)
from constitutional.engines.vllm.settings import VllmSettings
from constitutional.engines.walk import walk_tokens
from constitutional.errors import EngineError, ModelError

#: Part of every fingerprint; raise it when the same settings would give other texts.
ENGINE_VERSION = "1"


class VllmEngine:
    """A model that vLLM runs in this process. See :class:`~.base.Engine` for the methods.

    Raises MissingExtraError and ModelError when made, which takes minutes for large models.
    """

    def __init__(self, settings: VllmSettings):
        check_installed()
        import vllm
        from vllm.lora.request import LoRARequest

        self.settings = settings
        self._tokenizer = load_tokenizer(settings.model)
        self._style = chosen_style(settings.style, self._tokenizer, settings.model)
        named = end_ids(settings.model, self._tokenizer)
        self._eos_ids = ends_of_answers(named, self._tokenizer, self._style)
        arguments = llm_arguments(settings)
        try:
            self._llm: Any = vllm.LLM(**arguments)
        except (ValueError, RuntimeError, OSError) as error:
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ModelError(f"{settings.model} cannot be run by vLLM: {first}") from error
        self._params = vllm.SamplingParams
        self._version = str(vllm.__version__)
        self._lora = settings.lora and LoRARequest("adapter", 1, settings.lora)

    @property
    def name(self) -> str:
        """``vllm:`` and the folder's or the hub name, and with an adapter its folder's name."""
        model = self.settings.model
        short = Path(model).resolve().name if Path(model).is_dir() else model
        return f"vllm:{short}" + (f"+{Path(self.settings.lora).name}" if self.settings.lora else "")

    @cached_property
    def fingerprint(self) -> str:
        """A sha256 over the files of model and adapter, the settings and vLLM's version."""
        settings = self.settings
        kept = settings.model_dump(exclude={"model", "lora", "gpu_memory_utilization"})
        files = [files_hash(settings.model), settings.lora and files_hash(settings.lora)]
        parts = [ENGINE_VERSION, self._version, self._style, self._eos_ids, kept, files]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    @property
    def style(self) -> Style:
        """The prompt form that this model reads."""
        return self._style

    @property
    def capabilities(self) -> Capabilities:
        """Log-probabilities and seeds, both."""
        return Capabilities(logprobs=True, seeds=True)

    def sample(
        self, prompts: Sequence[Prompt], params: SamplingParams, seeds: Sequence[int]
    ) -> list[Completion]:
        """One completion for each prompt, in order; the draws are vLLM's, by each request's seed.

        Raises EngineError for settings that make no sense and a prompt that is empty or too long.
        """
        check_request(prompts, params, seeds)
        ids = self._encode(self._prefaced(prompts), params.max_new_tokens)
        ending = Ending(self._tokenizer, self._eos_ids, params.stop)
        outputs = self._generate(
            ids, [sampling_arguments(params, seed, self._eos_ids) for seed in seeds]
        )
        completions = [completion_of(o, ending, logprobs=params.logprobs) for o in outputs]
        if params.logprobs:
            return completions
        return [spoken(*each) for each in zip(prompts, completions, strict=True)]

    def choice_logprobs(
        self, prompts: Sequence[Prompt], choices: Sequence[str]
    ) -> list[tuple[float, ...]]:
        """For each prompt the log-probability of each choice as what comes next.

        A choice of several tokens counts the sum over them, each asked for where it stands.
        Raises EngineError for choices that are empty or the same tokens, and for a prompt that is
        too long.
        """
        asked = self._prefaced(prompts)
        before = self._encode(asked, 0)
        after = choices_ids(self._tokenizer, asked, before, choices)
        longest = max((len(ids) for row in after for ids in row), default=0)
        check_fits(before, room=longest, limit=self._limit, who=self.name)
        return walk_tokens(
            [tuple(ids) for ids in before],
            [[tuple(ids) for ids in row] for row in after],
            self._weigh,
        )

    def close(self) -> None:
        """Let go of the model; the engine answers no more."""
        self._llm = None

    def _weigh(self, asked: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]) -> list[list[float]]:
        outputs = self._generate(
            [list(before) for before, _ in asked],
            [choice_arguments(tokens) for _, tokens in asked],
        )
        return [
            next_token_logprobs(output, tokens)
            for output, (_, tokens) in zip(outputs, asked, strict=True)
        ]

    def _prefaced(self, prompts: Sequence[Prompt]) -> list[Prompt]:
        return [with_system(prompt, self.settings.system) for prompt in prompts]

    def _encode(self, prompts: Sequence[Prompt], room: int) -> list[list[int]]:
        return encode(self._tokenizer, prompts, room=room, limit=self._limit, who=self.name)

    @property
    def _limit(self) -> int:
        if self._llm is None:
            raise EngineError(f"{self.name} is closed")
        limit: int = self._llm.model_config.max_model_len
        return limit

    def _generate(self, ids: Sequence[list[int]], arguments: Sequence[dict[str, Any]]) -> list[Any]:
        """vLLM's output for each prompt, in order."""
        if not ids:
            return []
        outputs = self._llm.generate(
            [{"prompt_token_ids": each} for each in ids],
            [self._params(**each) for each in arguments],
            use_tqdm=False,
            lora_request=self._lora,
        )
        return [each.outputs[0] for each in outputs]
