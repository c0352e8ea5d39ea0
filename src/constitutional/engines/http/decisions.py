"""Choices asked of endpoints that are made for them: bodies in, log-probabilities out.

- `/generative_scoring` of vLLM (read in 0.29.0 and 0.33.0) gives the probability of a token after
  each of many prompts.
- `/v1/decisions` (openai 3.52, vLLM 0.33.0) and `/v1/systemone` (transformers 5.23, vLLM 0.33.0)
  take a text and a question with options, put both into a prompt of their own, and give the options
  probabilities that sum to 1: what the model would rather have said is not told.

Nothing is sent here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from constitutional.engines.base import ChatPrompt, Prompt, TextPrompt
from constitutional.engines.http.settings import OpenAISettings
from constitutional.engines.http.wire import Body, Request, beside_v1, tokens_of
from constitutional.errors import EngineError

#: Prompts in one request of `/generative_scoring`.
SCORED_AT_ONCE = 32
#: What a decision endpoint is asked about a text that is a question with its options already.
QUESTION = "Which of these is the answer?"
_NAME = "answer"
#: What a server's arithmetic may put on top of a probability.
_ROUNDING = 1e-6


def scoring_request(
    prompts: Sequence[Sequence[int]], token: int, settings: OpenAISettings
) -> Request:
    """A request for the probability of ``token`` after each of ``prompts`` (token ids)."""
    body = {
        "model": settings.model,
        "query": [],
        "items": [list(prompt) for prompt in prompts],
        "label_token_ids": [token],
        # over the whole vocabulary, and not over this one token
        "apply_softmax": False,
    }
    return Request(beside_v1(settings, "/generative_scoring"), body)


def scored(answer: Body, prompts: Sequence[Sequence[int]]) -> list[float]:
    """The log-probability after each of ``prompts``, in order.

    Raises EngineError where a prompt was cut short, which this endpoint does without a word.
    """
    whole = sum(map(len, prompts))
    if (read := tokens_of(answer).prompt) != whole:
        raise EngineError(
            f"it read {read} of {whole} prompt tokens: a prompt is longer than its max_model_len"
        )
    found = {int(each["index"]): float(each["score"]) for each in answer["data"]}
    return [_log(found[index]) for index in range(len(prompts))]


def decision_request(prompt: Prompt, choices: Sequence[str], settings: OpenAISettings) -> Request:
    """A request for the probabilities of ``choices`` as the answer to ``prompt``."""
    text, options = text_of(prompt), options_of(choices)
    question: Body
    asked: Body
    if settings.choices == "systemone":
        criteria: Body = dict.fromkeys(options)
        question = {"type": "choice", "instructions": QUESTION, "criteria": criteria}
        asked = {"state": text, "questions": {_NAME: question}}
    else:
        values = [{"value": each} for each in options]
        question = {"type": "choice", "instructions": QUESTION, "choices": values}
        asked = {"input": text, "questions": [{**question, "name": _NAME}]}
    return Request(f"/{settings.choices}", {"model": settings.model, **asked})


def decided(answer: Body, choices: Sequence[str]) -> tuple[float, ...]:
    """The log-probability of each choice among them all; NaN where the model refuses to decide."""
    answers = answer["answers"]
    found = answers[_NAME] if isinstance(answers, Mapping) else answers[0]
    if found["type"] == "refusal":
        return tuple(math.nan for _ in choices)
    given = found["probabilities"]
    if not isinstance(given, Mapping):
        given = {each["value"]: each["probability"] for each in given}
    return tuple(_log(float(given[each])) for each in options_of(choices))


def text_of(prompt: Prompt) -> str:
    """A prompt as the text that is decided upon; an answer that is begun ends it.

    A chat of one message is that message, and a longer one blocks with the roles before them: these
    endpoints write the chat themselves.
    """
    if isinstance(prompt, TextPrompt):
        return prompt.text
    return "\n\n".join([*_blocks(prompt), *filter(None, [prompt.answer_prefix])])


def options_of(choices: Sequence[str]) -> list[str]:
    """The choices without the blanks by which they follow a text. Raises EngineError."""
    options = [choice.strip() for choice in choices]
    if len(set(options)) < len(options):
        raise EngineError(f"choices differ by blanks alone, which cannot be asked: {list(choices)}")
    return options


def _blocks(prompt: ChatPrompt) -> list[str]:
    if len(prompt.messages) == 1:
        return [prompt.messages[0].content]
    return [f"{message.role}: {message.content}" for message in prompt.messages]


def _log(probability: float) -> float:
    if not 0 <= probability <= 1 + _ROUNDING:
        raise EngineError(f"it gives a choice the probability {probability}, expected 0 to 1")
    return math.log(min(probability, 1.0)) if probability > 0 else -math.inf
