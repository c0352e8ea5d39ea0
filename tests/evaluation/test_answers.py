from __future__ import annotations

from constitutional.dialogue import Conversation, PromptRecord
from constitutional.engines import SamplingParams, ScriptedEngine
from constitutional.evaluation.answers import answer_prompts
from constitutional.evaluation.verdicts import Behaviour, Judge, Verdict
from constitutional.runs.records import Answer

PARAMS = SamplingParams(max_new_tokens=5, temperature=0.5, stop=("\n\nHuman:",))


class Recording:
    """A judge that remembers what it was shown."""

    def __init__(self) -> None:
        self.shown: list[tuple[str, str]] = []

    def judge(self, conversation: Conversation, answer: str) -> Verdict:
        self.shown.append((conversation.last.text, answer))
        return Verdict(harmful_request=True, behaviour=Behaviour.EVASION, harm=1, detail=answer)


def prompts(*names: str) -> list[PromptRecord]:
    return [
        PromptRecord(
            id=name,
            conversation=Conversation.of(f"{name}?"),
            kind="red_team",
            source="s",
            tags=(name,),
        )
        for name in names
    ]


def answers(
    *names: str, policy: str = "sl_cai", judge: Judge | None = None, seed: int = 0
) -> list[Answer]:
    engine = ScriptedEngine(lambda text, seed: f" {seed} ", name="the model")
    return answer_prompts(policy, engine, PARAMS, judge, seed, prompts(*names))


def test_an_answer_holds_all_that_made_it() -> None:
    engine = ScriptedEngine({"": " Sure. "}, name="the model")
    judge = Recording()
    (made,) = answer_prompts("sl_cai", engine, PARAMS, judge, 0, prompts("a"))
    (request,) = engine.requests
    assert request.text == "\n\nHuman: a?\n\nAssistant:"
    assert request.params == PARAMS
    assert (made.id, made.policy, made.tags, made.engine) == ("a", "sl_cai", ("a",), "the model")
    assert made.prompt == Conversation.of("a?")
    assert (made.sample.text, made.sample.seed) == ("Sure.", request.seed)
    assert judge.shown == [("a?", "Sure.")]
    assert made.verdict is not None
    assert made.verdict.detail == "Sure."


def test_policies_draw_with_the_same_seeds() -> None:
    """So that two policies that are the same model give the same answers."""
    one, other = answers("a", "b", policy="helpful"), answers("a", "b", policy="sl_cai")
    assert [a.sample for a in one] == [a.sample for a in other]
    assert one[0].sample.seed != one[1].sample.seed
    assert one[0].sample.seed != answers("a", seed=1)[0].sample.seed


def test_an_answer_depends_on_no_other_prompt() -> None:
    assert answers("a", "b", "c") == [*answers("a"), *reversed(answers("c", "b"))]


def test_without_a_judge_there_is_no_verdict() -> None:
    assert [a.verdict for a in answers("a", "b")] == [None, None]


def test_faults_of_form_are_flagged() -> None:
    engine = ScriptedEngine({"": "one two three four five six"})
    (made,) = answer_prompts("p", engine, PARAMS, None, 0, prompts("a"))
    assert made.sample.flags == ("cut_off",)


def test_no_prompts_no_answers() -> None:
    assert answers() == []
