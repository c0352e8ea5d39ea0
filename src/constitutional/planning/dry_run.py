"""An engine that counts what it is asked and writes one word.

The stages themselves run against it, so that the prompts that are counted are the program's own. It
writes :data:`WORD` wherever a text would stand, and what that adds to later requests is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from constitutional.dialogue.tokens import continuation_ids, prompt_ids
from constitutional.engines.base import (
    Capabilities,
    Completion,
    Prompt,
    SamplingParams,
    Style,
    TextPrompt,
)
from constitutional.planning.amounts import amount
from constitutional.planning.sizes import Lengths

#: A short text that no check of shapes objects to.
WORD = "I"


class CountingEngine:
    """Counts tokens by ``tokenizer``; see :class:`~constitutional.engines.base.Engine`.

    ``calls`` are the requests of each call so far, in order.
    """

    def __init__(self, tokenizer: Any, style: Style):
        self._tokenizer, self._style = tokenizer, style
        self.calls: list[Lengths] = []
        #: Tokens of the word where it stands in a text.
        self.word = len(continuation_ids(tokenizer, TextPrompt("\n\nHuman:"), f" {WORD}"))

    @property
    def name(self) -> str:
        """Nobody's."""
        return "counting"

    @property
    def fingerprint(self) -> str:
        """Nobody's."""
        return "counting"

    @property
    def style(self) -> Style:
        """The prompt form of the model in whose place it stands."""
        return self._style

    @property
    def capabilities(self) -> Capabilities:
        """As a local model's."""
        return Capabilities(logprobs=True, seeds=True)

    def sample(
        self, prompts: Sequence[Prompt], params: SamplingParams, seeds: Sequence[int]
    ) -> list[Completion]:
        """The word for each prompt."""
        self._count(prompts)
        return [Completion(f" {WORD}", "eos", self.word + 1) for _ in prompts]

    def choice_logprobs(
        self, prompts: Sequence[Prompt], choices: Sequence[str]
    ) -> list[tuple[float, ...]]:
        """No preference."""
        self._count(prompts)
        return [tuple(0.0 for _ in choices) for _ in prompts]

    def close(self) -> None:
        """Nothing to give back."""

    def known(self, calls: Sequence[Lengths], words: int) -> Lengths:
        """The requests of ``calls`` without the ``words`` of ours in each."""
        number = sum(call.number.value for call in calls)
        ours = words * self.word
        return Lengths(
            number=amount(number),
            tokens=amount(sum(call.tokens.value for call in calls) - number * ours),
            longest=amount(max((call.longest.value - ours for call in calls), default=0)),
        )

    def _count(self, prompts: Sequence[Prompt]) -> None:
        self.calls.append(Lengths.of(len(prompt_ids(self._tokenizer, p)) for p in prompts))
