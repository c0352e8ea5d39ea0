"""What differs between two constitutions, and between the labels by each: sums done by hand."""

from __future__ import annotations

import numpy as np
import pytest

from constitutional.constitution import Constitution, Principle
from constitutional.dialogue import Conversation
from constitutional.evaluation.intervals import mean, proportion
from constitutional.instrument.changes import changes
from constitutional.instrument.correlation import correlation
from constitutional.instrument.shifts import Moved, shift
from constitutional.runs.records import Comparison


def labelled(name: str, p: float | None, *tags: str) -> Comparison:
    return Comparison(
        id=name,
        prompt=Conversation.of("May I?"),
        a="Yes.",
        b="No.",
        tags=tags,
        goal="harmlessness",
        labeller="model",
        prob_a=p,
    )


def moved(
    name: str, old: float | None, new: float | None, *principles: str, tag: str = "t"
) -> Moved:
    return Moved(labelled(name, old, tag), labelled(name, new, tag), frozenset(principles))


def test_flips_shifts_and_what_tells() -> None:
    found = shift(
        "comparisons_ai",
        [
            moved("flips", 0.9, 0.2, "p"),
            moved("weaker", 0.9, 0.55, "p", "q"),
            moved("to the middle", 0.3, 0.5, "q"),
            moved("lost", 0.8, None, "q"),
            moved("stays", 0.7, 0.7),
            moved("stays low", 0.45, 0.45, tag="u"),
        ],
    )
    assert [(f.id, f.old, f.new, f.principles) for f in found.flips] == [
        ("flips", 0.9, 0.2, ("p",))
    ]
    assert (found.comparisons, found.labelled_again) == (6, 4)
    assert (found.undecided, found.unlabelled) == (1, 1)
    assert found.flipped == proportion(1, 4)
    p, q = found.principles
    assert (p.principle, p.comparisons, p.flips) == ("p", 2, 1)
    assert p.shift == mean([0.2 - 0.9, 0.55 - 0.9])
    assert p.size is not None
    assert p.size.value == pytest.approx(0.525)
    assert p.confidence is not None
    assert p.confidence.value == pytest.approx((-0.1 - 0.35) / 2)
    assert (q.principle, q.comparisons, q.flips) == ("q", 3, 0)
    assert q.shift is not None
    assert (q.shift.n, q.shift.value) == (2, pytest.approx((-0.35 + 0.2) / 2))
    t, u = found.tags
    assert (t.tag, t.old, t.new) == ("t", proportion(5, 5), proportion(2, 5))
    assert t.difference is not None
    assert t.difference.value == pytest.approx(-0.6)
    assert (u.tag, u.old, u.new) == ("u", proportion(0, 1), proportion(0, 1))


def test_correlation_against_numpy_and_a_table() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=28)
    y = x + rng.normal(size=28)
    found = correlation(list(x), list(y))
    assert found is not None
    assert found.value == pytest.approx(np.corrcoef(x, y)[0, 1])
    # z = atanh(r), and 1.96 / sqrt(28 - 3) on each side
    assert np.arctanh(found.low) == pytest.approx(np.arctanh(found.value) - 1.959964 / 5)
    assert np.arctanh(found.high) == pytest.approx(np.arctanh(found.value) + 1.959964 / 5)
    assert correlation([1, 2, 3], [1, 2, 3]) is None
    assert correlation([1, 1, 1, 1], [1, 2, 3, 4]) is None


def test_changes_by_half() -> None:
    asked = {"critique_request": "What is wrong?", "revision_request": "Mend it."}

    def of(*principles: Principle) -> Constitution:
        return Constitution(name="c", principles=principles)

    old = of(
        Principle(id="a", text="Be kind."),
        Principle(id="b", text="Be brief.", **asked),  # type: ignore[arg-type]
        Principle(id="c", text="Be open."),
        Principle(id="same", text="Be fair."),
    )
    new = of(
        Principle(id="same", text="Be fair.", source="elsewhere", tags=("t",)),
        Principle(id="b", text="Be short.", weight=2, **asked),  # type: ignore[arg-type]
        Principle(id="a", text="Be kind.", uses=("comparison",)),
        Principle(id="d", text="Be safe.", uses=("comparison",)),
    )
    found = changes(old, new)
    told = [(c.principle, c.kind, [p.part for p in c.parts]) for c in found.principles]
    assert told == [
        ("c", "removed", ["critique", "revision", "comparison", "weight"]),
        ("a", "changed", ["critique", "revision"]),
        ("b", "changed", ["comparison", "weight"]),
        ("d", "added", ["comparison", "weight"]),
    ]
    assert found.moved
    assert found.touching("critique") == {"a", "c"}
    assert changes(old, old).principles == ()
    assert not changes(old, old).moved
