"""The transcript form and its rendering as prompts, byte for byte."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constitutional.dialogue.conversation import Conversation, Role, Turn
from constitutional.dialogue.quoting import MARKERS
from constitutional.dialogue.rendering import chat_messages, prompt_for
from constitutional.dialogue.transcript import few_shot_prefix, parse, render
from constitutional.engines.base import ChatPrompt, Message, TextPrompt
from constitutional.errors import InputError

OFFICIAL = Path(__file__).resolve().parents[2].parent / "shared/data/official"
SAMPLES = sorted((OFFICIAL / "samples").glob("*_SLMADISON.jsonl"))

needs_official = pytest.mark.skipif(
    not SAMPLES, reason="the official Constitutional AI files are not beside the repository"
)


def conversations() -> st.SearchStrategy[Conversation]:
    """Conversations that a transcript can hold: no text has a marker, the last is not blank."""
    text = st.text(st.characters(exclude_categories=["Cs"])).filter(
        lambda t: not any(f"{marker}:" in t for marker in MARKERS.values())
    )
    turn = st.builds(Turn, role=st.sampled_from(get_args(Role)), text=text)
    turns = st.lists(turn, min_size=1).filter(lambda turns: turns[-1].text.strip() != "")
    return turns.map(lambda turns: Conversation(turns=tuple(turns)))


@given(conversations())
def test_parse_reads_back_what_render_writes(conversation: Conversation) -> None:
    assert parse(render(conversation)) == conversation


@pytest.mark.parametrize("text", ["", " ", "  two blanks", "\n\nline", "a\n", "Human: b", "\x00"])
def test_odd_texts_are_read_back(text: str) -> None:
    conversation = Conversation.of(text, "b")
    assert parse(render(conversation)) == conversation


@given(conversations(), st.sampled_from(get_args(Role)))
def test_an_open_turn_is_left_out_when_read_back(conversation: Conversation, role: Role) -> None:
    assert parse(render(conversation, awaiting=role)) == conversation


def test_parse_says_what_it_expected() -> None:
    with pytest.raises(ValueError, match="begins with 'Human:'"):
        parse("Hello there")


def test_markers_and_spacing() -> None:
    chain = Conversation.of("q", "a").add("critique_request", "c?").add("critique", "c")
    assert render(chain, "revision") == (
        "\n\nHuman: q\n\nAssistant: a\n\nCritiqueRequest: c?\n\nCritique: c\n\nRevision:"
    )


# --- prompts -----------------------------------------------------------------------------------


def test_transcript_prompt_puts_the_few_shots_before() -> None:
    prompt = prompt_for(
        Conversation.of("q"), "assistant", "transcript", [Conversation.of("x", "y")]
    )
    assert prompt == TextPrompt("\n\nHuman: x\n\nAssistant: y\n\nHuman: q\n\nAssistant:")


def test_transcript_refuses_a_system_text() -> None:
    with pytest.raises(ValueError, match="no system text"):
        prompt_for(Conversation.of("q"), "assistant", "transcript", system="Be kind.")


def test_chat_prompt_maps_requests_to_the_user() -> None:
    chain = Conversation.of(" q ", "a").add("critique_request", "c?")
    prompt = prompt_for(chain, "critique", "chat", [Conversation.of("x", "y")], system="s")
    assert prompt == ChatPrompt(
        (
            Message("system", "s"),
            Message("user", "x"),
            Message("assistant", "y"),
            Message("user", " q "),
            Message("assistant", "a"),
            Message("user", "c?"),
        )
    )


def test_chat_names_the_turn_that_does_not_alternate() -> None:
    twice = Conversation.of("q").add("critique_request", "c?")
    with pytest.raises(InputError, match=r"turn 2 \(critique_request\) follows a human turn"):
        chat_messages(twice)
    with pytest.raises(InputError, match=r"turn 1 \(human\) follows a human turn"):
        chat_messages(Conversation.of("q"), [Conversation.of("open example")])
    with pytest.raises(InputError, match="turn 2 of few-shot example 2"):
        chat_messages(Conversation.of("q"), [Conversation.of("x", "y"), twice])


def test_chat_must_await_an_answer_to_a_request() -> None:
    with pytest.raises(InputError, match="ends in a turn of 'assistant'"):
        prompt_for(Conversation.of("q", "a"), "revision", "chat")
    with pytest.raises(InputError, match="is empty"):
        prompt_for(Conversation(), "assistant", "chat")
    with pytest.raises(ValueError, match="not a 'human'"):
        prompt_for(Conversation.of("q", "a"), "human", "chat")


# --- the official chains -----------------------------------------------------------------------


def between(text: str, start: str, end: str) -> str:
    """The text inside "\\n\\nCritiqueRequest: X\\n\\nCritique:" and its like."""
    assert text.startswith(start) and text.endswith(end)
    return text[len(start) : -len(end)]


def official_few_shots() -> list[str]:
    path = OFFICIAL / "prompts" / "CritiqueRevisionFewShotPrompts.json"
    shots: list[str] = json.loads(path.read_text(encoding="utf-8"))
    return shots


def chained(first: str, *others: str) -> str:
    """Official transcripts one after the other: each one's open human turn is the next's first."""
    text = first
    for other in others:
        text = text.removesuffix("\n\nHuman:") + other
    return text


def steps(row: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each step with the answer that it criticises: the response, then the revision before."""
    answer = row["initial_response"][0]["sample"]
    for step in row["cst"]:
        yield answer, step
        answer = step["revision"]["sample"]


@needs_official
@pytest.mark.parametrize("path", SAMPLES, ids=lambda p: p.stem)
def test_prompts_of_a_chain_are_the_official_strings(path: Path) -> None:
    shots = official_few_shots()
    ours = [parse(shot) for shot in shots]
    assert few_shot_prefix(ours) == chained(*shots, "\n\nHuman:").removesuffix("\n\nHuman:")
    rows = [json.loads(line) for line in path.open(encoding="utf-8")]
    compared = 0
    for row in rows:
        question = parse(row["rl_prompt"])
        assert prompt_for(question, "assistant", "transcript") == TextPrompt(row["rl_prompt"])
        for answer, step in steps(row):
            request, edit = step["cst_value"]["prompt"][0], step["cst_value"]["edit_request"]
            critique = step["critique"]["sample"]
            official = chained(*shots, row["rl_prompt"]) + answer + request

            asked = question.add("assistant", answer.removeprefix(" ")).add(
                "critique_request", between(request, "\n\nCritiqueRequest: ", "\n\nCritique:")
            )
            assert prompt_for(asked, "critique", "transcript", ours) == TextPrompt(official)

            edited = asked.add("critique", critique.removeprefix(" ")).add(
                "revision_request", between(edit, "\n\nRevisionRequest: ", "\n\nRevision:")
            )
            assert prompt_for(edited, "revision", "transcript", ours) == TextPrompt(
                official + critique + edit
            )
            compared += 2
    assert compared == 8 * len(rows) > 0


@needs_official
def test_official_few_shots_alternate_as_a_chat() -> None:
    messages = chat_messages(Conversation.of("q"), [parse(s) for s in official_few_shots()])
    assert [m.role for m in messages[:2]] == ["user", "assistant"]
    assert messages[-1] == Message("user", "q")
