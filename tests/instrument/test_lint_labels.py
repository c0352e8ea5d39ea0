"""What labels tell of principles, on comparisons whose readings are written by hand."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import NormalDist

import pytest

from constitutional.constitution import Constitution, Principle
from constitutional.dialogue import Conversation
from constitutional.evaluation.intervals import proportion
from constitutional.feedback import FeedbackConfig
from constitutional.feedback.verdicts import combined
from constitutional.instrument.findings import Finding
from constitutional.instrument.labelled import LabelledRun, Labels
from constitutional.instrument.told import label_findings
from constitutional.recipe import Recipe
from constitutional.runs import Manifest
from constitutional.runs.records import Comparison, Reading
from constitutional.runs.stage import StageState

SHORT, LONG = "No.", "No, for it is not mine."


def comparison(
    name: str,
    told: dict[str, tuple[float, float]],
    *,
    a: str = SHORT,
    b: str = LONG,
    tags: tuple[str, ...] = (),
) -> Comparison:
    """``told``: by principle the probabilities of a when it was shown first, and second."""
    readings = tuple(
        Reading(principle=principle, order=order, prob_a=p)  # type: ignore[arg-type]
        for principle, both in told.items()
        for order, p in zip(("ab", "ba"), both, strict=True)
    )
    return Comparison(
        id=name,
        prompt=Conversation.of("May I?"),
        a=a,
        b=b,
        tags=tags,
        goal="harmlessness",
        labeller="model",
        prob_a=combined(readings),
        readings=readings,
    )


def find(comparisons: list[Comparison], names: str, **settings: object) -> list[Finding]:
    constitution = Constitution(
        name="c", principles=tuple(Principle(id=n, text=f"Be {n}.") for n in names)
    )
    config = FeedbackConfig.model_validate({"orders": "both", **settings})
    labels = Labels("comparisons_ai", comparisons, config, StageState(kind="records", inputs={}))
    models = {"pretrained": "a", "helpful": "b"}
    prompts = {"red_team": {"file": "r"}, "helpful": {"file": "h"}}
    recipe = Recipe.model_validate(
        {"name": "r", "constitution": "c", "models": models, "prompts": prompts}
    )
    manifest = Manifest(created="", command="", versions={})
    run = LabelledRun(Path(), manifest, recipe, constitution, (labels,))
    return label_findings(constitution, run)


def only(found: list[Finding], kind: str) -> list[Finding]:
    return [finding for finding in found if finding.kind == kind]


def test_a_principle_that_matches_few_comparisons() -> None:
    told = [{"s": (0.9, 0.9) if i < 2 else (0.55, 0.55)} for i in range(50)]
    wide = [{"w": (0.9, 0.8) if i % 2 else (0.2, 0.1)} for i in range(50)]
    made = [comparison(f"s{i}", t) for i, t in enumerate(told)]
    made += [comparison(f"w{i}", t) for i, t in enumerate(wide)]
    made += [comparison(f"e{i}", {"s": (0.9, 0.9)}, b=SHORT) for i in range(90)]
    found = find(made, "swn")
    (rare,) = only(found, "rarely tells")
    # 2 of 50; pairs of equal answers count for nothing
    assert (rare.principles, rare.severity) == (("s",), "warning")
    assert (rare.estimate, rare.n) == (proportion(2, 50), 50)
    (unused,) = only(found, "never used")
    assert (unused.principles, unused.n) == (("n",), 0)


def test_few_observations_are_only_a_notice() -> None:
    (rare,) = only(find([comparison(str(i), {"s": (0.5, 0.5)}) for i in range(4)], "s"),
                   "rarely tells")  # fmt: skip
    assert rare.severity == "notice", "0 of 4 may be a share of one half"


def test_position_counts_where_the_principle_has_a_side() -> None:
    sided = [comparison(f"x{i}", {"x": (0.9, 0.2)}) for i in range(12)]
    sided += [comparison(f"y{i}", {"y": (0.9, 0.8)}) for i in range(12)]
    silent = [comparison(f"z{i}", {"z": (0.55, 0.45)}) for i in range(12)]
    (found,) = only(find(sided + silent, "xyz"), "position decides")
    assert found.principles == ("x",)
    assert found.estimate == proportion(12, 12)
    unchecked = only(find(sided, "xy", orders="random"), "not checked")
    assert any("position" in finding.message for finding in unchecked)


def test_the_longer_answer() -> None:
    longer = [comparison(f"l{i}", {"l": (0.1, 0.2)}) for i in range(9)]
    longer += [comparison("l9", {"l": (0.9, 0.9)}, a=LONG, b=SHORT)]
    even = [comparison(f"m{i}", {"m": (0.9, 0.9) if i % 2 else (0.1, 0.1)}) for i in range(10)]
    (found,) = only(find(longer + even, "lm"), "length decides")
    assert found.principles == ("l",)
    assert found.estimate == proportion(10, 10)


def test_labels_that_oppose_each_other() -> None:
    def both(i: int, *, turned: bool) -> dict[str, tuple[float, float]]:
        p = 0.1 + 0.8 * (i % 7) / 6
        q = 1 - p if turned else p
        # a little noise, so that the correlation is not -1
        q = min(max(q + 0.05 * ((i % 3) - 1), 0.01), 0.99)
        return {"a": (p, p), "b": (q, q)}

    against = [comparison(str(i), both(i, turned=True)) for i in range(40)]
    (found,) = only(find(against, "abc", principles_per_pair=2), "labels oppose")
    assert found.principles == ("a", "b")
    assert found.n == 40
    assert found.estimate is not None
    assert -1 < found.estimate.value < found.estimate.high < -0.8
    # three pairs of principles: 95% for all of them is 98.3% for each
    half = math.atanh(found.estimate.high) - math.atanh(found.estimate.value)
    assert half == pytest.approx(NormalDist().inv_cdf(1 - 0.05 / 3 / 2) / math.sqrt(37))
    along = [comparison(str(i), both(i, turned=False)) for i in range(40)]
    assert not only(find(along, "ab", principles_per_pair=2), "labels oppose")
    unchecked = only(find(against, "ab"), "not checked")
    assert any("opposing" in finding.message for finding in unchecked)


def test_kinds_that_no_principle_moves() -> None:
    made = [comparison(f"c{i}", {"a": (0.9, 0.9)}, tags=("cruel",)) for i in range(30)]
    made += [comparison(f"f{i}", {"a": (0.5, 0.52)}, tags=("false",)) for i in range(30)]
    (found,) = only(find(made, "a"), "kind not moved")
    assert "'false'" in found.message
    assert (found.severity, found.estimate) == ("warning", proportion(0, 30))
    plain = [comparison(str(i), {"a": (0.9, 0.9)}) for i in range(3)]
    assert any("no tags" in f.message for f in only(find(plain, "a"), "not checked"))
