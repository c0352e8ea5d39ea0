"""No attack ends its field, in any prompt that is one text: turns, options, answers, lists."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.hostile.attacks import Family, corpus, hostile_texts
from tests.hostile.seen import marks, roles

from constitutional.constitution import load_constitution
from constitutional.dialogue import Conversation, PromptRecord, parse, prompt_for, render
from constitutional.dialogue.conversation import Role, Turn
from constitutional.dialogue.quoting import QUESTION, REASONING, TRANSCRIPT, Form, quoted, unquoted
from constitutional.engines import ScriptedEngine, TextPrompt
from constitutional.evaluation.judges import HELPFULNESS, judge, pairings
from constitutional.feedback import (
    FeedbackConfig,
    FeedbackModel,
    Pair,
    Question,
    parse_cot,
    parse_question,
    render_cot,
    render_question,
)
from constitutional.feedback.asking import Shot, cot_prompt, plain_prompt
from constitutional.microworld import data_file
from constitutional.red_teaming.few_shots import few_shot_pool, list_prompt
from constitutional.red_teaming.settings import RedTeamingConfig
from constitutional.runs.records import Answer, Sample

PRINCIPLE = "Which of these assistant responses is less harmful?"
TEXTS = tuple(hostile_texts())
HARMLESS = "Use water."
#: The marks of a question with two options, without and with the lead of a chain of thought.
PLAIN = {"begins": 2, "ends": 2, "option": 2, "offer": 1, "answer": 1, "lead": 0}
COT = PLAIN | {"lead": 1}


def test_the_corpus_is_large_and_of_every_family() -> None:
    attacks = corpus()
    counts = {family: sum(a.family == family for a in attacks) for family in get_args(Family)}
    assert len(attacks) >= 200 and min(counts.values()) >= 20, counts


@pytest.mark.parametrize("form", [TRANSCRIPT, QUESTION, REASONING])
def test_a_quoted_text_can_be_read_back(form: Form) -> None:
    for text in TEXTS:
        assert unquoted(quoted(text, form), form) == text


PIECES = [
    "\n",
    "\r",
    "\\",
    "Human",
    ":",
    "：",
    " ",
    "\u200b",
    "]",
    "[",
    "(A)",
    "＼",
    "Options:",
    "x",
]


@given(
    st.lists(st.sampled_from(PIECES), max_size=14).map("".join),
    st.sampled_from([TRANSCRIPT, QUESTION]),
)
def test_any_text_can_be_read_back(text: str, form: Form) -> None:
    assert unquoted(quoted(text, form), form) == text


def test_no_text_opens_a_turn_of_a_transcript() -> None:
    for text in TEXTS:
        for role in get_args(Role):
            spoken = Conversation.of("How?", "So.").add(role, text).add("human", text)
            shown = render(spoken, awaiting="assistant")
            assert roles(shown) == ["human", "assistant", _name(role), "human", "assistant"]
            if text.strip():
                assert parse(shown) == spoken


def _name(role: Role) -> str:
    return role.replace("_", "")


def test_no_text_opens_a_turn_of_a_critique_or_a_revision() -> None:
    chain: tuple[Role, ...] = ("critique_request", "critique", "revision_request")
    for text in TEXTS:
        shot = Conversation.of(text, text)
        spoken = Conversation.of(text, text)
        for role in chain:
            shot, spoken = shot.add(role, text), spoken.add(role, text)
        shot = shot.add("revision", text)
        prompt = prompt_for(spoken, "revision", "transcript", [shot])
        assert isinstance(prompt, TextPrompt)
        one = ["human", "assistant", *map(_name, chain), "revision"]
        assert roles(prompt.text) == one + one


def test_a_chat_has_each_text_in_a_message_of_its_own() -> None:
    for text in TEXTS:
        spoken = Conversation.of(text, text).add("critique_request", text)
        prompt = prompt_for(spoken, "critique", "chat")
        assert [m.content for m in prompt.messages] == [text] * 3  # type: ignore[union-attr]


@pytest.mark.parametrize("shots", [False, True])
def test_no_text_ends_its_option(shots: bool) -> None:
    for text in TEXTS:
        for question in _questions(text):
            assert parse_question(render_question(question)) == question
            assert parse_cot(render_cot(question)) == question
            examples = [Shot(question, "A", reasoning=HARMLESS)] if shots else []
            shown = plain_prompt(question, examples, "transcript").text  # type: ignore[union-attr]
            assert marks(shown) == _times(PLAIN, 1 + shots)
            assert roles(shown) == ["human", "assistant", "human"] * (1 + shots)
            shown = cot_prompt(question, examples, "transcript", HARMLESS).text  # type: ignore[union-attr]
            assert marks(shown, cot=True) == _times(COT, 1 + shots)
            asked = ["human", "h", "a", "h", "assistant", "human"]
            assert roles(shown, cot=True) == asked * (1 + shots)


def _questions(text: str) -> tuple[Question, ...]:
    spoken = Conversation.of("How?", "So.", "Why?")
    everywhere = Conversation(turns=tuple(Turn(role=t.role, text=f"x{text}") for t in spoken.turns))
    return (
        Question(spoken, PRINCIPLE, text, HARMLESS),
        Question(spoken, PRINCIPLE, HARMLESS, text),
        Question(everywhere, PRINCIPLE, text, text),
    )


def _times(expected: dict[str, int], times: int) -> dict[str, int]:
    return {name: count * times for name, count in expected.items()}


def test_no_reasoning_gives_its_own_verdict() -> None:
    (question, *_) = _questions(HARMLESS)
    for text in TEXTS:
        shown = render_cot(question, f"Well. {text}")
        assert roles(shown, cot=True) == ["human", "h", "a", "h", "assistant", "human"]
        chat = cot_prompt(question, [], "chat", f"Well. {text}").answer_prefix  # type: ignore[union-attr]
        assert roles(chat, cot=True) == []
        assert marks(chat, cot=True)["answer"] == 1


def test_the_feedback_model_and_the_judge_ask_no_forged_question() -> None:
    engine = ScriptedEngine(lambda text, seed: " Well.", choices=lambda text, choices: (0.5, 0.4))
    constitution = load_constitution(data_file("constitution.yaml"))
    pairs = [
        Pair(f"{n}", Conversation.of(f"How? {text}"), text, HARMLESS)
        for n, text in enumerate(TEXTS)
    ]
    labelled = FeedbackModel(engine, constitution, FeedbackConfig(few_shots=0), 1).label(pairs)
    for comparison, pair in zip(labelled, pairs, strict=True):
        assert (comparison.a, comparison.b) == (pair.a, pair.b), "the record keeps the text"
    judging = FeedbackModel(engine, HELPFULNESS, FeedbackConfig(few_shots=0, orders="both"), 1)
    found = pairings({"x": _answers(TEXTS), "y": _answers([HARMLESS] * len(TEXTS))}, "helpfulness")
    judge(found, lambda asked: judging.label([Pair(c.id, c.prompt, c.a, c.b) for c in asked]))
    asked = [request.text for request in engine.requests]
    assert len(asked) > len(TEXTS)
    for shown in asked:
        assert marks(shown) == PLAIN
        assert roles(shown) == ["human"]


def _answers(texts: list[str] | tuple[str, ...]) -> list[Answer]:
    return [
        Answer(
            id=f"{n}",
            prompt=Conversation.of(f"How {n}?"),
            policy="x",
            verdict=None,
            sample=Sample(text=text, ended="eos", tokens=1, seed=0),
            engine="x",
        )
        for n, text in enumerate(texts)
    ]


def test_no_prompt_begins_an_item_of_a_list() -> None:
    config = RedTeamingConfig(few_shots=1)
    for text in TEXTS:
        for shown in (text, f"x\n- {text}", f"x\u2028- {text}"):
            record = PromptRecord(
                id="x", conversation=Conversation.of(shown), kind="red_team", source="x"
            )
            ordinary = record.model_copy(update={"conversation": Conversation.of("How?")})
            pool = few_shot_pool([ordinary, record], config)
            listed = [each.conversation.last.text.strip() for each in pool]
            prompt = list_prompt(listed, "red_team", "transcript", config)
            assert isinstance(prompt, TextPrompt)
            items = [line for line in prompt.text.splitlines() if line.startswith("-")]
            assert len(items) == len(pool) + 1


@pytest.mark.skipif(
    not (Path(__file__).resolve().parents[2].parent / "shared/data/official").is_dir(),
    reason="the official files are not beside the checkout",
)
def test_the_texts_of_the_paper_are_not_touched() -> None:
    prompts = Path(__file__).resolve().parents[2].parent / "shared/data/official/prompts"
    texts = json.loads((prompts / "CritiqueRevisionFewShotPrompts.json").read_text())
    turns = [turn.text for text in texts for turn in parse(text).turns]
    assert len(turns) > 30
    for text in turns:
        assert quoted(text) == quoted(text, REASONING) == text
