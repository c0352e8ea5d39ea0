"""What numbers say of a claim, against intervals that were worked out by hand."""

from __future__ import annotations

import json
import math
from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest

from constitutional.studies.measuring import Measured, number_at, value_of, values_of
from constitutional.studies.registration import Measure, Registration, Rule
from constitutional.studies.rules import Verdict, decide, overall, paired, spread

# Differences 0.10, 0.12, 0.08, 0.14, 0.06: mean 0.10; squares of the deviations 0, 4, 4, 16, 16
# (1e-4) make 40e-4, over 4 is 1e-3; s / sqrt(5) = sqrt(2e-4) = 0.0141421; t(0.975, 4) = 2.776 (any
# printed table), so the half width is 0.0392585.
FIRST = {1: 0.40, 2: 0.42, 3: 0.38, 4: 0.44, 5: 0.36}
SECOND = dict.fromkeys(FIRST, 0.30)
HALF = 2.776 * math.sqrt(2e-4)


def rule(**bound: float) -> Rule:
    return Rule(says="so", difference=("a.harm", "b.harm"), **bound)


def test_the_interval_is_students_over_differences_paired_by_seed() -> None:
    decision = decide(rule(above=0), {"a": {"harm": FIRST}, "b": {"harm": SECOND}})
    found = decision.found
    assert found.n == 5
    assert found.value == pytest.approx(0.10)
    assert found.low == pytest.approx(0.10 - HALF)
    assert found.high == pytest.approx(0.10 + HALF)
    assert pytest.approx(0.0392585, abs=1e-7) == HALF
    assert decision.verdict == "holds"


def test_pairing_takes_out_what_seeds_have_in_common() -> None:
    # both rise with the seed by the same: the difference is exactly 0.1 in each
    first, second = {s: 0.1 * s + 0.1 for s in range(5)}, {s: 0.1 * s for s in range(5)}
    found = decide(rule(above=0.09), {"a": {"harm": first}, "b": {"harm": second}}).found
    assert found.high is not None and found.low is not None
    assert found.high - found.low < 1e-9
    assert paired({1: 3.0, 2: 5.0}, {2: 1.0, 3: 9.0}) == {2: 4.0}


@pytest.mark.parametrize(
    ("bound", "verdict"),
    [
        # the interval is 0.0607 to 0.1393
        ({"above": 0.06}, "holds"),
        ({"above": 0.07}, "cannot tell"),
        ({"above": 0.14}, "does not hold"),
        ({"below": 0.14}, "holds"),
        ({"below": 0.13}, "cannot tell"),
        ({"below": 0.06}, "does not hold"),
        ({"within": 0.14}, "holds"),
        ({"within": 0.13}, "cannot tell"),
        ({"within": 0.06}, "does not hold"),
    ],
)
def test_verdicts_of_rules(bound: dict[str, float], verdict: str) -> None:
    values = {"a": {"harm": FIRST}, "b": {"harm": SECOND}}
    assert decide(rule(**bound), values).verdict == verdict
    if "within" in bound:  # either way round
        assert (
            decide(rule(**bound), {"a": {"harm": SECOND}, "b": {"harm": FIRST}}).verdict == verdict
        )


def test_an_interval_that_touches_the_bound_is_not_above_it() -> None:
    same = {"a": {"harm": FIRST}, "b": {"harm": FIRST}}  # exactly 0, with no width
    assert decide(rule(above=0), same).verdict == "does not hold"
    assert decide(rule(below=0), same).verdict == "does not hold"
    assert decide(rule(within=0.01), same).verdict == "holds"


def test_four_terms_are_a_difference_of_differences() -> None:
    terms = ("a.harm", "b.harm", "c.harm", "d.harm")
    four = Rule(says="so", difference=terms, above=0)
    sides = ({1: 0.5, 2: 0.7, 3: 0.9}, {1: 0.1, 2: 0.2, 4: 1.0}, {1: 0.3, 2: 0.3}, {1: 0.1, 2: 0.2})
    values = {name: {"harm": side} for name, side in zip("abcd", sides, strict=True)}
    # (0.5 - 0.1) - (0.3 - 0.1) = 0.2 and (0.7 - 0.2) - (0.3 - 0.2) = 0.4
    found = decide(four, values).found
    assert found.n == 2
    assert found.value == pytest.approx(0.3)


