from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from constitutional.constitution import Constitution, Principle
from constitutional.constitution.few_shots import FewShots
from constitutional.dialogue import Conversation, PromptRecord
from constitutional.engines import ChatPrompt, Message, ScriptedEngine
from constitutional.errors import InputError
from constitutional.runs.records import Chain
from constitutional.supervised import critique_and_revise
from constitutional.supervised.critique_revision import CritiqueRevision
from constitutional.supervised.settings import CritiqueRevisionConfig

EXAMPLE = (
    Conversation.of("A question?", "A bad answer.")
    .add("critique_request", "Fault?")
    .add("critique", "It is bad.")
    .add("revision_request", "Better?")
    .add("revision", "A good answer.")
)
OTHER = Conversation(turns=EXAMPLE.turns[:5]).add("revision", "Another good answer.")


def constitution(principles: int = 1, weights: dict[str, float] | None = None) -> Constitution:
    """Principles p1, p2, ...: "Find 1." and "Mend 1.", and so on."""
    return Constitution(
        name="test",
        principles=tuple(
            Principle(
                id=f"p{n}",
                text=f"Be good {n}.",
                critique_request=f"Find {n}.",
                revision_request=f"Mend {n}.",
                weight=(weights or {}).get(f"p{n}", 1.0),
            )
            for n in range(1, principles + 1)
        ),
        few_shots=FewShots(critique_revision=(EXAMPLE, OTHER)),
    )


def record(name: str = "q", text: str = "How?") -> PromptRecord:
    return PromptRecord(
        id=name, conversation=Conversation.of(text), kind="red_team", source="test", tags=("tag",)
    )


def counting() -> Callable[[str, int], str]:
    """Replies "Assistant 1", "Critique 1", "Revision 1", "Critique 2" and so on."""
    asked: Counter[str] = Counter()

    def reply(text: str, seed: int) -> str:
        role = text.rsplit("\n\n", 1)[1].removesuffix(":")
        asked[role] += 1
        return f" {role} {asked[role]}"

    return reply


def chain(engine: ScriptedEngine, *, seed: int = 0, **config: object) -> Chain:
    """The chain of one prompt, without few-shot examples unless they are asked for."""
    settings = CritiqueRevisionConfig.model_validate({"few_shots": 0, "rounds": 2} | config)
    (made,) = CritiqueRevision(engine, constitution(), settings, seed).chains([record()])
    return made


def sent(engine: ScriptedEngine) -> list[str]:
    return [request.text for request in engine.requests]


def test_prompts_of_two_rounds() -> None:
    """The second round starts from the first revision, as if that had been the response."""
    engine = ScriptedEngine(counting())
    made = chain(engine)
    assert sent(engine) == [
        "\n\nHuman: How?\n\nAssistant:",
        "\n\nHuman: How?\n\nAssistant: Assistant 1\n\nCritiqueRequest: Find 1.\n\nCritique:",
        "\n\nHuman: How?\n\nAssistant: Assistant 1\n\nCritiqueRequest: Find 1."
        "\n\nCritique: Critique 1\n\nRevisionRequest: Mend 1.\n\nRevision:",
        "\n\nHuman: How?\n\nAssistant: Revision 1\n\nCritiqueRequest: Find 1.\n\nCritique:",
        "\n\nHuman: How?\n\nAssistant: Revision 1\n\nCritiqueRequest: Find 1."
        "\n\nCritique: Critique 2\n\nRevisionRequest: Mend 1.\n\nRevision:",
    ]
    assert [version.text for version in made.versions] == [
        "Assistant 1",
        "Revision 1",
        "Revision 2",
    ]
    assert [r.critique.text for r in made.rounds if r.critique] == ["Critique 1", "Critique 2"]


def test_everything_is_in_the_record() -> None:
    engine = ScriptedEngine(counting(), name="the model")
    made = chain(engine)
    assert (made.id, made.prompt, made.tags) == ("q", Conversation.of("How?"), ("tag",))
    assert made.engine == "the model"
    assert made.constitution == constitution().fingerprint
    assert [r.principle for r in made.rounds] == ["p1", "p1"]
    samples = [made.response]
    for round_ in made.rounds:
        assert round_.critique is not None
        samples += [round_.critique, round_.revision]
    assert [s.seed for s in samples] == [request.seed for request in engine.requests]
    assert {s.ended for s in samples} == {"eos"}
    assert [s.tokens for s in samples] == [3] * 5
    assert Chain.model_validate_json(made.model_dump_json()) == made


def test_four_rounds_unless_told_otherwise() -> None:
    engine = ScriptedEngine(counting())
    (made,) = critique_and_revise(["How?"], engine, constitution())
    assert len(made.rounds) == 4
    assert len(engine.requests) == 9


