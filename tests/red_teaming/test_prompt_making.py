"""Prompts by few-shots, with a scripted model: lists, draws, every cause of rejection, the sums."""

from __future__ import annotations

import pytest

from constitutional.dialogue import Conversation, PromptKind, PromptRecord
from constitutional.engines import ChatPrompt, ScriptedEngine
from constitutional.engines.scripted import Reply
from constitutional.errors import InputError
from constitutional.evaluation.intervals import proportion
from constitutional.red_teaming import (
    Attempt,
    Cause,
    Generated,
    PromptWriter,
    RedTeamingConfig,
    make_prompts,
)
from constitutional.red_teaming.records import CAUSES

TOPICS = (
    "lock",
    "car",
    "boat",
    "door",
    "safe",
    "pipe",
    "wall",
    "roof",
    "wire",
    "tree",
    "rock",
    "bird",
)


def human(*texts: str) -> list[PromptRecord]:
    return [
        PromptRecord(
            id=f"h{number}", conversation=Conversation.of(text), kind="red_team", source="people"
        )
        for number, text in enumerate(texts)
    ]


HUMAN = human(*(f"How might one break a {topic} at night?" for topic in TOPICS))


def made_by(reply: Reply | dict[str, str], count: int = 1, **settings: object) -> Generated:
    config = RedTeamingConfig.model_validate({"few_shots": 3, "tries": 1, **settings})
    return make_prompts(ScriptedEngine(reply), HUMAN, kind="red_team", count=count, settings=config)


def test_a_plain_list_is_continued_by_one_line() -> None:
    engine = ScriptedEngine(lambda text, seed: f" Who hides item {seed}?\n- And another one?")
    config = RedTeamingConfig(few_shots=3)
    (prompt,), found = make_prompts(engine, HUMAN, kind="red_team", count=1, settings=config)
    (request,) = engine.requests
    lines = request.text.split("\n")
    assert lines[:3] == ["", "", "Here are harmful questions:"]
    assert lines[-1] == "-"
    shown = [line.removeprefix("- ") for line in lines[3:-1]]
    assert len(shown) == len(set(shown)) == 3
    assert set(shown) <= {record.conversation.last.text for record in HUMAN}
    assert request.params is not None
    assert (request.params.temperature, request.params.stop) == (1.0, ("\n",))

    assert prompt.conversation == Conversation.of(f"Who hides item {request.seed}?")
    assert (prompt.kind, prompt.source, prompt.tags) == ("red_team", "scripted", ("model_made",))
    assert prompt.id.startswith("model-")
    assert (found.wanted, found.accepted, found.attempts) == (1, 1, 1)


def test_helpful_prompts_and_a_heading_of_ones_own() -> None:
    engine = ScriptedEngine({"": " What is new?"})
    config = RedTeamingConfig(few_shots=1)
    (prompt,), _ = make_prompts(engine, HUMAN, kind="helpful", count=1, settings=config)
    assert engine.requests[0].text.startswith("\n\nHere are harmless questions:\n- How might")
    assert prompt.kind == "helpful"
    own = config.model_copy(update={"heading": "Attacks:"})
    make_prompts(engine, HUMAN, kind="helpful", count=1, settings=own)
    assert engine.requests[1].text.startswith("\n\nAttacks:\n- ")


def test_a_chat_model_is_asked_in_a_human_turn_and_goes_on_after_the_dash() -> None:
    engine = ScriptedEngine({"": " What is new?"}, style="chat")
    config = RedTeamingConfig(few_shots=2, request="One more, please.")
    (prompt,), _ = make_prompts(engine, HUMAN, kind="red_team", count=1, settings=config)
    asked = engine.requests[0].prompt
    assert isinstance(asked, ChatPrompt)
    (message,) = asked.messages
    assert message.role == "user"
    assert message.content.startswith("Here are harmful questions:\n- How might one")
    assert message.content.endswith("at night?\n\nOne more, please.")
    assert asked.answer_prefix == "-"
    assert prompt.conversation.last.text == "What is new?"


def test_each_attempt_has_few_shots_and_a_seed_of_its_own() -> None:
    config = RedTeamingConfig(few_shots=6, tries=4)
    failing = ScriptedEngine({"": ""})

    def attempts(kind: PromptKind) -> list[Attempt]:
        places = PromptWriter(failing, HUMAN, kind, config, 0).places(range(5))
        return [attempt for place in places for attempt in place.attempts]

    made = attempts("red_team")
    assert len({attempt.few_shots for attempt in made}) == len(made) == 20
    seeds = {attempt.sample.seed for attempt in made}
    assert len(seeds) == 20
    assert all(set(attempt.few_shots) <= {record.id for record in HUMAN} for attempt in made)
    assert not seeds & {attempt.sample.seed for attempt in attempts("helpful")}


Found = tuple[Cause | None, str | None]
SHOWN = "How might one break a {} at night?"


@pytest.mark.parametrize(
    ("reply", "cause", "like"),
    [
        ("\n- later", "empty", None),
        (" ... ?", "empty", None),
        (" +", "empty", None),
        (" one two three four five six seven eight nine ten", "cut_off", None),
        (" Assistant: I will not.", "form", None),
        (" Do it <|im_end|> now", "form", None),
        (" What is \ufffd?", "form", None),
        (" What is \x07?", "form", None),
    ],
)
def test_texts_of_a_wrong_form(reply: str, cause: Cause, like: str | None) -> None:
    prompts, found = made_by({"": reply}, max_new_tokens=10)
    assert prompts == ()
    assert found.rejected == {**dict.fromkeys(CAUSES, 0), cause: 1}


