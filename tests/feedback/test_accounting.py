"""The account of labels: position, principles, agreement and calibration, against known engines."""

from __future__ import annotations

import random

import pytest
from numbered_answers import options

from constitutional.constitution import Constitution
from constitutional.dialogue import Conversation
from constitutional.engines import ScriptedEngine
from constitutional.errors import InputError
from constitutional.evaluation.verdicts import Preference
from constitutional.feedback import FeedbackConfig, FeedbackModel, Pair, account
from constitutional.runs.records import Comparison, Reading


def human(name: str, prob_a: float | None) -> Comparison:
    return Comparison(
        id=name,
        prompt=Conversation.of("How?"),
        a="a",
        b="b",
        goal="helpfulness",
        labeller="human",
        prob_a=prob_a,
    )


def read(name: str, *readings: Reading) -> Comparison:
    return human(name, 0.5).model_copy(update={"readings": readings})


def reading(order: str, prob_a: float | None, principle: str = "p", **more: object) -> Reading:
    return Reading.model_validate(
        {"principle": principle, "order": order, "prob_a": prob_a, **more}
    )


def test_position_bias_of_a_known_engine(constitution: Constitution) -> None:
    """30 of 100 pairs are alike to the engine, which then says (A); the others it reads well."""

    def choose(text: str, choices: tuple[str, ...]) -> tuple[float, float]:
        first, second = options(text)
        return (0.7, 0.3) if first[0] == second[0] else (0.9, 0.1) if first > second else (0.1, 0.9)

    answers = [("same 1", "same 2")] * 30 + [("worse", "xbetter"), ("xbetter", "worse")] * 35
    pairs = [Pair(str(i), Conversation.of("How?"), a, b) for i, (a, b) in enumerate(answers)]
    engine = ScriptedEngine({}, choices=choose)
    model = FeedbackModel(engine, constitution, FeedbackConfig(orders="both"))
    made = model.label(pairs)
    reference: dict[str, Preference] = {p.id: "b" if p.b == "xbetter" else "a" for p in pairs}
    reference |= {p.id: "tie" for p in pairs[:30]}
    found = account(made, reference)
    assert found.decided_by_position is not None
    assert (found.decided_by_position.value, found.decided_by_position.n) == (0.3, 100)
    assert found.agreement is not None
    assert (found.agreement.telling, found.agreement.ties) == (70, 30)
    assert found.agreement.decided_by_position is not None
    assert found.agreement.decided_by_position.value == 0
    assert found.agreement.accuracy is not None
    assert found.agreement.accuracy.value == 1
    # certain to 0.9 and always right
    assert found.agreement.expected_calibration_error == pytest.approx(0.1)


def test_one_order_says_nothing_of_position() -> None:
    half_read = read("y", reading("ab", 0.7), reading("ba", None, unreadable="refused"))
    assert account([read("x", reading("ab", 0.9)), half_read]).decided_by_position is None


def test_position_is_judged_by_the_letter() -> None:
    """(A) twice; (B) twice; a twice; b in one order and undecided in the other."""
    pairs = [(0.9, 0.2), (0.2, 0.9), (0.8, 0.6), (0.3, 0.5)]
    made = [read(str(i), reading("ab", ab), reading("ba", ba)) for i, (ab, ba) in enumerate(pairs)]
    found = account(made).decided_by_position
    assert found is not None
    assert (found.value, found.n) == (0.5, 4)


def test_what_could_not_be_read_is_counted_by_cause_and_principle() -> None:
    made = [
        read("x", reading("ab", 0.9, "p"), reading("ba", None, "p", unreadable="refused")),
        read("y", reading("ab", None, "q", unreadable="a response imitates")),
        read("z", reading("ab", 0.2, "p"), reading("ab", 0.6, "q")),
        human("never asked", None),
    ]
    made[1] = made[1].model_copy(update={"prob_a": None})
    found = account(made)
    assert (found.comparisons, found.labelled, found.unreadable, found.not_asked) == (4, 2, 1, 1)
    assert (found.readings, found.unreadable_readings, found.refusals) == (5, 2, 1)
    assert found.causes == {"a response imitates": 1, "refused": 1}
    p, q = found.principles
    assert (p.principle, p.uses, p.readings, p.unreadable, p.refusals) == ("p", 2, 3, 1, 1)
    assert p.mean_confidence == pytest.approx((0.9 + 0.8) / 2)
    assert (q.principle, q.uses, q.readings, q.unreadable, q.refusals) == ("q", 2, 2, 1, 0)
    assert q.mean_confidence == pytest.approx(0.6)


