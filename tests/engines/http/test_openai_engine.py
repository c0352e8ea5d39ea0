"""A model behind a server answers as the same model in this process."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from model_server import ModelServer, engine, settings
from pydantic import ValidationError
from transformers import AutoModelForCausalLM, AutoTokenizer

from constitutional.constitution import load_constitution
from constitutional.dialogue import Conversation
from constitutional.engines.base import ChatPrompt, Message, SamplingParams, TextPrompt
from constitutional.engines.local import LocalEngine
from constitutional.errors import EngineError
from constitutional.feedback import FeedbackConfig, FeedbackModel, Pair
from constitutional.microworld import data_file
from small_models import save_random_model

Serve = Callable[..., ModelServer]
CHOICES = (" (A)", " (B)")
HUMAN = "\n\nHuman: How do I read my neighbor's diary?\n\nAssistant:"
ASKED = ChatPrompt((Message("user", "Which answer is better?"),), "The answer is:")


@pytest.fixture(scope="session")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """A random model with a chat template, to whose tokenizer " (A)" is several tokens."""
    texts = ["Which answer is better? The answer is: the first one, or the second."] * 20
    folder = save_random_model(tmp_path_factory.mktemp("models") / "qwen3", "qwen3", texts)
    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def pairs() -> list[Pair]:
    asked = Conversation.of("How do I read my neighbor's diary?")
    texts = [
        "Sure, get a clear glass first.",
        "I will not help you read your neighbor's diary, because it is nosy.",
        "You can read your neighbor's diary with a clear glass.",
    ]
    return [Pair(f"p{i}", asked, texts[i], texts[(i + 1) % 3]) for i in range(3)]


def label(engine: Any, **config: Any) -> list[Any]:
    constitution = load_constitution(data_file("constitution.yaml"))
    asked = FeedbackConfig(few_shots=0, orders="both", **config)
    return FeedbackModel(engine, constitution, asked, 3).label(pairs())


def test_samples_are_those_in_this_process_by_seed(
    server: ModelServer, helpful: tuple[Any, Any]
) -> None:
    params = SamplingParams(48, 1.0, ("\n\nHuman:",))
    prompts, seeds = [TextPrompt(HUMAN)] * 4, [1, 2, 3, 2**63 - 1]
    here = LocalEngine(*helpful, name="here").sample(prompts, params, seeds)
    there = engine(server).sample(prompts, params, seeds)
    assert [c.text for c in there] == [c.text for c in here]
    assert len({c.text for c in there}) > 1
    assert [c.tokens for c in there] == [c.tokens for c in here]


@pytest.mark.parametrize("vllm", [False, True])
def test_labels_are_those_in_this_process(
    serve: Serve, helpful: tuple[Any, Any], vllm: bool
) -> None:
    server = serve(*helpful, vllm=vllm)
    there = label(engine(server, server="vllm" if vllm else "other"))
    here = label(LocalEngine(*helpful, name="here"))
    for mine, theirs in zip(here, there, strict=True):
        assert theirs.prob_a == pytest.approx(mine.prob_a, abs=1e-4)
        probabilities = [reading.prob_a for reading in mine.readings]
        assert [r.prob_a for r in theirs.readings] == pytest.approx(probabilities, abs=1e-4)
    assert len({round(c.prob_a, 3) for c in there}) > 1


@pytest.mark.parametrize("vllm", [False, True])
def test_choices_of_several_tokens_in_a_chat(
    serve: Serve, chat_model: tuple[Any, Any], vllm: bool
) -> None:
    # a random model finds nothing likely: the plain server shows its whole vocabulary
    server = serve(*chat_model, vllm=vllm, top=10_000)
    asking = engine(server, style="chat", server="vllm" if vllm else "other", top_logprobs=10_000)
    there = asking.choice_logprobs([ASKED], CHOICES)
    here = LocalEngine(*chat_model, name="here").choice_logprobs([ASKED], CHOICES)
    if vllm:
        assert there[0] == pytest.approx(here[0], abs=1e-4)
    else:
        # texts can be cut into tokens in several ways, of which the likeliest is taken
        assert all(t >= h - 1e-4 for t, h in zip(there[0], here[0], strict=True))
    posts = [path for path, _ in server.requests]
    assert posts.count("/tokenize") == (3 if vllm else 0)


def test_a_choice_beyond_the_likeliest_is_unreadable_and_counted(
    serve: Serve, helpful: tuple[Any, Any]
) -> None:
    server = serve(*helpful, top=1)
    assert math.isnan(min(engine(server).choice_logprobs([TextPrompt(HUMAN)], CHOICES)[0]))
    readings = [r for c in label(engine(server)) for r in c.readings]
    assert all(r.prob_a is None and "does not tell" in r.unreadable for r in readings)


def test_silently_missing_logprobs_are_noticed_before_anything_is_reasoned(
    serve: Serve, helpful: tuple[Any, Any]
) -> None:
    server = serve(*helpful, logprobs=False)
    with pytest.raises(EngineError, match="answers without them: set choices: votes"):
        label(engine(server), cot=True, clamp=None)
    assert len(server.requests) == 4  # asked again, in case that it was an accident
    voted = label(engine(server, choices="votes"), votes=2)
    assert {r.votes for c in voted for r in c.readings} == {1}
    assert [len(c.readings) for c in voted] == [4, 4, 4]
    with pytest.raises(EngineError, match="set to give votes"):
        engine(server, choices="votes").choice_logprobs([TextPrompt(HUMAN)], CHOICES)


def test_without_a_begun_answer_only_choices_of_one_token_are_weighed(
    serve: Serve, chat_model: tuple[Any, Any]
) -> None:
    server = serve(*chat_model, top=10_000)
    asking = engine(server, style="chat", answer_prefix="request", top_logprobs=10_000)
    here = LocalEngine(*chat_model, name="here")
    asked = ChatPrompt((Message("user", "Which answer is better?\n\nThe answer is:"),))
    assert asking.choice_logprobs([ASKED], (" A", " B"))[0] == pytest.approx(
        here.choice_logprobs([asked], ("A", "B"))[0], abs=1e-4
    )
    with pytest.raises(EngineError, match=r"several tokens.*set choices: votes"):
        asking.choice_logprobs([ASKED], CHOICES)


def test_a_system_prompt_stands_first(serve: Serve, chat_model: tuple[Any, Any]) -> None:
    server = serve(*chat_model)
    asking = engine(server, style="chat", system="Be brief.")
    own = ChatPrompt((Message("system", "Be kind."), Message("user", "Hi")))
    asking.sample([ASKED, own], SamplingParams(4, 0.0), [1, 2])
    sent = sorted(body["messages"][0]["content"] for _, body in server.requests)
    assert sent == ["Be brief.", "Be brief.\n\nBe kind."]
    assert asking.fingerprint != engine(server, style="chat").fingerprint


def test_name_and_fingerprint() -> None:
    url = "http://host:1/v1"
    at = settings(url, model="/home/me/models/tiny")
    changed: list[dict[str, Any]] = [
        {"model": "other"},
        {"base_url": "http://host:2/v1"},
        {"server": "vllm"},
        {"style": "chat"},
        {"choices": "votes"},
        {"top_logprobs": 5},
    ]
    prints = {settings(url, **change).fingerprint for change in changed} | {at.fingerprint}
    assert len(prints) == len(changed) + 1
    priced = settings(url, prices={"prompt": 1, "completion": 2}, limits={"max_usd": 1})
    assert priced.fingerprint == settings(url).fingerprint


def test_the_name_holds_no_path(server: ModelServer) -> None:
    assert engine(server, model="/home/me/models/tiny").name == "openai:tiny"
    assert engine(server, model="Qwen/Qwen3-8B").name == "openai:Qwen/Qwen3-8B"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"base_url": "http://me:secret@host/v1"}, "without user, password and query"),
        ({"base_url": "http://host/v1?key=secret"}, "without user, password and query"),
        ({"base_url": "localhost:8000/v1"}, "must be an address"),
        ({"api_key_env": "sk-secret"}, "name of an environment variable"),
        ({"limits": {"max_usd": 1}}, "'max_usd' needs 'prices'"),
        ({"system": "secret"}, "'system' is for style chat"),
        ({"answer_prefix": "request"}, "'answer_prefix' is for style chat"),
        ({"style": "chat", "server": "openai"}, "set answer_prefix: request"),
        ({"choices": "generative_scoring"}, "cannot be asked of server 'other': use one of"),
        ({"choices": "systemone", "server": "llama.cpp"}, "use one of logprobs, votes"),
        (
            {
                "style": "chat",
                "server": "vllm",
                "answer_prefix": "request",
                "choices": "logprob_token_ids",
            },
            "stand after a begun answer",
        ),
    ],
)
def test_contradictions_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as caught:
        settings(**{"url": "http://host/v1"}, **changes) if "base_url" not in changes else settings(
            changes["base_url"]
        )
    sentence = caught.value.errors()[0]["msg"]
    assert says in sentence
    assert "secret" not in sentence
