"""From prompts to the bodies of requests, and from answers to completions. Nothing is sent here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from constitutional.dialogue.control import broken
from constitutional.engines.base import (
    ChatPrompt,
    Completion,
    Message,
    Prompt,
    SamplingParams,
    TextPrompt,
)
from constitutional.engines.http.settings import OpenAISettings
from constitutional.engines.thoughts import without_thoughts
from constitutional.engines.walk import TopLogprobs
from constitutional.errors import EngineError

COMPLETIONS, CHAT = "/completions", "/chat/completions"
#: Characters of a prompt by which a failed request is told.
_SHOWN = 200
Body = dict[str, Any]
_MOST_TOKENS = 2**48
#: What a server's arithmetic may put on top of a log-probability.
_ROUNDING = 1e-2


class Request(NamedTuple):
    """Where a body goes; ``seed`` is that of the sample, also where the server takes none."""

    path: str
    body: Body
    seed: int | None = None


class Tokens(NamedTuple):
    """What a server counted for one request."""

    prompt: int
    cached: int
    completion: int


def sampling_request(
    prompt: Prompt, params: SamplingParams, seed: int, settings: OpenAISettings
) -> Request:
    """A request for one sampled text."""
    dialect = settings.dialect
    path, body, _ = _opened(prompt, settings)
    body[_length_key(path, settings)] = params.max_new_tokens
    body["temperature"] = params.temperature
    if stops := params.stop[: dialect.stops]:
        body["stop"] = list(stops)
    if params.temperature > 0:
        body |= dialect.whole_distribution
        if dialect.seed_bits:
            body["seed"] = seed % 2**dialect.seed_bits
    return Request(path, body, seed)


def choice_request(prompt: Prompt, settings: OpenAISettings) -> Request:
    """A request for the log-probabilities of the likeliest next tokens."""
    path, body, _ = _opened(prompt, settings)
    body |= {_length_key(path, settings): 1, "temperature": 0.0}
    if path == CHAT:
        body |= {"logprobs": True, "top_logprobs": settings.top_logprobs}
    else:
        body["logprobs"] = settings.top_logprobs
    return Request(path, body)


def messages_of(prompt: ChatPrompt, settings: OpenAISettings) -> tuple[list[Body], bool]:
    """The messages as they are sent, and whether the last is an answer to be continued.

    Where a server forbids that, the beginning of the answer ends the request instead.
    """
    messages = list(prompt.messages)
    continued = bool(prompt.answer_prefix) and settings.answer_prefix == "continue"
    if continued:
        messages.append(Message("assistant", prompt.answer_prefix))
    elif prompt.answer_prefix:
        last = messages[-1]
        messages[-1] = Message(last.role, f"{last.content}\n\n{prompt.answer_prefix}")
    # the server makes the tokens, and takes control tokens in a text for its own
    return [{"role": m.role, "content": broken(m.content)} for m in messages], continued


def _opened(prompt: Prompt, settings: OpenAISettings) -> Request:
    body: Body = {"model": settings.model}
    if isinstance(prompt, TextPrompt):
        return Request(COMPLETIONS, body | {"prompt": broken(prompt.text)})
    body["messages"], continued = messages_of(prompt, settings)
    body |= settings.dialect.no_thinking
    if continued:
        body |= settings.dialect.continuing
    if settings.reasoning_effort is not None:
        body["reasoning_effort"] = settings.reasoning_effort
    return Request(CHAT, body)


def _length_key(path: str, settings: OpenAISettings) -> str:
    return settings.dialect.max_tokens if path == CHAT else "max_tokens"


def beside_v1(settings: OpenAISettings, path: str) -> str:
    """The address of an endpoint that stands beside ``/v1`` and not below it."""
    parts = urlsplit(settings.base_url)
    return f"{parts.scheme}://{parts.netloc}{parts.path.removesuffix('/v1')}{path}"


def prompt_end(body: Body) -> str:
    """How the prompt of a request ends, for people; "" of one that is token ids."""
    messages = body.get("messages") or [{}]
    found = body.get("prompt") or body.get("input") or messages[-1].get("content")
    return found[-_SHOWN:] if isinstance(found, str) else ""


def completion_of(answer: Body, stop: Sequence[str]) -> Completion:
    """The text of an answer, without thoughts and without what follows a stop string.

    A server that names no stop string may have met one or the model's end: both are ``eos`` then.
    """
    choice = _choice(answer)
    text, is_chat = _text(choice)
    whole = without_thoughts(text) if is_chat else text
    found = [at for at in (whole.find(each) for each in stop) if at >= 0]
    tokens = tokens_of(answer).completion
    if found:
        return Completion(whole[: min(found)], "stop", tokens)
    reason = choice.get("finish_reason")
    if reason in ("length", "content_filter"):
        return Completion(whole, "length" if reason == "length" else "filter", tokens)
    return Completion(whole, "stop" if choice.get("stop_reason") in stop else "eos", tokens)


def top_logprobs_of(answer: Body) -> TopLogprobs | None:
    """The likeliest next tokens of an answer; None where the server left them out."""
    found = _choice(answer).get("logprobs") or {}
    try:
        if found.get("content"):
            entry = found["content"][0]
            each = [entry, *(entry.get("top_logprobs") or [])]
            top = {item["token"]: _logprob(item["logprob"]) for item in each}
        else:
            top = {t: _logprob(p) for t, p in (found.get("top_logprobs") or [{}])[0].items()}
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError):
        raise EngineError(f"its log-probabilities have no known form: {str(found)[:200]}") from None
    # special tokens have no text and would begin every choice
    top.pop("", None)
    return top or None


def tokens_of(answer: Body) -> Tokens:
    """The tokens that a server counted. Raises EngineError where it does not say.

    Endpoints for decisions call them input and output.
    """
    usage = answer.get("usage") or {}
    said, made = "prompt_tokens", "completion_tokens"
    try:
        if said not in usage:
            said, made = "input_tokens", "output_tokens"
        details = usage.get(f"{said}_details") or {}
        return Tokens(
            prompt=_amount(usage[said]),
            cached=_amount(details.get("cached_tokens") or 0),
            completion=_amount(usage.get(made) or 0),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise EngineError("its answer does not say how many tokens it took (usage)") from None


def _amount(said: Any) -> int:
    """A number of tokens. Raises ValueError for one that no server can have counted."""
    if not 0 <= (amount := int(said)) < _MOST_TOKENS:
        raise ValueError(f"{amount} tokens")
    return amount


def _logprob(said: Any) -> float:
    """A log-probability. Raises ValueError for one above 0 by more than rounding."""
    if (logprob := float(said)) > _ROUNDING:
        raise ValueError(f"a log-probability of {logprob}")
    return logprob


def _choice(answer: Body) -> Body:
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise EngineError(f"its answer holds no choices: {str(answer)[:200]}")
    return choices[0]


def _text(choice: Body) -> tuple[str, bool]:
    """The text, and whether it is a chat's. ``reasoning_content`` is not read."""
    message = choice.get("message")
    if isinstance(message, dict):
        text, is_chat = message.get("content") or message.get("refusal") or "", True
    else:
        text, is_chat = choice.get("text"), False
    if not isinstance(text, str):
        raise EngineError(f"its answer holds no text: {str(choice)[:200]}")
    return text, is_chat
