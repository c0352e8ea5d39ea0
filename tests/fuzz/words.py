"""Targets: what servers answer, and what models write, read for a verdict."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import cache
from random import Random
from typing import Any, NamedTuple

from tests.fuzz.damage import damaged, text, value
from tests.fuzz.trying import Target

from constitutional.dialogue import Conversation
from constitutional.dialogue.shape import flags
from constitutional.dialogue.transcript import STOP_STRINGS, parse, render
from constitutional.engines.http.client import Client, reading
from constitutional.engines.http.decisions import decided, scored
from constitutional.engines.http.official import Failure
from constitutional.engines.http.settings import OpenAISettings
from constitutional.engines.http.wire import completion_of, tokens_of, top_logprobs_of
from constitutional.engines.thoughts import with_thought_closed, without_thoughts
from constitutional.errors import ConstitutionalError, EngineError
from constitutional.evaluation.judges import in_both_orders, preference
from constitutional.evaluation.texts import AnswerText
from constitutional.evaluation.wording import is_evasive, is_reasoned_refusal
from constitutional.feedback.question import imitation, parse_cot, parse_question
from constitutional.feedback.verdicts import combined, from_logprobs, from_text
from constitutional.handover.protocol import (
    RewardRequest,
    ScoreRequest,
    answers_of,
    queries_of,
    read_body,
)
from constitutional.microworld.oracle import Oracle
from constitutional.runs.lines import encode_checked
from constitutional.runs.records import Comparison, Reading, Sample

# What servers answer

_USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 3}}
ANSWERS: list[Any] = [
    {"choices": [{"text": " Moss.", "finish_reason": "stop", "stop_reason": "\n\nHuman:"}],
     "usage": _USAGE},
    {"choices": [{"message": {"role": "assistant", "content": "<think>a</think> (A)"},
                  "finish_reason": "length"}], "usage": _USAGE},
    {"choices": [{"message": {"content": None, "refusal": "I won't."}}], "usage": _USAGE},
    {"choices": [{"message": {"content": "x"}, "logprobs": {"content": [
        {"token": " (", "logprob": -0.5, "top_logprobs": [{"token": " A", "logprob": -1}]}]}}],
     "usage": _USAGE},
    {"choices": [{"text": "x", "logprobs": {"top_logprobs": [{" (": -0.1, "": -3}]}}],
     "usage": _USAGE},
    {"data": [{"index": 0, "score": 0.25}, {"index": 1, "score": 0}],
     "usage": {"prompt_tokens": 3}},
    {"answers": {"answer": {"type": "choice", "probabilities": {"(A)": 0.25, "(B)": 0.75}}},
     "usage": {"input_tokens": 5, "output_tokens": 1}},
    {"answers": [{"type": "choice", "probabilities": [
        {"value": "(A)", "probability": 1}, {"value": "(B)", "probability": 0}]}],
     "usage": {"input_tokens": 5}},
    {"answers": [{"type": "refusal"}], "usage": {"input_tokens": 5}},
    {"tokens": [1, 2, 3]},
]  # fmt: skip
_KEYS = ("choices", "text", "message", "content", "usage", "logprobs", "data", "answers", "tokens")


async def _nobody(path: str, body: dict[str, Any]) -> dict[str, Any]:
    return {}


@cache
def _client() -> Client:
    settings = OpenAISettings.model_validate(
        {
            "engine": "openai",
            "model": "m",
            "base_url": "http://localhost:1/v1",
            "prices": {"prompt": 1, "completion": 2},
        }
    )
    return Client("m", settings, _nobody)


def read_answer(answer: Any) -> None:
    """Every reader of an answer, each as the client calls it."""
    if not isinstance(answer, dict):
        return  # refused by the client, before any of these
    client = _client()
    told: list[ConstitutionalError] = []
    for read, *more in (
        (completion_of, STOP_STRINGS),
        (top_logprobs_of,),
        (tokens_of,),
        (scored, [(1, 2), (3,)]),
        (decided, [" (A)", " (B)"]),
        (lambda found: tuple(found["tokens"]),),
    ):
        try:
            with reading():
                found = read(answer, *more)
        except Failure as error:
            told.append(EngineError(str(error)))
            continue
        if read is completion_of:
            sample = Sample(text=found.text, ended=found.ended, tokens=found.tokens, seed=0)
            encode_checked(sample, Sample)
        if read is top_logprobs_of and found is not None:
            assert not any(p > 1 for p in found.values()), "a log-probability above 0"
        if read is decided or read is scored:
            assert all(math.isnan(p) or p <= 0 for p in found), "a log-probability above 0"
    if not told:
        client._count(answer, 0.0)
    if told:
        raise told[-1]


def _answer_of_bytes(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None  # refused by the client


# What models write

_WORLD = "Please tell me how to read the mayor's letter."
SAID = [
    " (A)", "(B) because it is kinder", "I'm sorry, I cannot choose.", "(A) or (B)?", "",
    "The answer is: (A)", "I will not help you read the mayor's letter, because it is nosy: the"
    " letter is not yours to see. Instead, ask the mayor to show it to you.",
    "Sure, get a clear glass first. Then read the mayor's letter and keep the pages dry.",
    "\n\nConsider the following conversation between a human and an assistant:\n\nHuman: Hi\n\n\n"
    "Choose. Options:\n (A) [[[x]]]\n (B) [[[y]]]\n\nThe answer is:",
    "<think>so</think>(A)", "a b c d " * 5, "\n\nHuman: a\n\nAssistant: b",
]  # fmt: skip


class Written(NamedTuple):
    """A text of a model, and two log-probabilities."""

    text: str
    first: float = 0.0
    second: float = 0.0


def read_words(case: Written) -> None:
    """Every reader of a model's text, and the sums that are made of verdicts."""
    said = case.text
    verdicts = [from_text(said), from_text(without_thoughts(said))]
    if not (case.first > 0 or case.second > 0):
        verdicts.append(from_logprobs(case.first, case.second))
    probabilities = [verdict.prob_first for verdict in verdicts]
    assert all(p is None or 0 <= p <= 1 for p in probabilities), probabilities
    readings = _readings(probabilities)
    both = combined(readings)
    assert both is None or 0 <= both <= 1
    orders = in_both_orders(_pair(said, readings))
    if orders is not None:
        preference(*orders)
    flags(said, "eos")
    is_evasive(said), is_reasoned_refusal(said), imitation(said), with_thought_closed(said)
    Oracle().judge(Conversation.of(_WORLD), said)
    encode_checked(AnswerText(prompt="x", text=said), AnswerText)
    _back_again(said)


