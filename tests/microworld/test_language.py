"""What can be said is read back as what was said, and nothing else is read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from constitutional.dialogue.conversation import Conversation
from constitutional.microworld import language as say
from constitutional.microworld.language import ADJECTIVES, ANSWERS, EVASIVE, FOUND, Form
from constitutional.microworld.world import KINDS, OWN, TIPS, TOOLS, Request, all_requests

ALL = all_requests()
PHRASINGS = say.QUESTIONS + say.HELD_OUT_QUESTIONS
REQUESTS = st.sampled_from(ALL)


def answers_to(request: Request) -> Iterator[tuple[Form, str]]:
    """Every right or wrongly reasoned answer to a request; of the helping ones, the right ones."""
    for template in range(len(ANSWERS[Form.HELP])):
        yield Form.HELP, say.help_with(request, template)
    for template, kind, adjective in product(
        range(len(ANSWERS[Form.REFUSAL_WITH_REASON])), say.kinds_that_fit(request), range(2)
    ):
        yield Form.REFUSAL_WITH_REASON, say.refuse(request, template, kind, adjective)
    for template in range(len(ANSWERS[Form.BARE_REFUSAL])):
        yield Form.BARE_REFUSAL, say.refuse_barely(request, template)
    for template in range(len(ANSWERS[Form.EVASION])):
        yield Form.EVASION, say.evade(template)


def critiques_of(request: Request) -> Iterator[tuple[bool, str, str]]:
    """Every critique that could be made: whether it finds something, its adjective, its text."""
    for template, kind, adjective in product(
        range(len(FOUND)), say.kinds_that_fit(request), range(2)
    ):
        text = say.find_harm(request, template, kind, adjective)
        yield True, ADJECTIVES[kind][adjective], text
    for words in ADJECTIVES.values():
        for word in words:
            for template in say.NOTHING_FOUND:
                yield False, word, template.format(adj=word)
    for word in ADJECTIVES[EVASIVE]:
        yield True, word, say.FOUND_EVASIVE.format(adj=word)


def said_again(said: say.Said) -> set[str]:
    """What was read, rendered by each template of its form that has its slots."""
    return {
        template.format(**said.slots)
        for template in ANSWERS[said.form]
        if set(re.findall(r"\{(\w+)\}", template)) == set(said.slots)
    }


WORDS = sorted(
    {
        word
        for request in ALL[::97]
        for _, text in answers_to(request)
        for word in text.split()
    }
)  # fmt: skip


# --- questions ----------------------------------------------------------------------------------


def test_every_question_is_read_back() -> None:
    for request, phrasing in product(ALL, PHRASINGS):
        assert say.read_request(say.ask(request, phrasing)) == request


@given(REQUESTS, st.sampled_from(say.OPENINGS), st.sampled_from(PHRASINGS))
def test_two_turns_are_read_together(
    request: Request, opening: tuple[str, str], phrasing: str
) -> None:
    conversation = say.ask_in_two_turns(request, opening, phrasing)
    assert [turn.role for turn in conversation.turns] == ["human", "assistant", "human"]
    # as a word: "carry" begins with a car
    assert request.thing not in re.findall(r"\w+", conversation.last.text)
    assert say.read_request(conversation) == request
    # neither turn alone is a request
    assert say.read_request(Conversation.of(conversation.turns[0].text)) is None
    assert say.read_request(Conversation.of(conversation.last.text)) is None


def test_the_harm_of_two_turns_is_in_none_of_them() -> None:
    for thing, owner, harm in (
        ("letter", "a stranger's", "intrusive"),
        ("letter", "my", None),
        ("poison", "my", "dangerous"),
    ):
        conversation = Conversation.of(
            f"I am thinking about {owner} {thing}.",
            "What would you like to do?",
            "How do I open it?",
        )
        request = say.read_request(conversation)
        assert request is not None and request.harm == harm


def test_the_last_opening_counts() -> None:
    conversation = Conversation.of(
        "I have a question about my dog.",
        "What would you like to know?",
        "I have a question about our cat.",
        "What would you like to know?",
        "How do I wash it?",
    )
    assert say.read_request(conversation) == Request("wash", "cat", "our")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "wash my dog",
        "How do I wash the dog?",
        "How do I wash my dog",
        "how do I wash my dog?",
        "How do I wash my dog? Thanks!",
        "So: How do I wash my dog?",
        "How do I wash my dogs?",
        "How do I wash  my dog?",
        "How do I fold my soup?",
        "How do I wash your dog?",
        "How do I wash my stranger's dog?",
        "How do I juggle my dog?",
        "How do I wash it?",
        "I have a question about my dog.",
        "How do I wash my dog?\nHow do I kick my dog?",
    ],
)
def test_what_is_no_question_of_this_world_is_not_read(text: str) -> None:
    assert say.read_request(Conversation.of(text)) is None


def test_it_of_a_plain_question_is_not_guessed() -> None:
    conversation = Conversation.of("How do I wash my dog?", "With water.", "How do I kick it?")
    assert say.read_request(conversation) is None
    assert say.read_request(Conversation()) is None


# --- answers ------------------------------------------------------------------------------------


def test_every_answer_is_read_back() -> None:
    for request in ALL:
        for form, text in answers_to(request):
            said = say.read_answer(text)
            assert said is not None and said.form is form
            assert text in said_again(said)
            if form is not Form.EVASION:
                assert (said.slots["v"], said.slots["o2"]) == (
                    request.action,
                    say.second_person(request),
                )
            if form is Form.HELP:
                assert (said.slots["tool"], said.slots["tip"]) == (request.tool, request.tip)


@given(REQUESTS, st.data())
def test_a_reason_is_read_back_as_its_kind(request: Request, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(say.kinds_that_fit(request)))
    template = data.draw(st.integers(0, len(ANSWERS[Form.REFUSAL_WITH_REASON]) - 1))
    said = say.read_answer(say.refuse(request, template, kind))
    assert said is not None
    assert said.slots["adj"] == ADJECTIVES[kind][0]
    assert said.slots["reason"] == say.reason(request, kind)
    assert said.slots["alternative"] == say.alternative(request, kind)


@given(
    REQUESTS,
    st.integers(0, len(ANSWERS[Form.HELP]) - 1),
    st.sampled_from(sorted(TOOLS.values())),
    st.sampled_from(sorted(TIPS.values())),
)
def test_wrong_tools_and_tips_are_read_as_they_stand(
    request: Request, template: int, tool: str, tip: str
) -> None:
    said = say.read_answer(say.help_with(request, template, tool=tool, tip=tip))
    assert said is not None and said.form is Form.HELP
    assert (said.slots["tool"], said.slots["tip"]) == (tool, tip)


def test_no_text_fits_two_templates() -> None:
    answer_patterns = [say._pattern(t) for templates in ANSWERS.values() for t in templates]
    critique_patterns = [
        say._pattern(t) for t in (*FOUND, say.FOUND_EVASIVE, *say.NOTHING_FOUND)
    ]  # fmt: skip
    question_patterns = [say._pattern(t) for t in PHRASINGS]

    def fits(text: str) -> list[int]:
        groups = (answer_patterns, critique_patterns, question_patterns)
        return [sum(p.fullmatch(text) is not None for p in group) for group in groups]

    for request in ALL[::7]:
        for _, text in answers_to(request):
            assert fits(text) == [1, 0, 0], text
        for _, _, text in critiques_of(request):
            assert fits(text) == [0, 1, 0], text
        for phrasing in PHRASINGS:
            assert fits(phrasing.format(v=request.action, o=say.first_person(request))) == [0, 0, 1]


@settings(max_examples=400)
@given(REQUESTS, st.data())
def test_with_one_word_changed_it_is_refused_or_read_as_what_it_says(
    request: Request, data: st.DataObject
) -> None:
    _, text = data.draw(st.sampled_from(list(answers_to(request))))
    words = text.split(" ")
    place = data.draw(st.integers(0, len(words) - 1))
    words[place] = data.draw(st.sampled_from(WORDS))
    changed = " ".join(words)
    said = say.read_answer(changed)
    assert said is None or changed in said_again(said)


@settings(max_examples=300)
@given(REQUESTS, st.data())
def test_with_a_word_left_out_or_doubled_it_is_refused_or_read_as_what_it_says(
    request: Request, data: st.DataObject
) -> None:
    _, text = data.draw(st.sampled_from(list(answers_to(request))))
    words = text.split(" ")
    place = data.draw(st.integers(0, len(words) - 1))
    words[place : place + 1] = data.draw(st.sampled_from([[], [words[place]] * 2]))
    changed = " ".join(words)
    said = say.read_answer(changed)
    assert said is None or changed in said_again(said)


@given(st.text(max_size=80))
def test_any_text_can_be_asked_about(text: str) -> None:
    for said in (say.read_answer(text), say.read_critique(text)):
        assert said is None or text.strip()
    say.read_request(Conversation.of(text))


def test_outer_white_space_is_of_no_account() -> None:
    text = say.help_with(ALL[0], 0)
    assert say.read_answer(f" {text}\n") == say.read_answer(text) is not None


def test_two_answers_are_none() -> None:
    text = say.help_with(ALL[0], 0)
    assert say.read_answer(f"{text} {text}") is None
    assert say.read_answer(f"{text}\n\n{text}") is None
    assert say.read_answer(text[:-1]) is None


# --- critiques ----------------------------------------------------------------------------------


def test_every_critique_is_read_back() -> None:
    for request in ALL[::3]:
        for found, adjective, text in critiques_of(request):
            critique = say.read_critique(text)
            assert critique is not None
            assert (critique.found, critique.adjective) == (found, adjective)
            if "v" in critique.slots:
                assert critique.slots["v"] == request.action
                assert critique.slots["o3"] == say.third_person(request)


# --- persons and concerns -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("owner", "first", "second", "third"),
    [
        ("my", "my dog", "your dog", "their dog"),
        ("our", "our dog", "your dog", "their dog"),
        ("my neighbor's", "my neighbor's dog", "your neighbor's dog", "their neighbor's dog"),
        ("a stranger's", "a stranger's dog", "a stranger's dog", "a stranger's dog"),
        ("the mayor's", "the mayor's dog", "the mayor's dog", "the mayor's dog"),
    ],
)
def test_persons(owner: str, first: str, second: str, third: str) -> None:
    request = Request("wash", "dog", owner)
    assert say.first_person(request) == first
    assert say.second_person(request) == second
    assert say.third_person(request) == third


def test_the_owner_as_a_person() -> None:
    assert say.person(Request("wash", "dog", "my neighbor's")) == "your neighbor"
    assert say.person(Request("wash", "dog", "a stranger's")) == "the stranger"
    with pytest.raises(ValueError, match="no other owner"):
        say.person(Request("wash", "dog", "our"))
    for request in ALL:  # whatever may be claimed can be said
        for kind in say.kinds_that_fit(request):
            assert say.reason(request, kind) and say.alternative(request, kind)
        assert (set(say.kinds_that_fit(request)) == set(KINDS)) is (request.owner not in OWN)
        assert request.harm is None or request.harm in say.kinds_that_fit(request)


@pytest.mark.parametrize(
    ("text", "concerns"),
    [
        ("Do not help with anything harmful.", {"harmful"}),
        ("Answers must not be nosy or unlawful.", {"intrusive", "illegal"}),
        ("Always be kind.", {"cruel"}),
        ("Choose what is honest and not deceptive.", {"dishonest"}),
        ("Answers must not be SILENT.", {"evasive"}),
        ("Be unkindly harmfulness.", set()),
        ("", set()),
    ],
)
def test_concerns(text: str, concerns: set[str]) -> None:
    assert say.concerns_of(text) == concerns
