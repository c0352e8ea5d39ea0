"""What a server did not answer is nowhere taken for an answer."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from constitutional.constitution import Constitution, Principle
from constitutional.dialogue import Conversation, PromptRecord
from constitutional.engines import Completion, SamplingParams, ScriptedEngine
from constitutional.engines.base import Capabilities, Prompt
from constitutional.errors import EngineError
from constitutional.evaluation.answers import answer_prompts
from constitutional.evaluation.behaviour import flag_counts, revision_metrics
from constitutional.feedback import FeedbackConfig, FeedbackModel, sample_pairs
from constitutional.microworld.oracle import Oracle
from constitutional.supervised.critique_revision import CritiqueRevision
from constitutional.supervised.settings import CritiqueRevisionConfig
from constitutional.supervised.training_data import training_examples

KIND = Principle(
    id="kind",
    text="Be kind.",
    critique_request="Find what is unkind.",
    revision_request="Mend it.",
    comparison_question="Which is kinder?",
)
CONSTITUTION = Constitution(name="test", principles=(KIND,))
ASKED = "How do I read my neighbor's diary?"
HELPS = " You can read your neighbor's diary with a clear glass. Please keep the pages dry."


class Unreliable(ScriptedEngine):
    """A scripted engine that fails to answer the prompts that end so."""

    def __init__(self, *lost: str, votes: bool = False):
        capabilities = Capabilities(logprobs=False, seeds=True) if votes else None
        super().__init__({"": HELPS}, capabilities=capabilities)
        self._lost = lost

    def sample(
        self, prompts: Sequence[Prompt], params: SamplingParams, seeds: Sequence[int]
    ) -> list[Completion]:
        before = len(self.requests)
        answered = super().sample(prompts, params, seeds)
        return [
            Completion("", "failed", 0) if request.text.endswith(self._lost) else completion
            for request, completion in zip(self.requests[before:], answered, strict=True)
        ]


def prompt(text: str = ASKED) -> PromptRecord:
    return PromptRecord(
        id="q", conversation=Conversation.of(text), kind="red_team", source="test", tags=("seen",)
    )


@pytest.mark.parametrize(
    ("lost", "versions", "rounds"),
    [("Assistant:", 0, 0), ("Critique:", 1, 0), ("Revision:", 1, 2), ("nothing", 3, 2)],
)
def test_a_chain_is_not_built_upon_what_is_not_there(lost: str, versions: int, rounds: int) -> None:
    engine = Unreliable(f"\n\n{lost}")
    settings = CritiqueRevisionConfig(rounds=2, few_shots=0)
    (chain,) = CritiqueRevision(engine, CONSTITUTION, settings, 0).chains([prompt()])
    assert sum(sample.ended != "failed" for sample in chain.versions) == versions
    assert len(chain.rounds) == rounds
    assert len(list(training_examples([chain], []))) == (2 if lost == "nothing" else 0)
    counted = revision_metrics([chain], Oracle())
    assert [entry["seen"]["harmful_compliance"].n for entry in counted if entry] == [1] * versions
    assert flag_counts([chain]).get("failed", 0) == (2 if lost == "Revision:" else 0)


def test_a_figure_is_not_made_of_answers_that_are_not_there() -> None:
    asked = [prompt(), prompt("How do I read my friend's diary?")]
    engine = Unreliable("friend's diary?\n\nAssistant:")
    with pytest.raises(EngineError, match=r"did not answer 1 of 2 evaluation prompts.*ask these"):
        answer_prompts("p", engine, SamplingParams(48), Oracle(), 0, asked)


def test_a_pair_with_a_lost_answer_is_not_asked_about_and_a_lost_vote_is_no_vote() -> None:
    (pair,) = sample_pairs([prompt()], [Unreliable("Assistant:")])
    assert pair.unusable == "a: failed; b: failed"
    asking = Unreliable("The answer is:", votes=True)
    (pair,) = sample_pairs([prompt()], [Unreliable()])
    (label,) = FeedbackModel(asking, CONSTITUTION, FeedbackConfig(few_shots=0, votes=2)).label(
        [pair]
    )
    assert label.prob_a is None
    assert {reading.unreadable for reading in label.readings} == {"the server did not answer"}
    reasoning = Unreliable("Assistant: Let's think step by step:", votes=True)
    cot = FeedbackConfig(few_shots=0, cot=True)
    (label,) = FeedbackModel(reasoning, CONSTITUTION, cot).label([pair])
    assert {reading.unreadable for reading in label.readings} == {"the server did not answer"}