def test_every_step_has_a_seed_of_its_own_from_the_run_seed() -> None:
    def seeds(run: int) -> list[int | None]:
        engine = ScriptedEngine(counting())
        stage = CritiqueRevision(engine, constitution(), CritiqueRevisionConfig(), run)
        stage.chains([record("a"), record("b")])
        stage.replies([record("a"), record("b")])
        return [request.seed for request in engine.requests]

    first, again, other = seeds(1), seeds(1), seeds(2)
    assert first == again
    assert len(first) == 2 * 9 + 2 * 2
    assert len({*first, *other}) == 2 * len(first)


def test_a_chain_depends_on_no_other_prompt() -> None:
    """Neither on its order nor on its company."""
    settings = CritiqueRevisionConfig()

    def chains(*names: str) -> dict[str, Chain]:
        engine = ScriptedEngine(lambda text, seed: f" said {seed}")
        stage = CritiqueRevision(engine, constitution(5), settings, 7)
        return {c.id: c for c in stage.chains([record(name) for name in names])}

    together = chains("a", "b", "c")
    assert list(together) == ["a", "b", "c"]
    assert together == chains("c") | chains("b", "a")


def test_principles_are_drawn_anew_each_round_by_weight() -> None:
    """With replacement; a binomial with n = 4000 and p = 0.75 lies within 4 deviations."""
    weighted = constitution(2, {"p1": 3.0})
    engine = ScriptedEngine(counting())
    stage = CritiqueRevision(engine, weighted, CritiqueRevisionConfig(), 0)
    drawn = [[stage.principle_for(f"q{n}", k).id for k in range(1, 5)] for n in range(1000)]
    flat = [name for names in drawn for name in names]
    assert abs(flat.count("p1") - 3000) < 4 * (4000 * 0.75 * 0.25) ** 0.5
    # Rounds of one prompt are independent: each of the 16 sequences occurs at its product's share.
    for sequence, found in Counter(map(tuple, drawn)).items():
        share = 0.75 ** sequence.count("p1") * 0.25 ** sequence.count("p2")
        assert abs(found - 1000 * share) < 4.5 * (1000 * share * (1 - share)) ** 0.5
    other = CritiqueRevision(engine, weighted, CritiqueRevisionConfig(), 1)
    assert [other.principle_for(f"q{n}", 1).id for n in range(99)] != [d[0] for d in drawn[:99]]


def test_the_principle_in_the_record_is_the_one_that_was_asked() -> None:
    engine = ScriptedEngine(counting())
    made = CritiqueRevision(
        engine, constitution(5), CritiqueRevisionConfig(few_shots=0, rounds=8), 0
    ).chains([record()])[0]
    numbers = [round_.principle.removeprefix("p") for round_ in made.rounds]
    assert len(set(numbers)) > 1
    for number, critique, revision in zip(
        numbers, engine.requests[1::2], engine.requests[2::2], strict=True
    ):
        assert critique.text.endswith(f"CritiqueRequest: Find {number}.\n\nCritique:")
        assert f"Find {number}." in revision.text
        assert revision.text.endswith(f"RevisionRequest: Mend {number}.\n\nRevision:")


@pytest.mark.parametrize(("few_shots", "shown"), [(0, 0), (1, 1), (2, 2), (None, 2)])
def test_few_shots_stand_before_requests_and_not_before_the_response(
    few_shots: int | None, shown: int
) -> None:
    engine = ScriptedEngine(counting())
    chain(engine, few_shots=few_shots, rounds=1)
    examples = [
        "\n\nHuman: A question?\n\nAssistant: A bad answer.\n\nCritiqueRequest: Fault?"
        f"\n\nCritique: It is bad.\n\nRevisionRequest: Better?\n\nRevision: {last}"
        for last in ("A good answer.", "Another good answer.")
    ]
    response, critique, revision = sent(engine)
    before = "".join(examples[:shown])
    assert response == "\n\nHuman: How?\n\nAssistant:"
    assert critique.startswith(f"{before}\n\nHuman: How?\n\nAssistant: Assistant 1")
    assert revision.startswith(f"{before}\n\nHuman: How?\n\nAssistant: Assistant 1")


def test_direct_revision_without_critiques() -> None:
    engine = ScriptedEngine(counting())
    made = chain(engine, critique=False)
    assert sent(engine)[1:] == [
        "\n\nHuman: How?\n\nAssistant: Assistant 1\n\nRevisionRequest: Mend 1.\n\nRevision:",
        "\n\nHuman: How?\n\nAssistant: Revision 1\n\nRevisionRequest: Mend 1.\n\nRevision:",
    ]
    assert [round_.critique for round_ in made.rounds] == [None, None]


