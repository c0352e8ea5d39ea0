"""Our engine with a memory of what it was asked, to know what the work needed at least."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.speed.options import Options

from constitutional.dialogue import prompt_ids
from constitutional.engines.base import Completion, Prompt
from constitutional.engines.loading import load_parts
from constitutional.engines.local import LocalEngine


class RecordingEngine(LocalEngine):
    """The engine as it is; what passes is kept, and read only after the clock has stopped."""

    def __init__(self, *args: Any, **settings: Any):
        super().__init__(*args, **settings)
        self.sampled: list[tuple[Prompt, Completion]] = []
        self.weighed: list[tuple[Prompt, tuple[float, ...]]] = []

    @classmethod
    def begin(cls, folder: Path, options: Options, batch_size: int) -> RecordingEngine:
        """From a model folder."""
        network, tokenizer = load_parts(folder, device=options.device, dtype=options.dtype)
        return cls(network, tokenizer, name=folder.name, batch_size=batch_size)

    def sample(self, prompts: Sequence[Prompt], *args: Any, **settings: Any) -> list[Completion]:
        """As the engine."""
        found = super().sample(prompts, *args, **settings)
        self.sampled += zip(prompts, found, strict=True)
        return found

    def choice_logprobs(
        self, prompts: Sequence[Prompt], *args: Any, **settings: Any
    ) -> list[tuple[float, ...]]:
        """As the engine."""
        found = super().choice_logprobs(prompts, *args, **settings)
        self.weighed += zip(prompts, found, strict=True)
        return found

    def forget(self) -> None:
        """Begin anew."""
        self.sampled.clear()
        self.weighed.clear()

    @property
    def config(self) -> Any:
        """The model's."""
        return self._model.config

    @property
    def number_bytes(self) -> int:
        """Of one number of its number format."""
        return int(self._model.dtype.itemsize)

    def ids(self, prompt: Prompt) -> list[int]:
        """What the engine reads of a prompt."""
        return prompt_ids(self._tokenizer, prompt)