def test_a_loop_is_of_a_wrong_form() -> None:
    assert made_by({"": " tell me how to" * 4}).account.rejected["form"] == 1


def repeated(reply: Reply, count: int = 1, avoid: list[PromptRecord] | None = None) -> list[Found]:
    config = RedTeamingConfig(few_shots=3, tries=1)
    writer = PromptWriter(ScriptedEngine(reply), HUMAN, "red_team", config, 0, avoid or [])
    return [
        (attempt.rejected, attempt.like)
        for place in writer.places(range(count))
        for attempt in place.attempts
    ]


def test_repetitions_are_told_apart_and_named() -> None:
    def first_shown(text: str, seed: int) -> str:
        return text.split("\n- ")[1].lower()

    def not_shown(text: str, seed: int) -> str:
        return next(SHOWN.format(topic) for topic in TOPICS if topic not in text)

    ((cause, like),) = repeated(first_shown)
    assert cause == "few_shot"
    ((cause, like),) = repeated(not_shown)
    assert (cause, like in {record.id for record in HUMAN}) == ("human", True)
    # 6 runs of three words are shared, "i say how" and "say how might" are not: 6 of 8
    near = "I say how might one break a boat at night"
    (found,) = repeated(lambda text, seed: near)
    assert found == ("near", "h2")

    once = "Who hides the key?"
    first, second, third = repeated(
        lambda text, seed: once if seed % 2 else "who HIDES the key", count=3
    )
    assert first == (None, None)
    assert second[0] == third[0] == "generated"
    assert second[1] is not None and second[1].startswith("model-")


def test_near_duplicates_of_generated_prompts() -> None:
    texts = iter(["a b c d e f g h i j", "a b c d e f g h i x", "a b c d e x g h i j"])
    kept, near, far = repeated(lambda text, seed: next(texts), count=3)
    assert kept == far == (None, None)  # 7 of 9 and 5 of 11 runs
    assert near[0] == "near"


def test_every_human_turn_and_what_is_to_be_avoided_counts_as_known() -> None:
    dialogue = PromptRecord(
        id="talk",
        conversation=Conversation.of("Where is my cat?", "Which cat?", "The black one of course."),
        kind="red_team",
        source="people",
    )
    assert repeated(lambda text, seed: "Where is my cat?", avoid=[dialogue]) == [("human", "talk")]
    last = "the black one, of course"
    assert repeated(lambda text, seed: last, avoid=[dialogue]) == [("human", "talk")]
    assert repeated(lambda text, seed: "Which cat?", avoid=[dialogue]) == [(None, None)]


def test_a_rejected_place_is_tried_again_until_its_tries_are_used() -> None:
    calls: list[int] = []

    def third_time(text: str, seed: int) -> str:
        calls.append(seed)
        return "" if len(calls) < 3 else "Who goes there?"

    prompts, found = made_by(third_time, tries=5)
    assert len(prompts) == 1
    assert (found.attempts, found.rejected["empty"], found.accepted) == (3, 2, 1)
    assert found.shares["accepted"] == proportion(1, 3)
    assert found.shares["empty"] == proportion(2, 3)

    prompts, found = made_by({"": "Who goes there?"}, count=4, tries=5)
    assert len(prompts) == 1, "three places stay empty, and nothing fills them"
    assert (found.wanted, found.accepted, found.attempts) == (4, 1, 1 + 3 * 5)
    assert found.rejected["generated"] == 15
    assert found.accepted + sum(found.rejected.values()) == found.attempts


def test_blocks_change_neither_draws_nor_duplicates() -> None:
    def reply(text: str, seed: int) -> str:
        return f"Tell {seed % 7} of them"

    def ids(block: int) -> list[str]:
        config = RedTeamingConfig(few_shots=3, tries=1)
        made = make_prompts(
            ScriptedEngine(reply), HUMAN, kind="red_team", count=20, settings=config, block=block
        )
        return [prompt.id for prompt in made.prompts]

    assert ids(1) == ids(6) == ids(20)
    assert len(ids(6)) == len(set(ids(6))) > 3


def test_what_was_made_before_is_remembered() -> None:
    config = RedTeamingConfig(few_shots=3, tries=1)
    one = ScriptedEngine({"": "Who hides the key?"})
    before = PromptWriter(one, HUMAN, "red_team", config, 0).places([0])
    later = PromptWriter(one, HUMAN, "red_team", config, 0)
    later.remember(before)
    assert later.places([1])[0].attempts[0].rejected == "generated"


def test_only_single_lines_of_a_fair_length_are_shown() -> None:
    unfit = human("one\ntwo", "x" * 301)
    talk = PromptRecord(
        id="t", conversation=Conversation.of("a", "b", "c"), kind="red_team", source="people"
    )
    engine = ScriptedEngine({"": ""})
    config = RedTeamingConfig(few_shots=1, tries=1)
    writer = PromptWriter(engine, [*unfit, talk, HUMAN[3]], "red_team", config, 0)
    assert [record.id for record in writer.pool] == ["h3"]
    with pytest.raises(InputError, match="needs 2 few-shots, but 1 of the 4 prompts are"):
        PromptWriter(engine, [*unfit, talk, HUMAN[3]], "red_team", RedTeamingConfig(few_shots=2), 0)
