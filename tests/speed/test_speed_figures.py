"""From the rounds of both sides to a line of the results, and to the page."""

from __future__ import annotations

from typing import Any

import pytest
from benchmarks.speed.compare import SideFailed, SideProcess, largest_difference, line_of
from benchmarks.speed.options import Options
from benchmarks.speed.report import merged, put_between_markers, tables
from benchmarks.speed.table import Row

RATE = Row("labels", "labels", "a peer", "labels/s", 3)
TIME = Row("loop", "loop", "a script", "s", 1, less_is_better=True)
CONDITIONS = {
    "date": "2026-01-02",
    "machine": "a machine",
    "threads": 2,
    "model": "a model",
    "versions": "torch 2",
    "load_before": 0.1,
}


def told(seconds: float, **more: Any) -> dict[str, Any]:
    return {
        "seconds": seconds,
        "work": 100,
        "quality": {"loss": seconds},
        "detail": {},
        "parts": {},
        "peak_memory_mb": 10 * seconds,
        **more,
    }


def test_a_line_has_medians_their_ratio_and_the_spread_of_the_rounds() -> None:
    ours = [told(s, arithmetic_floor=1.0, memory_floor=0.5) for s in (2.0, 4.0, 10.0)]
    peer = [told(s) for s in (8.0, 40.0, 20.0)]
    line = line_of(RATE, ours, peer)
    # medians of 50, 25, 10 and of 12.5, 2.5, 5
    assert (line["ours"], line["peer"], line["ratio"]) == (25.0, 5.0, 5.0)
    assert line["spread"] == [2.0, 10.0]
    assert (line["floor_share"], line["memory_floor_share"]) == (0.25, 0.125)
    assert line["ours_quality"] == {"loss": 4.0} and line["peer_peak_memory_mb"] == 200.0


def test_quality_is_told_with_the_spread_of_the_rounds() -> None:
    settings: dict[str, Any] = {"ours_settings": {}, "peer_settings": {}}
    line = line_of(RATE, [told(s) for s in (4.0, 2.0, 9.0)], [told(3.0)] * 3) | settings
    row = tables([line | CONDITIONS]).splitlines()[4]
    assert "| loss 4 (2 to 9) | loss 3 |" in row


def test_of_times_the_shorter_one_wins() -> None:
    line = line_of(TIME, [told(5.0, work=1)], [told(20.0, work=1)])
    assert (line["ours"], line["peer"], line["ratio"]) == (5.0, 20.0, 4.0)
    assert line["floor_share"] is None


def test_log_probabilities_are_compared_text_by_text() -> None:
    ours, peer = {"a": [-1.0, -2.0], "b": [-3.0]}, {"b": [-3.5], "a": [-1.0, -2.25]}
    assert largest_difference(ours, peer) == 0.5
    assert largest_difference({}, {}) is None
    with pytest.raises(ValueError, match="1 texts in common, of 2 and 1"):
        largest_difference(ours, {"a": [-1.0, -2.0]})


def test_new_lines_replace_those_of_their_name_and_others_stay() -> None:
    before = [{"name": "ppo", "ours": 1}, {"name": "chains", "ours": 2}]
    found = merged(before, [{"name": "ppo", "ours": 3}, {"name": "sft", "ours": 4}])
    assert [(line["name"], line["ours"]) for line in found] == [
        ("chains", 2),
        ("sft", 4),
        ("ppo", 3),
    ]


def test_figures_of_different_conditions_stand_in_different_tables() -> None:
    lines = [
        line_of(RATE, [told(2.0)], [told(8.0)]) | {"ours_settings": {}, "peer_settings": {}},
        line_of(TIME, [told(5.0)], [told(20.0)]) | {"ours_settings": {}, "peer_settings": {}},
    ]
    page = tables([lines[0] | CONDITIONS, lines[1] | CONDITIONS | {"threads": 1}])
    assert page.count("| comparison |") == 2
    assert "a machine; 2 threads" in page and "a machine; 1 threads" in page
    assert "| `labels` | 50 | 12.5 | **4.00** | 1 (4.00 to 4.00) | labels/s | a peer |" in page


def test_the_page_keeps_what_is_written_by_hand() -> None:
    page = "before\n<!-- begin x -->\nold\n<!-- end x -->\nafter\n"
    expected = "before\n<!-- begin x -->\n\nnew\n\n<!-- end x -->\nafter\n"
    assert put_between_markers(page, "x", "new") == expected
    assert put_between_markers(expected, "x", "new") == expected
    with pytest.raises(ValueError, match="has no <!-- begin y -->"):
        put_between_markers(page, "y", "new")


def test_a_side_that_fails_says_what_it_said_last(tmp_path: Any) -> None:
    options = Options(work=str(tmp_path), threads=1)
    row = Row("no such comparison", "none", "a peer", "s", 1)
    with (
        pytest.raises(SideFailed, match="KeyError: 'no such comparison'"),
        SideProcess(row, "ours", options),
    ):
        pass
