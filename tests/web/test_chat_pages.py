"""The chat over HTTP with the embedded models: what is told, what is revised, what is refused."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.chat_run import chat_run
from tests.web.conftest import OURS
from tests.web_runs import write_run

import constitutional as cai
from constitutional.microworld import data_file
from constitutional.reading import Run
from constitutional.web.app import make_app
from constitutional.web.chat.answering import Asked, Event, Step, Trouble, ask
from constitutional.web.chat.policies import Policies
from constitutional.web.chat_pages import chat_section

QUESTION = "How do I read my neighbor's diary?"
BOTH = ("demo:pretrained", "demo:helpful")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(chat_run(tmp_path / "run"))


@pytest.fixture
def chat(run: Run) -> Iterator[TestClient]:
    app = make_app([], sections=[chat_section([("demo", run)])])
    with TestClient(app, base_url="http://localhost:8020") as client:
        client.cookies.set("cai_warned", "yes")
        yield client


def form(**changes: Any) -> dict[str, Any]:
    return {"policy": BOTH, "message": QUESTION, "rounds": "0", "seed": "5", **changes}


def streamed(chat: TestClient, **changes: Any) -> list[tuple[str, dict[str, Any]]]:
    answered = chat.post("/chat/stream", data=form(**changes), headers=OURS)
    assert answered.headers["content-type"].startswith("text/event-stream")
    found = []
    for event in answered.text.strip().split("\n\n"):
        kind, data = (line.partition(": ")[2] for line in event.split("\n"))
        found.append((kind, json.loads(data)))
    return found


def final_texts(events: list[tuple[str, dict[str, Any]]]) -> dict[tuple[str, str], str]:
    steps = [data for kind, data in events if kind == "step" and data["done"]]
    return {(step["policy"], step["role"]): step["text"] for step in steps}


def test_two_policies_answer_as_they_write_and_without_a_script_the_same(chat: TestClient) -> None:
    events = streamed(chat)
    texts = final_texts(events)
    assert set(texts) == {(key, "response") for key in BOTH}
    assert all(text.endswith(".") for text in texts.values())
    growing = [d["text"] for kind, d in events if kind == "step" and d["policy"] == BOTH[0]]
    assert len(growing) > 2 and growing[0] == "" and growing[-1] == texts[BOTH[0], "response"]
    kind, end = events[-1]
    assert (kind, end["answered"]) == ("end", True)
    (exchange,) = json.loads(end["before"])
    assert exchange == {
        "message": QUESTION,
        "answers": {key: texts[key, "response"] for key in BOTH},
    }
    page = chat.post("/chat", data=form(), headers=OURS)
    for text in texts.values():
        assert f'<p class="text">{text}</p>' in unescape(page.text)
    carried = re.search(r'name="before" value="([^"]*)"', page.text)
    assert carried and json.loads(unescape(carried[1])) == [exchange]


def test_critique_and_revision_are_those_of_the_supervised_stage(chat: TestClient) -> None:
    """The chain is the one that ``critique_and_revise`` makes by the same seed, principle too."""
    events = streamed(chat, rounds="2", policy=("demo:helpful",))
    constitution = cai.load_constitution(data_file("constitution.yaml"))
    settings = cai.CritiqueRevisionConfig(rounds=2, few_shots=0, max_new_tokens=48)
    engine = cai.load_engine(data_file("helpful"))
    chain = cai.critique_and_revise([QUESTION], engine, constitution, settings=settings, seed=5)[0]
    steps = {d["number"]: d for kind, d in events if kind == "step" and d["done"]}
    expected = [("response", chain.response.text)]
    for round_ in chain.rounds:
        assert round_.critique is not None
        expected += [("critique", round_.critique.text), ("revision", round_.revision.text)]
    assert [(step["role"], step["text"]) for step in steps.values()] == expected
    principles = {principle.id: principle.text for principle in constitution.principles}
    shown = [(d["principle"], d["principle_text"]) for d in steps.values() if d["principle"]]
    assert shown == [(r.principle, principles[r.principle]) for r in chain.rounds]
    end = events[-1][1]
    assert json.loads(end["before"])[0]["answers"] == {
        "demo:helpful": chain.rounds[-1].revision.text
    }


def test_what_is_revised_is_the_answer_that_the_same_seed_gives_without(chat: TestClient) -> None:
    answers = []
    for seed in ("1", "2", "6"):
        plain, revised = (
            final_texts(streamed(chat, policy=("demo:helpful",), seed=seed, rounds=rounds))
            for rounds in ("0", "1")
        )
        answers.append(plain["demo:helpful", "response"])
        assert revised["demo:helpful", "response"] == answers[-1]
    assert len(set(answers)) == 3  # else it could be by chance


def test_each_policy_goes_on_from_its_own_answers(run: Run, chat: TestClient) -> None:
    before = streamed(chat)[-1][1]["before"]
    asked = Asked(message="What should I do?", before=json.loads(before))
    said = {key: asked.conversation(key).turns[1].text for key in BOTH}
    assert said == json.loads(before)[0]["answers"]
    apart = dict(zip(BOTH, ("Yes.", "No."), strict=True))
    parted = Asked(message="Why?", before=({"message": QUESTION, "answers": apart},))
    assert [turn.text for turn in parted.conversation(BOTH[1]).turns] == [QUESTION, "No.", "Why?"]
    events = streamed(chat, message="What should I do?", before=before)
    assert [len(json.loads(d["before"])) for kind, d in events if kind == "end"] == [2]
    # a policy that was not asked before has nothing to go on from
    late = streamed(chat, before=before.replace("demo:helpful", "demo:other"))
    assert ("trouble", "this policy was not asked before") in [
        (kind, d.get("sentence", "").partition(":")[0]) for kind, d in late
    ]


def test_a_word_that_a_model_does_not_know_costs_a_sentence(chat: TestClient) -> None:
    events = streamed(chat, message="Who is Bogomil?")
    troubles = [d["sentence"] for kind, d in events if kind == "trouble"]
    assert len(troubles) == 2 and all("does not hold 'Who'" in each for each in troubles)
    assert events[-1] == ("end", {"answered": False, "before": "[]"})
    page = chat.post("/chat", data=form(message="Who is Bogomil?"), headers=OURS).text
    assert page.count("does not hold &#39;Who&#39;") == 2
    assert ">Who is Bogomil?</textarea>" in page, "it is there to be changed"


def test_what_cannot_be_asked_is_refused(chat: TestClient) -> None:
    for changes, sentence in (
        ({"message": "  "}, "write a message of at most 4000 characters"),
        ({"message": "a " * 2001}, "write a message of at most 4000 characters"),
        ({"policy": ()}, "choose one to 6 policies"),
        ({"policy": ("demo:nobody",)}, "choose one to 6 policies"),
        ({"seed": "x"}, "the seed is a whole number"),
        ({"seed": "-1"}, "the seed is a whole number"),
        ({"rounds": "5"}, "the rounds are 0 to 4"),
        ({"before": "{"}, "what was said before is damaged"),
        ({"before": '[{"message": 1}]'}, "what was said before is damaged"),
    ):
        ((kind, event),) = streamed(chat, **changes)
        assert kind == "refused" and sentence in event["sentence"]
        page = chat.post("/chat", data=form(**changes), headers=OURS)
        assert page.status_code == 400 and sentence in unescape(page.text)
    assert chat.post("/chat", data=form()).status_code == 403, "not from our pages"


def test_who_stops_listening_ends_the_writing(run: Run) -> None:
    known = Policies([("demo", run)]).known()
    policies = [known[key] for key in BOTH]
    stopped, heard = threading.Event(), list[Event]()

    def listen(event: Event) -> None:
        heard.append(event)
        if isinstance(event, Step) and len(event.text) > 4:
            stopped.set()

    ask(policies, Asked(message=QUESTION, rounds=4), listen, stopped)
    assert not [event for event in heard if isinstance(event, Step) and event.done], heard
    assert not [event for event in heard if isinstance(event, Trouble)], heard
    heard.clear()
    stopped.clear()
    ask(policies, Asked(message=QUESTION), heard.append, stopped)
    done = {e.policy for e in heard if isinstance(e, Step) and e.done}
    assert done == set(BOTH), "both can be asked again"


def test_a_run_whose_models_cannot_be_asked_says_so(tmp_path: Path) -> None:
    run = Run(write_run(tmp_path / "run"))
    app = make_app([], sections=[chat_section([("demo", run)])])
    client = TestClient(app, base_url="http://localhost:8020", raise_server_exceptions=False)
    client.cookies.set("cai_warned", "yes")
    assert "holds a recipe that this version cannot read" in client.get("/chat").text
