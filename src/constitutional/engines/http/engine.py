"""The `openai` engine: a model behind any server that speaks OpenAI's protocol."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import PurePath
from typing import Any

from constitutional.engines.base import (
    Capabilities,
    ChatPrompt,
    Completion,
    Message,
    Prompt,
    SamplingParams,
    Style,
    TextPrompt,
)
from constitutional.engines.http.client import Client, OfficialClient, Post
from constitutional.engines.http.decisions import (
    SCORED_AT_ONCE,
    decided,
    decision_request,
    scored,
    scoring_request,
)
from constitutional.engines.http.settings import OpenAISettings
from constitutional.engines.http.wire import (
    COMPLETIONS,
    Body,
    Request,
    beside_v1,
    choice_request,
    completion_of,
    messages_of,
    sampling_request,
    top_logprobs_of,
)
from constitutional.engines.system import with_system
from constitutional.engines.walk import TopLogprobs, walk_texts, walk_tokens
from constitutional.errors import EngineError
from constitutional.runs.usage import Usage

#: Asked once, to see whether log-probabilities come with the answer.
_PROBE = "The answer is:"
_PROBE_CHOICES = (" (A)", " (B)")


class OpenAIEngine:
    """A model behind a server. See :class:`~.base.Engine` for the methods.

    ``who`` is what errors call it (the model's name). ``spent`` is what it has cost this run in
    earlier sessions, in dollars; ``record`` gets the account of every call. ``post`` takes the
    place of the official client in tests.
    """

    def __init__(
        self,
        settings: OpenAISettings,
        *,
        who: str | None = None,
        spent: float = 0.0,
        record: Callable[[Usage], None] = lambda usage: None,
        post: Post | None = None,
    ):
        self.settings = settings
        self._post = post or OfficialClient(settings)
        self._client = Client(
            who=who or self.name,
            settings=settings,
            post=self._post,
            spent=spent,
            record=record,
        )

    @property
    def name(self) -> str:
        """``openai:`` and the model's name, of a path its last part."""
        model = self.settings.model
        return f"openai:{PurePath(model).name if PurePath(model).is_absolute() else model}"

    @property
    def fingerprint(self) -> str:
        """A sha256 over address, model and settings; the server's weights are not seen."""
        return self.settings.fingerprint

    @property
    def style(self) -> Style:
        """The prompt form that it was told to ask for."""
        return self.settings.resolved_style

    @cached_property
    def capabilities(self) -> Capabilities:
        """Log-probabilities as the settings have it, which is tried; seeds as the server has it.

        Raises EngineError where log-probabilities are wanted and left out: some servers answer a
        request for them with success and without them.
        """
        wanted = self.settings.way != "votes"
        if wanted:
            probe: Prompt = TextPrompt(_PROBE)
            if self.style == "chat":
                probe = ChatPrompt((Message("user", _PROBE),))
            self._try([self._prefaced(probe)])
        return Capabilities(logprobs=wanted, seeds=self.settings.dialect.seeds)

    def sample(
        self, prompts: Sequence[Prompt], params: SamplingParams, seeds: Sequence[int]
    ) -> list[Completion]:
        """One completion for each prompt, in order; the seed is sent where the server takes one.

        Thoughts are cut off. Raises EngineError where the server fails or refuses.
        """
        if len(prompts) != len(seeds):
            raise EngineError(
                f"each prompt needs a seed: {len(prompts)} prompts, {len(seeds)} seeds"
            )
        if params.logprobs:
            raise EngineError(f"{self.name} gives no log-probabilities of what it samples")
        answers = self._client.ask(
            [
                sampling_request(self._prefaced(prompt), params, seed, self.settings)
                for prompt, seed in zip(prompts, seeds, strict=True)
            ]
        )
        return [self._read(completion_of, answer, params.stop) for answer in answers]

    def choice_logprobs(
        self, prompts: Sequence[Prompt], choices: Sequence[str]
    ) -> list[tuple[float, ...]]:
        """For each prompt the log-probability of each choice as what comes next.

        A choice of several tokens counts the sum over them. NaN where the server does not tell it:
        it gives its likeliest tokens alone, and the choice is not among them. Raises EngineError
        where the server leaves log-probabilities out.
        """
        if not choices or "" in choices or len(set(choices)) < len(choices):
            raise EngineError(f"choices must be different texts, none empty: {list(choices)}")
        if not self.capabilities.logprobs:
            raise EngineError(f"{self.name} is set to give votes and no log-probabilities")
        return self._weigh([self._prefaced(prompt) for prompt in prompts], choices)

    def close(self) -> None:
        """Close the connections."""
        if isinstance(self._post, OfficialClient):
            self._post.close()

    def _prefaced(self, prompt: Prompt) -> Prompt:
        return with_system(prompt, self.settings.system)

    def _try(self, probe: Sequence[Prompt]) -> None:
        """One short request in the way in which choices will be asked for."""
        if self.settings.way in ("decisions", "systemone"):
            self._decide(probe, _PROBE_CHOICES)
        elif self.settings.way == "generative_scoring":
            self._by_tokens(probe, _PROBE_CHOICES)
        else:
            self._likeliest(probe)

    def _weigh(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> list[tuple[float, ...]]:
        if self.settings.way in ("decisions", "systemone"):
            return self._decide(prompts, choices)
        if self.settings.way in ("logprob_token_ids", "generative_scoring"):
            return self._by_tokens(prompts, choices)
        return self._by_texts(prompts, choices)

    def _by_texts(
        self, prompts: Sequence[Prompt], choices: Sequence[str]
    ) -> list[tuple[float, ...]]:
        """By the likeliest tokens."""
        continued = self.style == "transcript" or self.settings.answer_prefix == "continue"

        def ask(asked: Sequence[tuple[int, str]]) -> list[TopLogprobs]:
            if not continued and any(text for _, text in asked):
                raise EngineError(
                    f"{self.name} reads {list(choices)} as several tokens, and is not asked to go "
                    "on with an answer (answer_prefix: request), so that only the first can be "
                    "weighed: set choices: votes"
                )
            return self._likeliest([_continued(prompts[p], text) for p, text in asked])

        # a turn of its own does not begin with a blank
        spoken = choices if continued else [choice.lstrip() for choice in choices]
        return walk_texts(len(prompts), spoken, ask)

    def _decide(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> list[tuple[float, ...]]:
        """By an endpoint that is made for decisions."""
        answers = self._client.ask(
            [decision_request(prompt, choices, self.settings) for prompt in prompts]
        )
        return [self._read(decided, answer, choices) for answer in answers]

    def _likeliest(self, prompts: Sequence[Prompt]) -> list[TopLogprobs]:
        answers = self._client.ask([choice_request(prompt, self.settings) for prompt in prompts])
        return [self._present(self._read(top_logprobs_of, answer)) for answer in answers]

    def _present(self, found: TopLogprobs | None) -> TopLogprobs:
        if found is None:
            raise EngineError(
                f"{self._client.who} at {self.settings.base_url} was asked for log-probabilities "
                "and answers without them: set choices: votes to have it vote, or serve the model "
                "by a server that has them"
            )
        return found

    def _by_tokens(
        self, prompts: Sequence[Prompt], choices: Sequence[str]
    ) -> list[tuple[float, ...]]:
        """By vLLM's ``/tokenize`` and the log-probabilities of tokens."""
        texts = [_continued(prompt, choice) for prompt in prompts for choice in ("", *choices)]
        ids = iter(self._tokenise(texts))
        rows = [[next(ids) for _ in range(1 + len(choices))] for _ in prompts]
        for before, *after in rows:
            if not all(whole[: len(before)] == before for whole in after):
                raise EngineError(
                    f"{self.name} merges a choice with the end of its prompt into one token: "
                    f"{list(choices)} cannot be told apart from it"
                )
        return walk_tokens(
            [before for before, *_ in rows],
            [[whole[len(before) :] for whole in after] for before, *after in rows],
            self._score if self.settings.way == "generative_scoring" else self._of_tokens,
        )

    def _tokenise(self, prompts: Sequence[Prompt]) -> list[tuple[int, ...]]:
        path = beside_v1(self.settings, "/tokenize")
        bodies = [_tokenise_body(prompt, self.settings) for prompt in prompts]
        answers = self._client.ask([Request(path, body) for body in bodies], free=True)
        return [tuple(self._read(lambda answer: answer["tokens"], answer)) for answer in answers]

    def _of_tokens(
        self, asked: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]
    ) -> list[list[float]]:
        answers = self._client.ask(
            [
                Request(
                    COMPLETIONS,
                    {
                        "model": self.settings.model,
                        "prompt": list(before),
                        "max_tokens": 1,
                        "temperature": 0.0,
                        "logprobs": 1,
                        "logprob_token_ids": list(tokens),
                        "return_tokens_as_token_ids": True,
                    },
                )
                for before, tokens in asked
            ]
        )
        tops = [self._present(self._read(top_logprobs_of, answer)) for answer in answers]
        return [
            [top.get(f"token_id:{token}", math.nan) for token in tokens]
            for top, (_, tokens) in zip(tops, asked, strict=True)
        ]

    def _score(self, asked: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]) -> list[list[float]]:
        """By vLLM's ``/generative_scoring``, which takes one token after many prompts."""
        after: dict[int, list[tuple[int, ...]]] = {}
        for before, tokens in asked:
            for token in tokens:
                after.setdefault(token, []).append(before)
        parts = [
            (token, befores[at : at + SCORED_AT_ONCE])
            for token, befores in after.items()
            for at in range(0, len(befores), SCORED_AT_ONCE)
        ]
        answers = self._client.ask(
            [scoring_request(befores, token, self.settings) for token, befores in parts]
        )
        found = {
            (before, token): score
            for (token, befores), answer in zip(parts, answers, strict=True)
            for before, score in zip(befores, self._read(scored, answer, befores), strict=True)
        }
        return [[found[before, token] for token in tokens] for before, tokens in asked]

    def _read(self, read: Callable[..., Any], answer: Body, *more: object) -> Any:
        """``read`` of an answer, with a fault in the answer laid at the server's door."""
        try:
            return read(answer, *more)
        except (
            EngineError,
            LookupError,
            TypeError,
            ValueError,
            AttributeError,
            ArithmeticError,
        ) as error:
            said = error if isinstance(error, EngineError) else f"its answer lacks {error}"
            where = f"{self._client.who} at {self.settings.base_url}"
            raise EngineError(f"{where}: {said}") from None


def _continued(prompt: Prompt, text: str) -> Prompt:
    """The prompt with the beginning of the answer in it."""
    if isinstance(prompt, TextPrompt):
        return TextPrompt(prompt.text + text)
    return ChatPrompt(prompt.messages, prompt.answer_prefix + text)


def _tokenise_body(prompt: Prompt, settings: OpenAISettings) -> Body:
    if isinstance(prompt, TextPrompt):
        return {"model": settings.model, "prompt": prompt.text}
    messages, continued = messages_of(prompt, settings)
    continuing = settings.dialect.continuing if continued else {}
    no_thinking = settings.dialect.no_thinking
    return {"model": settings.model, "messages": messages, **no_thinking, **continuing}
