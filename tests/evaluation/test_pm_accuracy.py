from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from constitutional.dialogue import Conversation
from constitutional.errors import InputError
from constitutional.evaluation.pm_accuracy import JudgedPair, pair_accuracy, read_official_pairs

EVALS = Path(__file__).resolve().parents[2].parent / "shared/data/official/evals"
OFFICIAL = EVALS / "438HHHEvaluations.jsonl"


def known(table: dict[str, float | None]) -> object:
    def score(answers: Sequence[tuple[Conversation, str]]) -> list[float | None]:
        return [table[text] for _, text in answers]

    return score


def pair(asked: str, better: str, worse: str, first: bool | None = None) -> JudgedPair:
    return JudgedPair(Conversation.of(asked), better, worse, first)


def test_accuracy_ties_and_baselines_by_hand() -> None:
    score = known({"good": 1.0, "bad": -1.0, "equally good": 1.0, "too long": None})
    pairs = [
        pair("one?", "good", "bad", True),
        pair("one?", "bad", "good", True),
        pair("two?", "good", "equally good", False),
        pair("two?", "good", "too long", True),
    ]
    found = pair_accuracy(pairs, score, model="known")  # type: ignore[arg-type]
    assert (found.pairs, found.scored, found.too_long, found.ties) == (4, 3, 1, 1)
    assert found.accuracy is not None
    assert (found.accuracy.value, found.accuracy.n) == (pytest.approx(0.5), 2)
    # longer: right, wrong, wrong; first: right, right, wrong; the pair that is too long in neither
    assert found.longer_answer is not None
    assert found.longer_answer.value == pytest.approx(1 / 3)
    assert found.always_first is not None
    assert found.always_first.value == pytest.approx(2 / 3)
    # confidence sigma(2) twice, of which one is right; and 0.5 of a tie, whose label is 1
    confident = 1 / (1 + math.exp(-2))
    assert found.ece == pytest.approx((2 * abs(confident - 0.5) + 0.5) / 3)


def test_pairs_of_one_conversation_stand_and_fall_together() -> None:
    score = known({"good": 1.0, "bad": -1.0})
    right = [pair(f"{i % 4}?", "good", "bad") for i in range(40)]
    wrong = [pair(f"{4 + i % 4}?", "bad", "good") for i in range(40)]
    found = pair_accuracy(right + wrong, score, model="known")  # type: ignore[arg-type]
    assert found.accuracy is not None
    assert found.accuracy.n == found.conversations == 8
    assert found.accuracy.high - found.accuracy.low > 0.5  # 0.21 if 80 pairs were independent
    assert found.always_first is None


def test_batches_change_nothing() -> None:
    score = known({"good": 1.0, "bad": -1.0})
    pairs = [pair(f"{i}?", *(("good", "bad") if i % 3 else ("bad", "good"))) for i in range(7)]
    seen: list[tuple[int, int]] = []

    def show(done: int, total: int) -> None:
        seen.append((done, total))

    whole = pair_accuracy(pairs, score, model="known")  # type: ignore[arg-type]
    assert pair_accuracy(pairs, score, model="known", batch=3, progress=show) == whole  # type: ignore[arg-type]
    assert seen == [(3, 7), (6, 7), (7, 7)]


def row(**changes: object) -> dict[str, object]:
    return {
        "text_correct": "\n\nHuman: What?\n\nAssistant: This.",
        "text_incorrect": "\n\nHuman: What?\n\nAssistant: That.",
        "corrects": [" (B)"],
        **changes,
    }


def test_a_row_of_the_official_form(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(row()) + "\n")
    assert read_official_pairs(path) == [pair("What?", "This.", "That.", False)]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"text_incorrect": None}, "expected an object with the texts"),
        ({"text_correct": "What?"}, "begins with 'Human:'"),
        ({"text_correct": "\n\nHuman: What?"}, "'text_correct' must end in an answer"),
        ({"text_incorrect": "\n\nHuman: Who?\n\nAssistant: I."}, "different conversations"),
    ],
)
def test_a_wrong_row_is_refused_with_its_line(
    tmp_path: Path, change: dict[str, object], reason: str
) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in (row(), row(**change))))
    with pytest.raises(InputError, match=reason) as caught:
        read_official_pairs(path)
    assert caught.value.line == 2


@pytest.mark.skipif(
    not OFFICIAL.is_file(),
    reason="the official evaluations are not beside this checkout (shared/data/official)",
)
def test_the_official_pairs() -> None:
    """188 conversations; the longer answer is right in 246 of 438, the first one in 228."""
    pairs = read_official_pairs(OFFICIAL)

    def length(answers: Sequence[tuple[Conversation, str]]) -> list[float | None]:
        return [float(len(text)) for _, text in answers]

    found = pair_accuracy(pairs, length, model="length")
    assert (found.pairs, found.conversations, found.scored) == (438, 188, 438)
    assert found.accuracy == found.longer_answer
    assert found.longer_answer is not None
    assert found.longer_answer.value * 438 == pytest.approx(246, abs=1)
    assert found.always_first is not None
    assert found.always_first.value * 438 == pytest.approx(228)
