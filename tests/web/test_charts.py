"""Where curves stand on their canvas."""

from __future__ import annotations

import math
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from constitutional.web.charts import HEIGHT, WIDTH, Chart, Line, Scale, chart, nice_ticks, points

VALUES = st.floats(-1e6, 1e6, allow_nan=False)


@settings(deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=30))
def test_curves_and_marks_stay_on_the_canvas(values: list[float]) -> None:
    found = Chart("title", [Line("line", [(n, value) for n, value in enumerate(values)])])
    numbers = [float(n) for n in re.findall(r"-?[\d.]+(?:e-?\d+)?", found.path(found.lines[0]))]
    left, right, top, bottom = found.plain
    assert all(left <= x <= right for x in numbers[::2])
    assert all(top <= y <= bottom for y in numbers[1::2])
    marks = [y for y, _ in found.ticks]
    assert 2 <= len(marks) <= 7
    assert all(0 <= y <= HEIGHT for y in marks) and right <= WIDTH
    assert len({text for _, text in found.ticks}) == len(marks) or max(values) - min(values) < 1e-5


def test_marks_are_round_and_hold_all_values() -> None:
    assert nice_ticks(0, 1) == [0, 0.25, 0.5, 0.75, 1.0]
    assert nice_ticks(19.97, 23.44) == [19, 20, 21, 22, 23, 24]
    assert nice_ticks(3, 3) == [1, 2, 3, 4, 5]
    texts = [text for _, text in Chart("t", [Line("l", [(1, 0.0), (2, 0.9)])]).ticks]
    assert texts == ["0.00", "0.25", "0.50", "0.75", "1.00"]


def test_higher_is_above_and_later_is_right() -> None:
    found = Chart("t", [Line("l", [(1, 5.0), (9, 7.0)])])
    assert found.y(7.0) < found.y(5.0) and found.x(9) > found.x(1)


def test_what_is_no_number_is_left_out() -> None:
    history = [
        {"step": 1, "a": 1.0},
        {"step": 2, "a": None},
        {"step": 3, "a": math.nan},
        {"step": 4},
    ]
    assert points(history, "a") == [(1, 1.0)]
    assert chart("t", [Line("l", [])]) is None


def test_a_curve_is_said_in_words() -> None:
    said = Chart("Reward", [Line("RL-CAI", [(1, -0.5), (2, 2.0), (3, 1.0)])]).said
    assert said == (
        "Reward, by step. RL-CAI: −0.500 at step 1, 1.000 at step 3, between −0.500 and 2.000."
    )


def test_intervals_share_a_scale() -> None:
    scale = Scale.of([{"low": -30.0, "high": -10.0}, {"low": 5.0, "high": 50.0}])
    assert 0 < scale.x(-30) < scale.x(0) < scale.x(5) < scale.x(50) < scale.width
