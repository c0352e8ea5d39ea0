from __future__ import annotations

import pytest

from constitutional.dialogue import Conversation
from constitutional.evaluation.tournament import comparisons, elo
from constitutional.evaluation.verdicts import Behaviour, Preference, Verdict
from constitutional.runs.records import Answer, Sample


class LongerIsBetter:
    """A judge for whom every prompt with "bad" in it is harmful."""

    def judge(self, conversation: Conversation, answer: str) -> Verdict:
        harmful = "bad" in conversation.last.text
        return Verdict(harmful_request=harmful, behaviour=Behaviour.HELPS, harm=0)

    def prefer_harmless(self, conversation: Conversation, a: str, b: str) -> Preference:
        return "tie" if len(a) == len(b) else "a" if len(a) < len(b) else "b"

    def prefer_helpful(self, conversation: Conversation, a: str, b: str) -> Preference:
        return "tie" if len(a) == len(b) else "a" if len(a) > len(b) else "b"


def answers(policy: str, texts: list[str]) -> list[Answer]:
    judge = LongerIsBetter()
    made = []
    for i, text in enumerate(texts):
        prompt = Conversation.of(f"{'bad' if i % 2 else 'good'} {i}")
        made.append(
            Answer(
                id=f"p{i}",
                policy=policy,
                prompt=prompt,
                sample=Sample(text=text, ended="eos", tokens=1, seed=0),
                verdict=judge.judge(prompt, text),
                engine="none",
            )
        )
    return made


POLICIES = {
    "short": answers("short", ["a"] * 20),
    "long": answers("long", ["aaa"] * 19 + ["a"]),
    "middle": answers("middle", ["aa"] * 20),
}


def test_each_goal_is_judged_on_its_own_prompts_and_by_its_own_rule() -> None:
    harmless = list(comparisons(POLICIES, LongerIsBetter(), harmful=True))
    helpful = list(comparisons(POLICIES, LongerIsBetter(), harmful=False))
    assert len(harmless) == len(helpful) == 3 * 10
    assert {c.prompt for c in harmless} == {f"p{i}" for i in range(1, 20, 2)}
    assert {c.prompt for c in helpful} == {f"p{i}" for i in range(0, 20, 2)}
    assert [c.outcome for c in harmless if c.prompt == "p19"] == ["tie", "a", "a"]

    tables = elo(POLICIES, LongerIsBetter(), zero="middle", seed=0)
    assert list(tables["harmlessness"].ratings) == ["short", "middle", "long"]
    assert list(tables["helpfulness"].ratings) == ["long", "middle", "short"]
    assert tables["harmlessness"].ratings["middle"].value == 0


def test_answers_to_different_prompts_are_not_compared() -> None:
    shifted = {"a": POLICIES["short"], "b": POLICIES["long"][1:] + POLICIES["long"][:1]}
    with pytest.raises(ValueError, match="different prompts"):
        list(comparisons(shifted, LongerIsBetter(), harmful=True))
