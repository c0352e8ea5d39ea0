from __future__ import annotations

from typing import Any

import pytest
from model_server import settings

from constitutional.engines.base import ChatPrompt, Message, SamplingParams, TextPrompt
from constitutional.engines.http.wire import (
    choice_request,
    completion_of,
    sampling_request,
    tokens_of,
    top_logprobs_of,
)
from constitutional.errors import EngineError

URL = "http://host:1/v1"
ASKED = ChatPrompt((Message("user", "Which?"),), "The answer is:")
PARAMS = SamplingParams(9, 1.0, ("\n\nHuman:", "\n\nAssistant:", "C", "D", "E"))


def answer(text: str, reason: str = "stop", **more: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    return {"choices": [{"message": {"content": text}, "finish_reason": reason} | more]} | {
        "usage": usage
    }


def test_a_transcript_is_sent_as_it_stands_with_at_most_four_stop_strings() -> None:
    path, body, _ = sampling_request(TextPrompt("\n\nHuman: Hi"), PARAMS, 2**62, settings(URL))
    assert path == "/completions"
    assert body == {
        "model": "served",
        "prompt": "\n\nHuman: Hi",
        "max_tokens": 9,
        "temperature": 1.0,
        "stop": ["\n\nHuman:", "\n\nAssistant:", "C", "D"],
        "seed": 2**62,
    }


def test_vllm_goes_on_with_a_begun_answer_without_thinking_from_the_whole_distribution() -> None:
    chat = settings(URL, style="chat", server="vllm")
    path, body, _ = sampling_request(ASKED, PARAMS, 1, chat)
    assert path == "/chat/completions"
    assert body["messages"][-1] == {"role": "assistant", "content": "The answer is:"}
    assert body["continue_final_message"] is True
    assert body["add_generation_prompt"] is False
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert (body["top_k"], body["top_p"], body["repetition_penalty"]) == (-1, 1.0, 1.0)
    assert len(body["stop"]) == 5
    plain = sampling_request(ChatPrompt(ASKED.messages), PARAMS, 1, chat).body
    assert "continue_final_message" not in plain


def test_where_a_begun_answer_is_forbidden_its_beginning_ends_the_request() -> None:
    chat = settings(URL, style="chat", server="openai", answer_prefix="request")
    body = sampling_request(ASKED, PARAMS, 1, chat).body
    assert body["messages"] == [{"role": "user", "content": "Which?\n\nThe answer is:"}]
    assert body["max_completion_tokens"] == 9
    assert "max_tokens" not in body


def test_reasoning_effort_and_seeds_go_where_they_are_taken() -> None:
    chat = settings(URL, style="chat", reasoning_effort="none")
    assert sampling_request(ASKED, PARAMS, 1, chat).body["reasoning_effort"] == "none"
    served = settings(URL, server="transformers")
    body = sampling_request(TextPrompt("x"), PARAMS, 1, served).body
    assert "seed" not in body
    assert "stop" not in body
    small = settings(URL, server="llama.cpp")
    assert sampling_request(TextPrompt("x"), PARAMS, 2**62 + 5, small).body["seed"] == 5
    greedy = SamplingParams(9, 0.0)
    assert "seed" not in sampling_request(TextPrompt("x"), greedy, 1, small).body


def test_choices_ask_for_one_token_and_the_likeliest() -> None:
    body = choice_request(TextPrompt("x"), settings(URL, top_logprobs=7)).body
    assert (body["max_tokens"], body["logprobs"], body["temperature"]) == (1, 7, 0.0)
    chat = choice_request(ASKED, settings(URL, style="chat")).body
    assert (chat["logprobs"], chat["top_logprobs"]) == (True, 20)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("Fine.", "Fine."),
        ("<think>\nHm.\n</think>\n\nFine.", "Fine."),
        ("Hm, so\n</think>\n\nFine.", "Fine."),
        (" <think>Hm, so", ""),
        ("I think <think> is a tag.", "I think <think> is a tag."),
    ],
)
def test_thoughts_are_not_part_of_the_text(text: str, read: str) -> None:
    assert completion_of(answer(text), ()).text == read


def test_reasoning_content_is_not_read() -> None:
    message = {"content": "Fine.", "reasoning_content": "Hm."}
    assert completion_of(answer("", message=message), ()).text == "Fine."


def test_how_a_text_ended() -> None:
    assert completion_of(answer("a"), ()).ended == "eos"
    assert completion_of(answer("a", "length"), ()).ended == "length"
    assert completion_of(answer("a", "content_filter"), ()).ended == "filter"
    assert completion_of(answer("a", stop_reason="C"), ("C",)).ended == "stop"
    # cut off here where the server left the stop string in, or could not take it
    kept = completion_of(answer("a D b C", "length"), ("C", "D"))
    assert (kept.text, kept.ended, kept.tokens) == ("a ", "stop", 2)


def test_likeliest_tokens_of_both_forms_and_of_none() -> None:
    each = [{"token": "A", "logprob": -1}, {"token": "", "logprob": -3}]
    chat = answer("A", logprobs={"content": [{**each[0], "top_logprobs": each}]})
    assert top_logprobs_of(chat) == {"A": -1.0}
    text = {"text": "A", "logprobs": {"top_logprobs": [{"A": -1.0, "B": -2.0}]}}
    assert top_logprobs_of({"choices": [text]}) == {"A": -1.0, "B": -2.0}
    for left_out in (None, {}, {"content": []}, {"top_logprobs": None}):
        assert top_logprobs_of(answer("A", logprobs=left_out)) is None
    with pytest.raises(EngineError, match="no known form"):
        top_logprobs_of(answer("A", logprobs={"content": ["A"]}))


def test_tokens_are_read_and_never_imputed() -> None:
    full = {"prompt_tokens": 9, "completion_tokens": 2}
    cached = full | {"prompt_tokens_details": {"cached_tokens": 4}}
    assert tokens_of({"usage": cached}) == (9, 4, 2)
    assert tokens_of({"usage": full | {"prompt_tokens_details": None}}) == (9, 0, 2)
    for unsaid in ({}, {"usage": None}, {"usage": {"prompt_tokens": None}}):
        with pytest.raises(EngineError, match="how many tokens"):
            tokens_of(unsaid)
