from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from preference_pairs import comparison

from constitutional.dialogue import Conversation
from constitutional.errors import InputError, ModelError
from constitutional.preference.combined import CombinedScorer, Item, Response, Scorer, logistic
from constitutional.preference.report import preference_report


class Known:
    """Scores by the response's text."""

    def __init__(self, table: dict[str, float], mean: float = 0.0):
        self.table, self.mean = table, mean

    def scores(self, items: Sequence[Item]) -> list[float]:
        return [self.table[item.response] for item in items]


def pair(n: int, a: str, b: str, prob_a: float | None, goal: str = "helpfulness", by: str = "ai"):  # type: ignore[no-untyped-def]
    update = {"a": a, "b": b, "prob_a": prob_a, "labeller": by}
    return comparison(n, goal=goal).model_copy(update=update)


def test_accuracy_and_baselines_by_goal_and_source() -> None:
    scorer = Known({"good": 1.0, "bad": -1.0, "equal": 1.0, "a longer one": 0.0})
    report = preference_report(
        scorer,
        [
            pair(1, "good", "bad", 0.9),
            pair(2, "bad", "good", 0.2, by="human"),
            pair(3, "a longer one", "good", 0.7, goal="harmlessness"),
            pair(4, "good", "equal", 1.0),
            pair(5, "good", "bad", 0.5),
            pair(6, "good", "bad", None),
        ],
    )
    whole = report.all
    assert (whole.labelled, whole.n, whole.undecided, report.unlabelled) == (5, 4, 1, 1)
    assert whole.accuracy is not None
    assert (whole.accuracy.value, whole.accuracy.n) == (0.5, 4)
    assert whole.longer is not None
    assert whole.longer.value == 0.75  # all but "equal"
    assert whole.always_a is not None
    assert whole.always_a.value == 0.75
    assert {name: card.n for name, card in report.goals.items()} == {
        "harmlessness": 1, "helpfulness": 3,
    }  # fmt: skip
    assert {name: card.labelled for name, card in report.sources.items()} == {"ai": 4, "human": 1}
    human = report.sources["human"].accuracy
    assert human is not None
    assert (human.value, human.low < 0.5 < human.high) == (1.0, True)


def test_nothing_to_count_is_no_number() -> None:
    report = preference_report(Known({}), [pair(1, "x", "y", None)])
    assert (report.all.accuracy, report.all.ece, report.all.curve) == (None, None, ())
    assert report.unlabelled == 1


def test_order_of_the_answers_changes_no_figure() -> None:
    scorer = Known({"good": 0.7, "bad": -0.4, "odd one": 0.1})
    pairs = [pair(1, "good", "bad", 0.9), pair(2, "odd one", "good", 0.6)]
    one, two = (preference_report(scorer, p).all for p in (pairs, [p.swap() for p in pairs]))
    assert one.accuracy == two.accuracy
    assert one.ece == pytest.approx(two.ece)


# Two preference models as one


PROMPT = Conversation.of("?")


def combined(**settings: object) -> CombinedScorer:
    safety = Known({"x": -1.0, "y": 1.2, "z": 4.0}, mean=1.0)
    helpful = Known({"x": 9.0, "y": -3.0, "z": 5.0}, mean=2.0)
    return CombinedScorer(safety, helpful, **settings)  # type: ignore[arg-type]


def test_safety_counts_where_it_is_low_or_the_prompt_is_risky() -> None:
    """By the formula of Llama 2: logit of the chosen probability, whitened."""
    items = [
        Response(PROMPT, "x"),
        Response(PROMPT, "y"),
        Response(PROMPT, "z", ("red-team",)),
        Response(PROMPT, "z"),
    ]
    chosen = [
        logistic(-1.0 - 1.0),  # below 0.15
        logistic(-3.0 - 2.0),
        logistic(4.0 - 1.0),  # risky
        logistic(5.0 - 2.0),
    ]
    logits = [math.log(p / (1 - p)) for p in chosen]
    scorer = combined(risky={"red-team"})
    assert scorer.scores(items) == pytest.approx(logits)
    mean = sum(logits) / 4
    deviation = math.sqrt(sum((x - mean) ** 2 for x in logits) / 4)
    whitened: Scorer = scorer.whitened(items)
    assert whitened.scores(items) == pytest.approx([(x - mean) / deviation for x in logits])
    alone = [whitened.scores([item])[0] for item in items]
    assert whitened.scores(items) == alone


def test_the_threshold() -> None:
    item = [Response(PROMPT, "x")]  # safety: logistic(-2) = 0.119
    assert combined(threshold=0.119).scores(item) == [7.0]
    assert combined(threshold=0.12).scores(item) == [-2.0]
    with pytest.raises(InputError, match="must lie in"):
        combined(threshold=15)


def test_what_cannot_be_whitened_is_refused() -> None:
    with pytest.raises(InputError, match="two responses or more"):
        combined().whitened([Response(PROMPT, "x")])
    with pytest.raises(ModelError, match="all have the same score"):
        combined().whitened([Response(PROMPT, "x")] * 3)


def test_logistic_does_not_overflow() -> None:
    assert [logistic(x) for x in (-1e4, 0, 1e4)] == [0, 0.5, 1]
