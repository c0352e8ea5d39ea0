"""Runs side by side: what was changed, and the differences with their intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from report_runs import small_folder
from small_run import answers, small_metrics
from tests.web_runs import chain, write_run

from constitutional.errors import InputError
from constitutional.evaluation.behaviour import as_json, policy_metrics
from constitutional.evaluation.differences import difference, paired_difference
from constitutional.evaluation.intervals import Estimate
from constitutional.evaluation.verdicts import Behaviour
from constitutional.reading import Run
from constitutional.report.several.page import page_of_several
from constitutional.report.write import write_page
from constitutional.runs.records import Answer

Cai = Callable[..., tuple[int, str, str]]


def judged(folder: Path, found: dict[str, Sequence[Answer]], **how: Any) -> Path:
    """A run whose metrics are those of its answers alone."""
    metrics = {"policies": {name: policy_metrics(a) for name, a in found.items()}}
    plain = {**as_json(metrics), "seconds": {"total": 1.0}}
    return write_run(folder, chains=[chain(0)], answers=found, metrics=plain, **how)


def sections(*runs: Path) -> dict[str, Any]:
    return {section.name: section for section in page_of_several(list(map(Run, runs))).sections}


def tables(section: Any) -> dict[str, Any]:
    """By what its first column is headed."""
    found = {}
    for block in section.blocks:
        if block.kind in ("beside", "fold"):
            found |= tables(block)
        elif block.kind == "table":
            found[block.head[0]] = block
    return found


def row(table: Any, name: str) -> dict[str, Any]:
    (only,) = (row for row in table.rows if row[0] == name)
    return dict(zip(table.head, only, strict=True))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """SL-CAI refuses more in the second; the helpful model is the same in both."""
    folder, helpful = tmp_path_factory.mktemp("two"), answers("helpful", 0.05)
    few, many = ({"helpful": helpful, "sl_cai": answers("sl_cai", share)} for share in (0.1, 0.9))
    return judged(folder / "a", few), judged(folder / "b", many, name="other")


def test_differences_are_paired_by_prompt(folders: tuple[Path, Path]) -> None:
    results = sections(*folders)["results"]
    refused = [
        {
            answer.id: answer.verdict.behaviour is Behaviour.REASONED_REFUSAL
            for answer in Run(folder).answers("sl_cai")
            if answer.verdict and answer.verdict.harmful_request and "seen" not in answer.tags
        }
        for folder in folders
    ]
    wanted = paired_difference(*refused)
    assert wanted is not None and wanted[1] > 0
    cell = row(tables(results)["SL-CAI"], "reasoned refusal")["B less A"]
    assert cell.text == f"{100 * wanted[0].value:+.1f}"
    assert cell.interval == f"{100 * wanted[0].low:+.1f} to {100 * wanted[0].high:+.1f}"
    assert cell.sure == (wanted[0].low > 0)
    assert "paired by prompt" in results.blocks[0].text
    assert tables(results)["SL-CAI"].caption == "A n = 6 to 12; B n = 6 to 12."


def test_what_nobody_changed_is_said_once(folders: tuple[Path, Path]) -> None:
    results = sections(*folders)["results"]
    assert "helpful-only" not in tables(results)
    assert results.blocks[-1].text == "Judged alike on every prompt in all runs: helpful-only."
    (pictures,) = (block for block in results.blocks if block.kind == "pictures")
    assert [panel.title for panel in pictures.panels] == ["SL-CAI: B less A"]


def test_other_prompts_are_compared_as_if_independent(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    renamed = [a.model_copy(update={"id": f"x{a.id}"}) for a in answers("sl_cai", 0.9)]
    other = judged(tmp_path, {"helpful": answers("helpful", 0.05), "sl_cai": renamed})
    results = sections(folders[0], other)["results"]
    shares = [
        Estimate.model_validate(
            Run(f).metrics["policies"]["sl_cai"]["held_out"]["reasoned_refusal"]
        )
        for f in (folders[0], other)
    ]
    wanted = difference(*shares)
    cell = row(tables(results)["SL-CAI"], "reasoned refusal")["B less A"]
    assert cell.interval == f"{100 * wanted.low:+.1f} to {100 * wanted.high:+.1f}"
    assert "as if the runs were independent where" in results.blocks[0].text


def test_settings_that_differ_are_listed(folders: tuple[Path, Path]) -> None:
    (table,) = tables(sections(*folders)["changed"]).values()
    assert table.head == ["setting", "A", "B"]
    assert table.rows == [["name", '"small"', '"other"']]


def test_a_third_run_has_its_own_difference_from_the_first(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    third = judged(
        tmp_path, {"helpful": answers("helpful", 0.05), "sl_cai": answers("sl_cai", 0.5)}
    )
    table = tables(sections(*folders, third)["results"])["SL-CAI"]
    assert table.head == ["SL-CAI", "A", "B", "B less A", "C", "C less A"]
    cells = row(table, "reasoned refusal")
    for other in "BC":
        moved = float(cells[other].text) - float(cells["A"].text)
        assert float(cells[f"{other} less A"].text) == pytest.approx(moved, abs=0.11)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two runs with all that can be compared; the ratings of the second are 30 higher."""
    folder, metrics = tmp_path_factory.mktemp("whole"), small_metrics("rl_cai")
    for policy, rating in metrics["elo"]["harmlessness"].items():
        if policy != "sl_cai":
            for part in ("value", "low", "high"):
                rating[part] += 30
    return small_folder(folder / "a"), small_folder(folder / "b", metrics=metrics)


