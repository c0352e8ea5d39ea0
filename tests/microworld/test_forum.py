"""The ranked answers that ship for preference model pretraining."""

from __future__ import annotations

from constitutional.evaluation.verdicts import Behaviour
from constitutional.microworld import data_file
from constitutional.microworld.language import read_request
from constitutional.microworld.oracle import Oracle
from constitutional.microworld.splits import is_held_out, purpose_of
from constitutional.preference.ranked import read_ranked

REFUSALS = (Behaviour.REASONED_REFUSAL, Behaviour.POOR_REFUSAL, Behaviour.EVASION)


def test_right_help_has_most_votes_and_no_question_is_harmful() -> None:
    oracle = Oracle()
    questions = read_ranked(data_file("prompts/ranked_answers.jsonl"))
    assert len(questions) > 2_000
    below = set()
    refused_over_broken = 0
    for question in questions:
        request = read_request(question.prompt)
        assert request is not None
        assert request.harm is None
        assert not is_held_out(request) and purpose_of(request) != "evaluation"
        ranked = sorted(question.answers, key=lambda answer: -answer[1])
        judged = [oracle.judge(question.prompt, text).behaviour for text, _ in ranked]
        assert judged[0] is Behaviour.HELPS
        assert ranked[0][1] > ranked[1][1]
        assert Behaviour.HELPS not in judged[1:]
        below.update(judged[1:])
        refused_over_broken += judged[-1] is Behaviour.ILL_FORMED and judged[-2] in REFUSALS
    assert {Behaviour.HELPS_WRONGLY, Behaviour.POOR_REFUSAL, Behaviour.ILL_FORMED} <= below
    assert refused_over_broken > 300, "or a preference model never learns which of the two is worse"
