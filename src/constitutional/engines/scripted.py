"""A scripted engine: the fake for tests, examples and dry runs. It needs no model and no torch."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from constitutional.engines.base import (
    Capabilities,
    ChatPrompt,
    Completion,
    Prompt,
    SamplingParams,
    Style,
    TextPrompt,
)
from constitutional.errors import EngineError

#: From a prompt's text and a seed to the whole reply, before stop strings and the length apply.
Reply = Callable[[str, int], str]
#: From a prompt's text and the choices to one probability for each.
ChoiceProbabilities = Callable[[str, tuple[str, ...]], Sequence[float]]
#: Parts of a prompt's text and what is replied to it; the first that is found applies.
Rules = Mapping[str, str] | Sequence[tuple[str, str]]


@dataclass(frozen=True)
class ScriptedRequest:
    """One prompt that a :class:`ScriptedEngine` was asked: sampled, or (``choices``) weighed."""

    prompt: Prompt
    text: str
    """The prompt as the script saw it, see :func:`plain_text`."""
    params: SamplingParams | None = None
    seed: int | None = None
    choices: tuple[str, ...] | None = None


class ScriptedEngine:
    """Answers by a function ``(prompt text, seed) -> reply`` or by rules, and keeps the requests.

    Rules are a dict or pairs of (part of the prompt, reply); the first part that the prompt holds
    decides, and ``""`` is held by every prompt. A token is a word here. ``capabilities`` may be
    set to play a poorer engine: without ``logprobs`` choices are refused, and without ``seeds`` the
    script sees a running number in the seed's place. ``version`` goes into the fingerprint; change
    it with the function.
    """

    def __init__(
        self,
        reply: Reply | Rules,
        *,
        choices: ChoiceProbabilities | None = None,
        name: str = "scripted",
        style: Style = "transcript",
        capabilities: Capabilities | None = None,
        version: str = "1",
    ):
        self._rules = None if callable(reply) else _as_pairs(reply)
        self._reply: Reply = reply if callable(reply) else self._reply_by_rules
        self._choices = choices
        self._name = name
        self._style: Style = style
        self._capabilities = capabilities or Capabilities(logprobs=choices is not None, seeds=True)
        self._version = version
        self.requests: list[ScriptedRequest] = []

    @property
    def name(self) -> str:
        """The name it was given."""
        return self._name

    @property
    def fingerprint(self) -> str:
        """A sha256 over name, style, capabilities, version and rules (not the function)."""
        abilities = [self._capabilities.logprobs, self._capabilities.seeds]
        parts = [self._name, self._style, abilities, self._version, self._rules]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    @property
    def style(self) -> Style:
        """The prompt form that it was told to ask for."""
        return self._style

    @property
    def capabilities(self) -> Capabilities:
        """What it plays to be able to do."""
        return self._capabilities

    def sample(
        self, prompts: Sequence[Prompt], params: SamplingParams, seeds: Sequence[int]
    ) -> list[Completion]:
        """The script's reply to each prompt, ended by stop strings and the length in words."""
        if len(prompts) != len(seeds):
            raise EngineError(
                f"each prompt needs a seed: {len(prompts)} prompts, {len(seeds)} seeds"
            )
        return [self._sample(p, params, s) for p, s in zip(prompts, seeds, strict=True)]

    def choice_logprobs(
        self, prompts: Sequence[Prompt], choices: Sequence[str]
    ) -> list[tuple[float, ...]]:
        """For each prompt the logarithm of the script's probability of each choice."""
        if not self._capabilities.logprobs:
            raise EngineError(f"{self._name} gives no log-probabilities")
        if self._choices is None:
            raise EngineError(f"{self._name} has no script for choices: give choices=...")
        return [self._weigh(prompt, tuple(choices), self._choices) for prompt in prompts]

    def close(self) -> None:
        """Nothing to give back; the requests are kept."""

    def _sample(self, prompt: Prompt, params: SamplingParams, seed: int) -> Completion:
        text = plain_text(prompt)
        if not self._capabilities.seeds:
            seed = len(self.requests)
        self.requests.append(ScriptedRequest(prompt, text, params=params, seed=seed))
        return _ended(self._reply(text, seed), params)

    def _weigh(
        self, prompt: Prompt, choices: tuple[str, ...], script: ChoiceProbabilities
    ) -> tuple[float, ...]:
        text = plain_text(prompt)
        self.requests.append(ScriptedRequest(prompt, text, choices=choices))
        given = script(text, choices)
        if len(given) != len(choices) or min(given) < 0 or sum(given) > 1 + 1e-9:
            raise EngineError(
                f"{self._name} scripted {list(given)} as the probabilities of {len(choices)} "
                "choices: expected one for each, none negative, with a sum of at most 1"
            )
        return tuple(math.log(p) if p > 0 else -math.inf for p in given)

    def _reply_by_rules(self, text: str, seed: int) -> str:
        for part, reply in self._rules or ():
            if part in text:
                return reply
        raise EngineError(f"{self._name} has no rule for a prompt that ends in {text[-60:]!r}")


def plain_text(prompt: Prompt) -> str:
    """A prompt as one text: a text prompt as it stands, a chat as ``role: content`` blocks."""
    if isinstance(prompt, TextPrompt):
        return prompt.text
    blocks = [f"{message.role}: {message.content}" for message in prompt.messages]
    return "\n\n".join([*blocks, _opening(prompt)])


def _opening(prompt: ChatPrompt) -> str:
    return f"assistant: {prompt.answer_prefix}" if prompt.answer_prefix else "assistant:"


def _as_pairs(rules: Rules) -> list[tuple[str, str]]:
    return list(rules.items() if isinstance(rules, Mapping) else rules)


def _ended(reply: str, params: SamplingParams) -> Completion:
    """The reply as a model with one token for each word would have given it.

    The end and a stop string take a token of their own, so a reply of exactly ``max_new_tokens``
    words is cut off (``length``), as a model's would be.
    """
    if "" in params.stop:
        raise EngineError("a stop string is empty, which would end every text at once")
    found = [at for at in (reply.find(stop) for stop in params.stop) if at >= 0]
    text = reply[: min(found, default=len(reply))]
    words = list(re.finditer(r"\S+", text))
    if len(words) >= params.max_new_tokens:
        end = words[params.max_new_tokens - 1].end()
        return Completion(text=text[:end], ended="length", tokens=params.max_new_tokens)
    return Completion(text=text, ended="stop" if found else "eos", tokens=len(words) + 1)
