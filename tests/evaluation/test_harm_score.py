from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from constitutional.dialogue import Conversation
from constitutional.errors import InputError
from constitutional.evaluation.harm_score import (
    RatedConversation,
    answered,
    harm_report,
    mean_harm,
    read_rated,
)
from constitutional.evaluation.texts import AnswerText

TALK = "\n\nHuman: How?\n\nAssistant: So."


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


# Ratings from files


def test_rows_of_every_form(tmp_path: Path) -> None:
    conversation = Conversation.of("How?", "So.")
    path = write(
        tmp_path / "rated.jsonl",
        {"transcript": TALK, "rating": 3, "tags": ["x"], "num_params": "52B"},
        {"conversation": TALK, "rating": 0.0},
        {"conversation": conversation.model_dump(), "rating": 4},
    )
    assert read_rated(path).rated == [
        RatedConversation(conversation=conversation, rating=r) for r in (3, 0, 4)
    ]


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    path = write(
        tmp_path / "rated.jsonl",
        {"transcript": TALK, "rating": 3},
        {"transcript": TALK, "rating": None},
        {"transcript": TALK + "\n\nHuman: And?", "rating": 1},
        {"transcript": TALK + "\n\nAssistant: And.", "rating": 1},
        {"transcript": "\n\nAssistant: And.", "rating": 1},
    )
    found = read_rated(path)
    assert len(found.rated) == 1
    assert found.left_out == {
        "no rating": 1,
        "no answer of the assistant at the end": 1,
        "the turns do not alternate": 2,
    }


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"rating": 3}, "expected a 'transcript'"),
        ({"transcript": "How?", "rating": 3}, "begins with 'Human:'"),
        ({"conversation": {"turn": []}, "rating": 3}, "'conversation' is no record of ours: turn"),
        ({"transcript": TALK, "rating": 5}, "'rating' must be a number from 0 to 4, found 5"),
        ({"transcript": TALK, "rating": "3"}, "must be a number from 0 to 4, found '3'"),
        ({"transcript": TALK, "rating": True}, "must be a number from 0 to 4, found True"),
    ],
)
def test_a_wrong_row_is_refused_with_its_line(
    tmp_path: Path, row: dict[str, object], reason: str
) -> None:
    path = write(tmp_path / "rated.jsonl", {"transcript": TALK, "rating": 1}, row)
    with pytest.raises(InputError, match=reason) as caught:
        read_rated(path)
    assert caught.value.line == 2


def test_the_whole_conversation_of_an_answer() -> None:
    whole = Conversation.of("How?", "So.")
    for prompt in ("How?", "\n\nHuman: How?", "\n\nHuman: How?\n\nAssistant:"):
        assert answered(AnswerText(prompt=prompt, text="So.")) == whole
    with pytest.raises(InputError, match="the answer in line 3 has no prompt"):
        answered(AnswerText(prompt="line 3", text="So."))


# Figures


def test_figures_as_scipy_and_numpy_have_them() -> None:
    rng = random.Random(0)
    ratings = [float(rng.randint(0, 4)) for _ in range(400)]
    found = [rating / 2 + rng.gauss(1, 0.7) for rating in ratings]
    report = harm_report(ratings, found, guess=2.0)
    r = stats.pearsonr(ratings, found)
    assert report.pearson is not None
    assert report.pearson.value == pytest.approx(r.statistic)
    by_fisher = r.confidence_interval()
    assert (report.pearson.low, report.pearson.high) == pytest.approx(tuple(by_fisher), abs=0.02)
    errors = np.abs(np.subtract(ratings, found))
    assert report.mean_absolute_error.value == pytest.approx(errors.mean())
    half = report.mean_absolute_error.high - report.mean_absolute_error.value
    assert half == pytest.approx(1.96 * errors.std() / 20, rel=0.1)
    assert report.baseline_error.value == pytest.approx(np.mean(np.abs(np.array(ratings) - 2)))
    squares = 1 - np.sum(errors**2) / (np.var(ratings) * 400)
    assert report.r_squared is not None
    assert report.r_squared.value == pytest.approx(squares)
    assert report.n == report.pearson.n == 400


def test_what_is_not_defined_is_no_number() -> None:
    with np.errstate(all="raise"):  # nor may a zero be divided by
        constant = harm_report([2.0, 2.0, 2.0], [1.0, 2.0, 3.0], guess=2.0)
    assert (constant.r_squared, constant.pearson) == (None, None)
    assert constant.baseline_error.value == 0
    flat = harm_report([1.0, 2.0, 3.0], [2.0, 2.0, 2.0], guess=2.0)
    assert flat.pearson is None
    assert flat.r_squared is not None
    assert flat.r_squared.value == pytest.approx(0)
    with pytest.raises(InputError, match="two held-out conversations or more, found 1"):
        harm_report([1.0], [1.0], guess=1.0)


def test_the_mean_is_over_prompts() -> None:
    found = mean_harm([4.0, 2.0, 0.0, None, 1.0], ["p", "p", "q", "q", "r"])
    assert (found.answers, found.too_long, found.prompts) == (5, 1, 3)
    assert found.mean is not None
    # prompt means 3, 0, 1
    half = stats.t.ppf(0.975, 2) * np.std([3, 0, 1], ddof=1) / 3**0.5
    assert found.mean.value == pytest.approx(4 / 3)
    assert found.mean.high == pytest.approx(4 / 3 + half, rel=1e-3)
    assert mean_harm([1.0, 2.0], ["p", "p"]).mean is None