def test_a_single_term_is_the_value_itself() -> None:
    alone = Rule(says="so", difference=("a.harm",), above=0.3)
    assert decide(alone, {"a": {"harm": FIRST}}).found.value == pytest.approx(0.40)
    assert decide(alone, {"a": {"harm": FIRST}}).verdict == "holds"


def test_the_verdict_of_a_study() -> None:
    h, f, c = get_args(Verdict)
    for three in product((h, f, c), repeat=3):
        expected = f if f in three else h if three == (h, h, h) else c
        assert overall(three) == expected, three
    assert overall(()) == c


@pytest.mark.parametrize("n", [0, 1])
def test_below_two_seeds_nobody_can_tell(n: int) -> None:
    values = {"a": {"harm": dict(list(FIRST.items())[:n])}, "b": {"harm": SECOND}}
    decision = decide(rule(above=0), values)
    assert (decision.verdict, decision.found.n, decision.found.low) == ("cannot tell", n, None)
    assert (decision.found.value is None) == (n == 0)
    assert spread([]).value is None


def test_a_seed_without_one_of_the_numbers_is_left_out_and_not_replaced() -> None:
    values = {"a": {"harm": FIRST}, "b": {"harm": {1: 0.30, 4: 0.30}}}
    found = decide(rule(above=0), values).found
    # 0.10 and 0.14: mean 0.12, s / sqrt(2) = 0.02, t(0.975, 1) = 12.706
    assert found.n == 2
    assert found.value == pytest.approx(0.12)
    assert found.low == pytest.approx(0.12 - 12.706 * 0.02)


METRICS = {
    "rounds": [{"harm": {"value": 0.5}}, {"harm": {"value": 0.125}}],
    "none": None,
    "word": "0.5",
    "yes": True,
    "nan": math.nan,
    "steps": 24,
}


@pytest.mark.parametrize(
    ("path", "number"),
    [
        ("rounds.0.harm.value", 0.5),
        ("rounds.1.harm.value", 0.125),
        ("steps", 24.0),
        ("rounds.2.harm.value", None),
        ("rounds.-1.harm.value", None),
        ("rounds.harm.value", None),
        ("rounds.0.harm", None),
        ("none.value", None),
        ("none", None),
        ("word", None),
        ("word.0", None),
        ("yes", None),
        ("nan", None),
        ("absent", None),
    ],
)
def test_numbers_at_paths(path: str, number: float | None) -> None:
    assert number_at(json.loads(json.dumps(METRICS)), path) == number


def test_a_measure_less_another_needs_both() -> None:
    fall = Measure(path="rounds.0.harm.value", minus="rounds.1.harm.value")
    run = Measured(Path(), METRICS)
    assert value_of(run, fall) == 0.375
    assert value_of(run, Measure(path="steps", minus="absent")) is None
    assert value_of(run, Measure(path="absent", minus="steps")) is None


def test_missing_numbers_are_left_out_by_arm_measure_and_seed() -> None:
    registration = Registration.model_validate(
        {
            "study": "s",
            "number": 1,
            "title": "t",
            "question": "q",
            "claim": "c",
            "base": "b",
            "seeds": [1, 2, 3],
            "arms": {"a": None, "b": {}},
            "measures": {"x": "x", "y": {"path": "y.0", "only": "b"}},
            "rules": [{"says": "r", "difference": ["a.x", "b.x"], "above": 0}],
        }
    )
    metrics: dict[tuple[str, int], Any] = {
        ("a", 1): {"x": 1},
        ("a", 2): {"x": None},
        ("b", 1): {"x": 2, "y": [3]},
        ("b", 3): {},
    }
    runs = {key: Measured(Path(), found) for key, found in metrics.items()}
    assert values_of(registration, runs) == {
        "a": {"x": {1: 1.0}},
        "b": {"x": {1: 2.0}, "y": {1: 3.0}},
    }
