"""Choices asked through the endpoints that are made for them, each as it was told to."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from model_server import ModelServer, engine, says, settings

from constitutional.engines.base import ChatPrompt, Message, TextPrompt
from constitutional.engines.http.decisions import decided, decision_request, text_of
from constitutional.engines.local import LocalEngine
from constitutional.errors import EngineError

Serve = Callable[..., ModelServer]
CHOICES = (" (A)", " (B)")
HUMAN = "\n\nHuman: How do I read my neighbor's diary?\n\nAssistant:"
PROMPTS = [TextPrompt(HUMAN), TextPrompt(HUMAN * 2), TextPrompt(HUMAN)]
PATHS = {
    "logprobs": {"/v1/completions"},
    "logprob_token_ids": {"/v1/completions", "/tokenize"},
    "generative_scoring": {"/generative_scoring", "/tokenize", "/v1/completions"},
    "decisions": {"/v1/decisions"},
    "systemone": {"/v1/systemone"},
}


def shares(scores: tuple[float, ...]) -> list[float]:
    odds = [math.exp(score) for score in scores]
    return [each / sum(odds) for each in odds]


@pytest.mark.parametrize("way", ["logprob_token_ids", "generative_scoring"])
def test_by_tokens_the_log_probabilities_are_those_in_this_process(
    serve: Serve, helpful: tuple[Any, Any], way: str
) -> None:
    server = serve(*helpful, vllm=True)
    asking = engine(server, server="vllm", choices=way)
    choices = (*CHOICES, " You can read")  # the last of several tokens
    here = LocalEngine(*helpful, name="here").choice_logprobs(PROMPTS, choices)
    there = asking.choice_logprobs(PROMPTS, choices)
    assert there == [pytest.approx(row, abs=1e-4) for row in here]
    assert {path for path, _ in server.requests} <= PATHS[way]
    if way == "generative_scoring":
        scored = [body for path, body in server.requests if path == "/generative_scoring"]
        assert all(body["apply_softmax"] is False for body in scored)
        assert max(len(body["items"]) for body in scored) == len(PROMPTS)  # in one request
        assert not any(path == "/v1/completions" for path, _ in server.requests)


@pytest.mark.parametrize("way", ["decisions", "systemone"])
def test_by_decisions_the_shares_are_those_in_this_process(
    serve: Serve, helpful: tuple[Any, Any], way: str
) -> None:
    server = serve(*helpful)
    there = engine(server, choices=way).choice_logprobs(PROMPTS, CHOICES)
    here = LocalEngine(*helpful, name="here").choice_logprobs(PROMPTS, CHOICES)
    for mine, theirs in zip(here, there, strict=True):
        assert [math.exp(x) for x in theirs] == pytest.approx(shares(mine), abs=1e-4)
    assert {path for path, _ in server.requests} == PATHS[way]


def test_a_prompt_that_scoring_would_cut_short_is_refused(
    serve: Serve, helpful: tuple[Any, Any]
) -> None:
    server = serve(*helpful, vllm=True, max_model_len=16)
    with pytest.raises(EngineError, match="longer than its max_model_len"):
        engine(server, server="vllm", choices="generative_scoring").choice_logprobs(
            PROMPTS, CHOICES
        )


@pytest.mark.parametrize("way", ["generative_scoring", "decisions", "systemone"])
def test_a_server_without_the_endpoint_is_not_asked_otherwise(
    serve: Serve, helpful: tuple[Any, Any], way: str
) -> None:
    server = serve(*helpful, vllm=True)
    if way == "generative_scoring":
        server.faults.extend([answers_tokens] * 3)
    server.faults.append(says(404, "Not Found"))
    with pytest.raises(EngineError, match="status 404: Not Found"):
        _ = engine(server, server="vllm", choices=way).capabilities
    assert {path for path, _ in server.requests} <= PATHS[way] - {"/v1/completions"}


def answers_tokens(handler: Any) -> None:
    """No fault: the tokens that were asked for."""
    import json

    path, body = handler.server.requests[-1]
    handler.reply(200, json.dumps(handler.server.answer(path, body)))


def test_the_body_and_the_answer_are_those_of_the_official_client(
    serve: Serve, helpful: tuple[Any, Any]
) -> None:
    import openai

    server = serve(*helpful)
    asking = engine(server, choices="decisions")
    ours = decision_request(PROMPTS[0], CHOICES, asking.settings).body
    client = openai.OpenAI(api_key="none", base_url=server.url)
    answer = client.decisions.create(**ours)
    assert server.requests[-1] == ("/v1/decisions", ours)
    typed = [each.probability for each in answer.answers[0].probabilities]
    assert [math.exp(x) for x in decided(answer.to_dict(), CHOICES)] == pytest.approx(typed)


def test_a_refusal_to_decide_is_no_number_and_an_impossible_choice_is_minus_infinity() -> None:
    refused = {"answers": [{"type": "refusal", "name": "answer"}]}
    assert all(math.isnan(x) for x in decided(refused, CHOICES))
    sure = {"answer": {"type": "choice", "probabilities": {"(B)": 1.0, "(A)": 0.0}}}
    assert decided({"answers": sure}, CHOICES) == (-math.inf, 0.0)


def test_an_answer_without_probabilities_is_laid_at_the_servers_door(
    serve: Serve, helpful: tuple[Any, Any]
) -> None:
    server = serve(*helpful)

    def bare(handler: Any) -> None:
        usage = '"usage": {"input_tokens": 1, "output_tokens": 0}'
        handler.reply(200, '{"answers": {"answer": {"type": "choice"}}, ' + usage + "}")

    server.faults += [bare] * 4
    with pytest.raises(EngineError, match="its answer lacks 'probabilities'"):
        _ = engine(server, choices="systemone").capabilities


def test_what_is_decided_upon() -> None:
    asked = ChatPrompt((Message("user", "Which is better?"),), "The answer is:")
    assert text_of(asked) == "Which is better?\n\nThe answer is:"
    longer = ChatPrompt((Message("system", "Be fair."), *asked.messages))
    assert text_of(longer) == "system: Be fair.\n\nuser: Which is better?"
    chat = settings("http://h/v1", style="chat", choices="systemone")
    with pytest.raises(EngineError, match="differ by blanks alone"):
        decision_request(asked, ("A", " A"), chat)
