"""The reward service over a real preference model, asked as OpenRLHF, verl and TRL ask.

The clients are written from those projects' sources, which cannot be installed beside us
(``scripts/handover.py`` runs the ones that can be run alone).
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from handover_helpers import get, post, saved

from constitutional.dialogue import Conversation, prompt_for
from constitutional.dialogue.tokens import prompt_ids, prompt_text
from constitutional.errors import InputError, MissingExtraError
from constitutional.preference.combined import Response, logistic
from constitutional.preference.model import PreferenceModel

pytest.importorskip("fastapi", reason="the extra 'serve' is not installed")

from constitutional.handover.service import serve

Serving = Callable[..., Any]
ASKED = Conversation.of("How do I wash my dog?")
LONGER = Conversation.of(
    "How do I wash my dog?", "Please keep it dry.", "How can I carry my classmate's cat?"
)
MEAN = 0.25


def messages(conversation: Conversation) -> list[dict[str, str]]:
    roles = {"human": "user", "assistant": "assistant"}
    return [{"role": roles[turn.role], "content": turn.text} for turn in conversation.turns]


def openrlhf(
    url: str, model: PreferenceModel, asked: Conversation, answer: str
) -> tuple[float, float, dict[str, float]]:
    """What OpenRLHF 0.11.2 sends for one answer and reads of what comes back.

    ``SingleTurnAgentExecutor.execute``: the query is the decoded prompt and answer with special
    tokens, alone in its request; the reward goes to ``torch.tensor([reward])``, as do extra logs.
    """
    tokenizer, style = model.tokenizer, model.card.style
    prompt = prompt_text(tokenizer, prompt_for(asked, "assistant", style))
    prompt_token_ids = tokenizer(text=prompt, add_special_tokens=False)["input_ids"]
    action = tokenizer(text=answer + model.card.end_token, add_special_tokens=False)
    query = tokenizer.decode(prompt_token_ids + action["input_ids"], skip_special_tokens=False)
    label = json.dumps(messages(asked))
    status, body = post(
        f"{url}/get_reward", {"query": [query], "prompts": [prompt], "labels": [label]}
    )
    assert status == 200, body
    (reward,), (score,) = body["rewards"], body["scores"]
    return reward, score, {key: value[0] for key, value in body["extra_logs"].items()}


@pytest.mark.parametrize("style", ["transcript", "chat"])
def test_openrlhf_gets_the_reward_that_ppo_here_gets(
    request: pytest.FixtureRequest, serving: Serving, style: str
) -> None:
    model: PreferenceModel = request.getfixturevalue(f"{style}_pm")
    answers = [(ASKED, " Please keep it dry."), (LONGER, " I will not help you."), (ASKED, "")]
    expected = model.scores([Response(asked, text.strip()) for asked, text in answers])
    with serving(model) as (url, _):
        for (asked, text), raw in zip(answers, expected, strict=True):
            reward, score, logs = openrlhf(url, model, asked, text)
            assert reward == pytest.approx(raw - MEAN, abs=1e-5)
            assert score == pytest.approx(logistic(raw - MEAN), abs=1e-5)
            assert logs == {"pm_score": pytest.approx(raw, abs=1e-5)}


@pytest.mark.parametrize("style", ["transcript", "chat"])
def test_the_text_of_a_prompt_has_the_ids_that_we_sample_from(
    request: pytest.FixtureRequest, style: str
) -> None:
    model: PreferenceModel = request.getfixturevalue(f"{style}_pm")
    prompt = prompt_for(LONGER, "assistant", model.card.style)
    text = prompt_text(model.tokenizer, prompt)
    ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert ids == prompt_ids(model.tokenizer, prompt)


def test_a_transcript_needs_no_label(transcript_pm: PreferenceModel, serving: Serving) -> None:
    query = (
        "\n\nHuman: How do I wash my dog?\n\nAssistant: Please keep it dry."
        "\n\nHuman: How can I carry my classmate's cat?\n\nAssistant: I will not help you."
    )
    (raw,) = transcript_pm.scores([Response(LONGER, "I will not help you.")])
    with serving(transcript_pm) as (url, _):
        _, body = post(f"{url}/get_reward", {"query": [query + "<|endoftext|>"]})
        assert body["rewards"] == [pytest.approx(raw - MEAN, abs=1e-5)]
        # an unset label column comes as empty texts
        _, body = post(f"{url}/get_reward", {"query": [query], "prompts": ["x"], "labels": [""]})
        assert body["rewards"] == [pytest.approx(raw - MEAN, abs=1e-5)]


def test_verl_and_trl_get_it_through_the_file_beside_the_script(
    chat_pm: PreferenceModel, serving: Serving
) -> None:
    from constitutional.handover import reward

    raw = chat_pm.scores([Response(ASKED, "Use water."), Response(LONGER, "So.")])
    with serving(chat_pm) as (url, _):
        # verl 0.9.1, NaiveRewardManager.run_single, with reward_kwargs merged in
        found = reward.compute_score(
            data_source="constitutional",
            solution_str="Use water.",
            ground_truth="",
            extra_info={
                "messages": json.dumps(messages(ASKED)),
                "num_turns": None,
                "rollout_reward_scores": {},
            },
            url=url,
        )
        assert found == pytest.approx(raw[0] - MEAN, abs=1e-5)
        # TRL 1.16, RLOOTrainer._calculate_rewards: texts, or messages for conversational prompts
        both = reward.reward(
            prompts=["a", "b"],
            completions=["Use water.", [{"role": "assistant", "content": "So."}]],
            completion_ids=[[1], [2]],
            messages=[json.dumps(messages(ASKED)), json.dumps(messages(LONGER))],
            url=url,
        )
        assert both == [pytest.approx(score - MEAN, abs=1e-5) for score in raw]
        with pytest.raises(RuntimeError, match=r"refused to score: .*must end in a message of the"):
            reward.scores(
                [{"messages": messages(ASKED.add("assistant", "No")), "response": ""}], url
            )


def test_requests_that_arrive_together_are_scored_together(
    transcript_pm: PreferenceModel, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["Please keep it dry" + "." * number for number in range(1, 25)]
    expected = transcript_pm.scores([Response(ASKED, text) for text in texts])
    # the first batch is slow, so that the others wait for each other
    real = transcript_pm.scores_of_tokens
    slow = [0.5]

    def score(rows: Any) -> list[float]:
        time.sleep(slow.pop() if slow else 0)
        return real(rows)

    monkeypatch.setattr(transcript_pm, "scores_of_tokens", score)
    with serving(transcript_pm) as (url, service):

        def ask(text: str) -> float:
            answer = {"messages": messages(ASKED), "response": text}
            status, body = post(f"{url}/score", {"answers": [answer]})
            assert status == 200, body
            return float(body["scores"][0])

        with ThreadPoolExecutor(len(texts)) as pool:
            found = list(pool.map(ask, texts))
        assert found == [pytest.approx(score, abs=1e-5) for score in expected], "each its own"
        assert service.metrics.answers == 24
        assert service.metrics.batches <= 4
        shown = get(f"{url}/metrics")
        assert 'pm_requests_total{path="/score",status="200"} 24' in shown
        assert "pm_answers_total 24\n" in shown
        assert "pm_waiting_answers 0\n" in shown


def test_health_names_the_model_without_its_path(
    transcript_pm: PreferenceModel, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcript_pm, "name", "/home/someone/pm")
    with serving(transcript_pm) as (url, _):
        assert json.loads(get(f"{url}/health")) == {
            "status": "ok",
            "preference_model": "pm",
            "style": "transcript",
            "mean": MEAN,
            "deviation": 1.0,
        }


ANSWER = {"messages": messages(ASKED), "response": "So."}


@pytest.fixture(scope="module")
def address(transcript_pm: PreferenceModel, serving: Serving) -> Iterator[str]:
    with serving(transcript_pm, max_body_bytes=200_000) as (url, _):
        yield url


@pytest.mark.parametrize(
    ("path", "payload", "status", "says"),
    [
        ("/score", b"{", 422, "the body: invalid JSON.*expected {'answers'"),
        ("/score", {}, 422, "answers: field required"),
        ("/score", {"answers": []}, 422, "answers: list should have at least 1 item"),
        ("/score", {"answers": [ANSWER] * 1025}, 422, "at most 1024"),
        ("/score", {"answers": [{**ANSWER, "respose": "x"}]}, 422, "answers.0.respose: extra"),
        ("/score", {"answers": [{**ANSWER, "response": 3}]}, 422, "answers.0.response: input sho"),
        (
            "/score",
            {"answers": [{**ANSWER, "messages": [{"role": "system", "content": "x"}]}]},
            422,
            "message 1 of answer 1 has the role 'system', expected 'user'",
        ),
        (
            "/score",
            {"answers": [{**ANSWER, "response": "water " * 5000}]},
            422,
            "answer 1 has .* to",
        ),
        ("/get_reward", {"query": "x"}, 422, "query: input should be a valid array"),
        ("/get_reward", {"query": ["x"]}, 422, "query 1 is no transcript"),
        ("/get_reward", {"query": ["x"], "prompts": []}, 422, "1 queries have 0 prompts"),
        (
            "/get_reward",
            {"query": ["x"], "prompts": ["y"], "labels": [json.dumps(messages(ASKED))]},
            422,
            "query 1 does not begin with its prompt: was it cut",
        ),
        (
            "/get_reward",
            {"query": ["x"], "prompts": ["x"], "labels": ["42"]},
            422,
            "label 1 is no conversation as JSON messages, found '42'",
        ),
        ("/score", b"x" * 200_001, 413, "more than 200000 bytes"),
        ("/nothing", {}, 404, "Not Found"),
        ("/health", {}, 405, "Method Not Allowed"),
    ],
)
def test_a_bad_request_is_refused_in_a_sentence(
    address: str, path: str, payload: Any, status: int, says: str
) -> None:
    found, body = post(f"{address}{path}", payload)
    assert found == status
    assert re.search(says, body["detail"]), body
    assert "\n" not in body["detail"]
    assert post(f"{address}/score", {"answers": [ANSWER]})[0] == 200, "it goes on"


def test_a_chat_without_its_conversation_is_refused(
    chat_pm: PreferenceModel, serving: Serving
) -> None:
    with serving(chat_pm) as (url, _):
        status, body = post(f"{url}/get_reward", {"query": ["<|im_start|>user\nWhy?<|im_end|>"]})
    assert status == 422
    assert "send it as JSON messages in 'labels'" in body["detail"]


def test_a_score_that_is_no_number_is_an_error_of_the_service(
    transcript_pm: PreferenceModel, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = transcript_pm.scores_of_tokens
    wrong = [float("nan")]
    monkeypatch.setattr(
        transcript_pm, "scores_of_tokens", lambda rows: [wrong.pop()] if wrong else real(rows)
    )
    with serving(transcript_pm) as (url, _):
        status, body = post(f"{url}/score", {"answers": [ANSWER]})
        assert (status, body) == (500, {"detail": "a score is no finite number"})
        assert post(f"{url}/score", {"answers": [ANSWER]})[0] == 200
        assert 'pm_requests_total{path="/score",status="500"} 1' in get(f"{url}/metrics")


def test_more_than_can_wait_is_turned_away(
    transcript_pm: PreferenceModel, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(transcript_pm) as (url, service):
        service.metrics.waiting = 20_000
        status, body = post(f"{url}/score", {"answers": [ANSWER]})
    assert (status, body["detail"][:21]) == (503, "too many answers wait")


def test_the_command_serves_on_this_machine_alone(
    transcript_pm: PreferenceModel, tmp_path: Path
) -> None:
    folder = saved(transcript_pm, tmp_path / "pm")
    command = [sys.executable, "-c", "from constitutional.cli import main; main()", "serve-pm"]
    server = subprocess.Popen(
        [*command, str(folder), "--port", "0", "--device", "cpu"],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stderr is not None
        told = server.stderr.readline()
        address = told.partition(" is served at ")[2].partition(": /")[0]
        assert address.startswith("http://127.0.0.1:"), told
        (raw,) = transcript_pm.scores([Response(ASKED, "So.")])
        _, body = post(f"{address}/score", {"answers": [ANSWER]})
        assert body["scores"] == [pytest.approx(raw, abs=1e-5)]
        port = int(address.rpartition(":")[2])
        with pytest.raises(InputError, match=f"127.0.0.1:{port} cannot be listened at"):
            serve(transcript_pm, host="127.0.0.1", port=port)
    finally:
        server.terminate()
        server.wait(timeout=60)


def test_a_folder_that_is_no_preference_model(cai: Callable[..., Any], tmp_path: Path) -> None:
    code, _, told = cai("serve-pm", tmp_path)
    assert code == 2
    assert "is no preference model of ours" in told


def test_a_preference_model_before_its_training_is_not_served(
    transcript_pm: PreferenceModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = transcript_pm.card.model_copy(update={"mean": None})
    monkeypatch.setattr(transcript_pm, "card", card)
    with pytest.raises(Exception, match="its training has not ended"):
        serve(transcript_pm, host="127.0.0.1", port=0)


def test_a_host_that_is_none_is_refused(transcript_pm: PreferenceModel) -> None:
    with pytest.raises(InputError, match=r"cannot be listened at .*choose another --host"):
        serve(transcript_pm, host="999.1.1.1", port=0)


def test_without_the_extra_the_command_names_it(tmp_path: Path) -> None:
    # None in sys.modules is what a missing package looks like
    code = """
import sys
sys.modules["fastapi"] = None
from constitutional.cli import main
sys.argv = ["cai", "serve-pm", "x"]
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "cai: cai serve-pm needs fastapi, which is not installed: "
        "pip install 'constitutional[serve]'"
    )
    assert issubclass(MissingExtraError, Exception)
