"""A system prompt for every chat of an engine, whoever asks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from constitutional.engines.base import (
    Capabilities,
    Completion,
    Engine,
    Message,
    Prompt,
    SamplingParams,
    Style,
    TextPrompt,
)
from constitutional.errors import EngineError


def with_system(prompt: Prompt, system: str | None) -> Prompt:
    """The chat with ``system`` first; before a system prompt of its own, with a blank line between.

    Raises EngineError for a text prompt, which has no place for one.
    """
    if system is None:
        return prompt
    if isinstance(prompt, TextPrompt):
        raise EngineError("a transcript has no place for a system prompt: use style chat")
    messages = prompt.messages
    if messages and messages[0].role == "system":
        system, messages = f"{system}\n\n{messages[0].content}", messages[1:]
    return type(prompt)((Message("system", system), *messages), prompt.answer_prefix)


class SystemPrompted:
    """An engine that asks another with a system prompt. See :class:`~.base.Engine`."""

    def __init__(self, engine: Engine, system: str):
        if engine.style != "chat":
            raise EngineError(
                f"{engine.name} reads transcripts, which have no place for a system prompt: leave "
                "'system' out, or use a model with a chat template"
            )
        self._engine, self._system = engine, system

    @property
    def name(self) -> str:
        """That of the other engine."""
        return self._engine.name

    @property
    def fingerprint(self) -> str:
        """A sha256 over the other engine's and the system prompt."""
        text = json.dumps([self._engine.fingerprint, self._system])
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def style(self) -> Style:
        """That of the other engine: chat."""
        return self._engine.style

    @property
    def capabilities(self) -> Capabilities:
        """Those of the other engine."""
        return self._engine.capabilities

    def sample(
        self, prompts: Sequence[Prompt], params: SamplingParams, seeds: Sequence[int]
    ) -> list[Completion]:
        """One completion for each prompt, in order."""
        return self._engine.sample([with_system(p, self._system) for p in prompts], params, seeds)

    def choice_logprobs(
        self, prompts: Sequence[Prompt], choices: Sequence[str]
    ) -> list[tuple[float, ...]]:
        """For each prompt the log-probability of each choice as what comes next."""
        return self._engine.choice_logprobs(
            [with_system(p, self._system) for p in prompts], choices
        )

    def close(self) -> None:
        """Close the other engine."""
        self._engine.close()