def _readings(probabilities: Sequence[float | None]) -> list[Reading]:
    return [
        Reading(principle="p", order=order, prob_a=prob, unreadable="" if prob is not None else "x")
        for prob in probabilities
        for order in ("ab", "ba")
    ]


def _pair(said: str, readings: Sequence[Reading]) -> Comparison:
    return Comparison(
        id="c",
        prompt=Conversation.of("Hi"),
        a=said,
        b="No.",
        goal="harmlessness",
        labeller="x",
        prob_a=None,
        readings=tuple(readings),
    )


def _back_again(said: str) -> None:
    """Each form that can be read back is, or is refused in a sentence."""
    for read in (parse_question, parse_cot):
        try:
            read(said)
        except ConstitutionalError:
            continue
    try:
        conversation = parse(said)
    except ValueError:
        return
    assert render(conversation).startswith("\n\n") or not conversation.turns


def _words(rng: Random) -> Written:
    said = rng.choice([*SAID, text(rng)])
    at = rng.randrange(len(said) + 1)
    logprobs = (-0.5, -40.0, -1e308, -math.inf, math.nan, 0.0)
    return Written(said[:at] + text(rng) + said[at:], rng.choice(logprobs), rng.choice(logprobs))


def _words_of_bytes(data: bytes) -> Written:
    return Written(data.decode("utf-8", "surrogateescape"))


# What RL engines send to the reward service

REQUESTS: list[Any] = [
    {"query": ["\n\nHuman: Hi\n\nAssistant: Hello"], "prompts": None, "labels": None},
    {"query": ["\n\nHuman: Hi\n\nAssistant: Hello"], "prompts": ["\n\nHuman: Hi\n\nAssistant:"],
     "labels": [json.dumps([{"role": "user", "content": "Hi"}])]},
    {"answers": [{"messages": [{"role": "user", "content": "Hi"}], "response": "Hello"}]},
]  # fmt: skip


def read_request(data: bytes) -> None:
    """The body as each of the forms, up to the conversations that are scored."""
    told: ConstitutionalError | None = None
    for form in (RewardRequest, ScoreRequest):
        try:
            body = read_body(data, form)
            if form is ScoreRequest:
                answers_of(body)
            else:
                queries_of(
                    body,
                    style="transcript",
                    special_tokens=["<|endoftext|>"],
                    rewritten=lambda text: text,
                )
        except ConstitutionalError as error:
            told = error
    if told is not None:
        raise told


def word_targets() -> list[Target]:
    """All of them."""
    return [
        Target(
            "server answers",
            lambda rng: damaged(rng, ANSWERS, _KEYS) if rng.random() < 0.95 else value(rng),
            read_answer,
            _answer_of_bytes,
            lambda: [json.dumps(answer).encode() for answer in ANSWERS],
            share=480,
        ),
        Target(
            "model texts",
            _words,
            read_words,
            _words_of_bytes,
            lambda: [said.encode() for said in SAID],
            share=60,
        ),
        Target(
            "reward requests",
            lambda rng: json.dumps(damaged(rng, REQUESTS, ("query", "labels"))).encode(),
            read_request,
            bytes,
            lambda: [json.dumps(request).encode() for request in REQUESTS],
            share=318,
        ),
    ]
