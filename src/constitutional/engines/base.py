"""The one seam to every model: sample texts, and weigh fixed choices.

An engine takes many requests at once and returns as many answers in the same order; batching,
padding, ordering and retries live inside it. Each request brings its own seed, so that what a
request gets does not depend on which other requests stand beside it (but for float rounding).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable


@dataclass(frozen=True)
class TextPrompt:
    """A prompt that is sent as it stands (transcripts, for pretrained models)."""

    text: str


@dataclass(frozen=True)
class Message:
    """One message in a model's own chat format."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class ChatPrompt:
    """Messages that the model's own chat template renders; the assistant speaks next.

    ``answer_prefix`` is text that the assistant's turn already holds and that the model continues.
    """

    messages: tuple[Message, ...]
    answer_prefix: str = ""


Prompt = TextPrompt | ChatPrompt
Style = Literal["transcript", "chat"]
#: Weights in fewer bits than they are stored in.
Quantize = Literal["4bit"]


@dataclass(frozen=True)
class SamplingParams:
    """How to sample. ``temperature`` 0 is greedy; ``stop`` strings end a text and are not kept."""

    max_new_tokens: int
    temperature: float = 1.0
    stop: tuple[str, ...] = ()
    #: Whether completions bring the log-probabilities of their tokens (engines that can).
    logprobs: bool = False


@dataclass(frozen=True)
class Completion:
    """A sampled text and why it ended.

    ``eos``: the model ended it; ``stop``: a stop string was reached (and cut off);
    ``length``: ``max_new_tokens`` were used, so the text is cut off; ``filter``: a server's filter
    cut it off; ``failed``: a server gave no answer, and the text is empty and not the model's.
    ``tokens`` is the number of sampled tokens, those of the end or the stop string included.
    ``token_ids`` are these tokens where the engine knows them, and ``logprobs`` the natural
    log-probability with which each was drawn where they were asked for; else both are empty.
    """

    text: str
    ended: Literal["eos", "stop", "length", "filter", "failed"]
    tokens: int
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()


@dataclass(frozen=True)
class Capabilities:
    """What an engine can do."""

    logprobs: bool
    seeds: bool


@runtime_checkable
class Engine(Protocol):
    """What every engine offers. Lists in, lists out, synchronous."""

    @property
    def name(self) -> str:
        """What is asked, for the record: engine and model, without machine paths or keys."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes when the answers could change: engine, weights, tokenizer, number format."""
        ...

    @property
    def style(self) -> Style:
        """The prompt form that this model reads."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What this engine can do."""
        ...

    def sample(
        self, prompts: Sequence[Prompt], params: SamplingParams, seeds: Sequence[int]
    ) -> list[Completion]:
        """One completion for each prompt, in order; ``seeds[i]`` alone decides the i-th draw."""
        ...

    def choice_logprobs(
        self, prompts: Sequence[Prompt], choices: Sequence[str]
    ) -> list[tuple[float, ...]]:
        """For each prompt the log-probability of each choice as what comes next.

        A choice of several tokens counts the sum over them. Raises EngineError when
        ``capabilities.logprobs`` is False.
        """
        ...

    def close(self) -> None:
        """Give back memory and connections."""
        ...


#: Hears which prompt is meant, by its number, and its text so far.
Heard = Callable[[int, str], None]


@runtime_checkable
class SpeaksAloud(Protocol):
    """An engine that tells a text while it writes it."""

    def sample_aloud(
        self,
        prompts: Sequence[Prompt],
        params: SamplingParams,
        seeds: Sequence[int],
        heard: Heard,
    ) -> list[Completion]:
        """The same completions as those of ``sample``; ``heard`` is called after each token.

        The text so far may still lose its end, where a stop string comes of it. What ``heard``
        raises ends the request.
        """
        ...


@runtime_checkable
class Remembers(Protocol):
    """An engine that can go on from what it read for the request before."""

    def remembering(self) -> AbstractContextManager[None]:
        """Within, prompts that begin as those of the request before do are read from there on."""
        ...


@contextmanager
def remembering(*engines: Engine | None) -> Iterator[None]:
    """For requests that build upon each other: engines that can go on from the last one do.

    What an engine remembers is forgotten at the end, so that no answer depends on what was asked
    before the first of them.
    """
    with ExitStack() as stack:
        for engine in engines:
            if isinstance(engine, Remembers):
                stack.enter_context(engine.remembering())
        yield