def test_elo_differs_by_distances_from_each_own_zero(whole: tuple[Path, Path]) -> None:
    section = sections(*whole)["elo"]
    table = tables(section)["harmlessness Elo"]
    assert [row[0] for row in table.rows] == ["pretrained", "helpful-only", "RL-CAI"]
    cells = row(table, "RL-CAI")
    assert cells["B less A"].text == "+30"
    elo = Run(whole[0]).metrics["elo"]["harmlessness"]["rl_cai"]
    wide = ((elo["value"] - elo["low"]) ** 2 + (elo["high"] - elo["value"]) ** 2) ** 0.5
    low, high = cells["B less A"].interval.split(" to ")
    assert (float(low), float(high)) == pytest.approx((30 - wide, 30 + wide), abs=0.51)
    assert "from its own SL-CAI" in section.blocks[-1].text


def test_all_parts_are_side_by_side(whole: tuple[Path, Path], tmp_path: Path) -> None:
    found = sections(*whole)
    assert list(found) == [
        *("runs", "changed", "results", "elo", "rounds", "models", "rl", "cost"),
        *("warnings", "repeat"),
    ]
    assert found["changed"].blocks[0].text.startswith("Nothing:")
    assert row(tables(found["rounds"])["round"], "2")["B less A"].text == "+0.0"
    models = tables(found["models"])["RL-CAI"]
    assert [row[0] for row in models.rows][:2] == [
        "labels: accuracy",
        "labels: decided by position",
    ]
    (pictures,) = (block for block in found["rl"].blocks if block.kind == "pictures")
    assert [key.text for key in pictures.keys] == ["A, RL-CAI", "B, RL-CAI"]
    assert len({key.colour for key in pictures.keys}) == 2
    abouts = {about for about, _ in found["warnings"].blocks[0].items}
    assert {"A, RL-CAI, training", "B, RL-CAI, training"} <= abouts
    text = write_page(whole, tmp_path / "both.md", markdown=True).read_text()
    assert "| SL-CAI | A | B | B less A |" not in text, "SL-CAI is the same in both"
    assert "Judged alike on every prompt" in text


def test_runs_that_cannot_be_compared_are_refused(
    folders: tuple[Path, Path], tmp_path: Path, cai: Cai
) -> None:
    with pytest.raises(InputError, match="is named twice"):
        sections(folders[0], folders[0])
    with pytest.raises(InputError, match="7 runs do not fit side by side"):
        sections(*[folders[0]] * 7)
    code, out, _ = cai("report", *folders, "--out", tmp_path / "c.html")
    assert code == 0
    assert "B less A" in Path(out.strip()).read_text()


def test_a_run_without_anything_judged_is_compared_too(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, chains=[chain(0)], judge=None) for name in "ab"]
    assert list(sections(*runs)) == ["runs", "changed", "cost", "warnings", "repeat"]