def test_a_critique_that_finds_nothing_ends_its_chain_only() -> None:
    """The round is finished, so that a faultless answer is trained on too."""

    def reply(text: str, seed: int) -> str:
        if text.endswith("Critique:"):
            return " No fault." if "Mild?" in text and "Assistant: better" in text else " Bad."
        return " better" if text.endswith("Revision:") else " draft"

    settings = CritiqueRevisionConfig(few_shots=0, no_fault=r"^No fault")
    stage = CritiqueRevision(ScriptedEngine(reply), constitution(), settings, 0)
    mild, wild = stage.chains([record("mild", "Mild?"), record("wild", "Wild?")])
    assert [r.critique.text for r in mild.rounds if r.critique] == ["Bad.", "No fault."]
    assert mild.rounds[-1].revision.text == "better"
    assert len(wild.rounds) == 4


def test_without_the_setting_no_critique_ends_a_chain() -> None:
    made = chain(ScriptedEngine({"": " No fault."}))
    assert len(made.rounds) == 2


BROKEN = {
    "empty": "  ",
    "looped": " on it goes and" * 4,
    "role_marker": " Sure.\nHuman: and then?",
    "cut_off": " one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
    " fifteen sixteen seventeen",
}


@pytest.mark.parametrize("flag", BROKEN)
def test_a_broken_revision_is_recorded_but_not_built_upon(flag: str) -> None:
    revisions = iter([" good", BROKEN[flag], " best"])

    def reply(text: str, seed: int) -> str:
        return next(revisions) if text.endswith("Revision:") else " draft"

    engine = ScriptedEngine(reply)
    made = chain(engine, rounds=3, max_new_tokens=17)
    assert [r.revision.flags for r in made.rounds] == [(), (flag,), ()]
    assert made.rounds[1].revision.text == BROKEN[flag].strip()
    third_critique = engine.requests[5].text
    assert third_critique.startswith("\n\nHuman: How?\n\nAssistant: good\n\nCritiqueRequest:")


def test_a_text_ends_where_the_next_turn_would_begin() -> None:
    reply = " Fine. \n\nHuman: And now?\n\nAssistant: More."
    made = chain(ScriptedEngine({"": reply}), rounds=1)
    assert {v.text for v in made.versions} == {"Fine."}
    assert {v.ended for v in made.versions} == {"stop"}
    assert all(v.usable for v in made.versions)


def test_in_a_chat_the_requests_are_the_users() -> None:
    engine = ScriptedEngine(lambda text, seed: f"said {len(engine.requests)}", style="chat")
    chain(engine, few_shots=1)
    shown = tuple(
        Message("assistant" if n % 2 else "user", turn.text) for n, turn in enumerate(EXAMPLE.turns)
    )
    how, find, mend = (Message("user", text) for text in ("How?", "Find 1.", "Mend 1."))

    def said(number: int) -> Message:
        return Message("assistant", f"said {number}")

    assert [request.prompt for request in engine.requests] == [
        ChatPrompt((how,)),
        ChatPrompt((*shown, how, said(1), find)),
        ChatPrompt((*shown, how, said(1), find, said(2), mend)),
        ChatPrompt((*shown, how, said(3), find)),
        ChatPrompt((*shown, how, said(3), find, said(4), mend)),
    ]


def test_prompts_of_several_turns_are_kept_whole() -> None:
    engine = ScriptedEngine(counting())
    talk = Conversation.of("One?", "Two.", "Three?")
    (made,) = critique_and_revise([talk], engine, constitution())
    assert sent(engine)[0] == "\n\nHuman: One?\n\nAssistant: Two.\n\nHuman: Three?\n\nAssistant:"
    assert "Human: Three?\n\nAssistant: Assistant 1\n\nCritiqueRequest:" in sent(engine)[1]
    assert made.prompt == talk


def test_helpful_prompts_get_several_replies_and_no_revision() -> None:
    engine = ScriptedEngine(lambda text, seed: f" reply {seed}", name="the model")
    stage = CritiqueRevision(engine, constitution(), CritiqueRevisionConfig(), 0)
    a, b = stage.replies([record("a", "A?"), record("b", "B?")])
    assert (a.id, a.prompt, a.tags, a.engine) == ("a", Conversation.of("A?"), ("tag",), "the model")
    assert {request.text for request in engine.requests} == {
        "\n\nHuman: A?\n\nAssistant:",
        "\n\nHuman: B?\n\nAssistant:",
    }
    assert len({s.text for s in (*a.responses, *b.responses)}) == 4
    assert stage.replies([record("b", "B?")]) == [b]


def test_no_prompts_no_chains() -> None:
    stage = CritiqueRevision(ScriptedEngine({}), constitution(), CritiqueRevisionConfig(), 0)
    assert stage.chains([]) == []
    assert stage.replies([]) == []


def test_a_constitution_that_cannot_critique_is_refused_at_once() -> None:
    only_comparing = Constitution(
        name="judges", principles=(Principle(id="p", text="Be good.", uses=("comparison",)),)
    )
    with pytest.raises(InputError, match="'judges' has no principle that can critique"):
        CritiqueRevision(ScriptedEngine({}), only_comparing, CritiqueRevisionConfig(), 0)