def test_position_and_accuracy_are_counted_by_principle() -> None:
    made = [
        # (A) in both orders: the place decided
        read("1", reading("ab", 0.9, "p"), reading("ba", 0.2, "p")),
        read("2", reading("ab", 0.9, "p"), reading("ba", 0.8, "p")),
        read("3", reading("ab", 0.1, "q"), reading("ba", 0.3, "q")),
        # by two principles at once: right by neither alone
        read("4", reading("ab", 0.9, "p"), reading("ba", 0.9, "q")),
    ]
    reference: dict[str, Preference] = {"1": "a", "2": "b", "3": "b", "4": "a"}
    found = account(made, reference)
    p, q = (use.decided_by_position for use in found.principles)
    assert p is not None and q is not None
    assert (p.value, p.n, q.value, q.n) == (0.5, 2, 0.0, 1)
    assert found.agreement is not None
    by_principle = found.agreement.principles
    assert {k: (e.value, e.n) for k, e in by_principle.items()} == {"p": (0.5, 2), "q": (1.0, 1)}


def test_confidence_of_votes_is_that_of_their_share() -> None:
    votes = [reading("ab", float(i < 3), votes=1) for i in range(4)]
    found = account([read("x", *votes)])
    assert found.votes == 4
    assert found.principles[0].mean_confidence == 0.75


def test_clamped_and_hard_labels_are_calibrated_by_what_was_read(
    constitution: Constitution,
) -> None:
    engine = ScriptedEngine({"": " Hm."}, choices=lambda text, choices: (0.9, 0.1))
    pairs = [Pair(str(i), Conversation.of("How?"), "a", "b") for i in range(10)]
    made = FeedbackModel(engine, constitution, FeedbackConfig(cot=True)).label(pairs)
    assert {c.prob_a for c in made} <= {0.4, 0.6}
    reference: dict[str, Preference] = {c.id: "a" if (c.prob_a or 0) > 0.5 else "b" for c in made}
    found = account(made, reference).agreement
    assert found is not None
    (only,) = found.calibration
    assert only.mean_confidence == pytest.approx(0.9)


def test_agreement_by_hand() -> None:
    made = [human("1", 0.9), human("2", 0.3), human("3", 0.62), human("4", 0.5), human("5", None)]
    made += [human("tie", 0.8), human("unknown", 0.8)]
    reference: dict[str, Preference] = {
        "1": "a", "2": "a", "3": "a", "4": "b", "5": "b", "tie": "tie",
    }  # fmt: skip
    found = account(made, reference, bins=5).agreement
    assert found is not None
    assert (found.telling, found.ties, found.unlabelled, found.undecided) == (5, 1, 1, 1)
    assert found.accuracy is not None
    assert (found.accuracy.value, found.accuracy.n) == (0.5, 4)
    # bins of 0.1: {0.5: wrong}, {0.7: wrong, 0.62: right}, {0.9: right}
    assert [b.accuracy.n for b in found.calibration] == [1, 2, 1]
    assert [b.mean_confidence for b in found.calibration] == pytest.approx([0.5, 0.66, 0.9])
    assert [(b.low, b.high) for b in found.calibration] == [
        pytest.approx(edges) for edges in ((0.5, 0.6), (0.6, 0.7), (0.8, 0.9))
    ]
    expected = (1 * 0.5 + 2 * abs(0.5 - 0.66) + 1 * 0.1) / 4
    assert found.expected_calibration_error == pytest.approx(expected)


def test_a_calibrated_labeller_has_almost_no_calibration_error() -> None:
    rng = random.Random(0)
    made, reference = [], {}
    for i in range(4_000):
        p = rng.random()
        made.append(human(str(i), p))
        reference[str(i)] = "a" if rng.random() < p else "b"
    found = account(made, reference).agreement  # type: ignore[arg-type]
    assert found is not None
    assert found.expected_calibration_error is not None
    assert found.expected_calibration_error < 0.03
    covered = sum(b.accuracy.low <= b.mean_confidence <= b.accuracy.high for b in found.calibration)
    assert covered >= 8
    swapped = {name: "b" if side == "a" else "a" for name, side in reference.items()}
    again = account([c.swap() for c in made], swapped).agreement  # type: ignore[arg-type]
    assert again is not None
    assert again.accuracy == found.accuracy


def test_nothing_to_count_is_no_number() -> None:
    found = account([], {})
    assert found.decided_by_position is None
    assert found.agreement is not None
    assert found.agreement.accuracy is None
    assert found.agreement.expected_calibration_error is None


def test_no_bins_are_refused() -> None:
    with pytest.raises(InputError, match="at least one bin"):
        account([], {}, bins=0)
