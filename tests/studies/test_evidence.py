"""The evidence document: from results of the registration as it stands, and from no others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from constitutional.errors import InputError
from constitutional.studies.evidence import find_results, write_evidence
from constitutional.studies.reading import Study, find_study, load_study
from constitutional.studies.results import Results, conclude, write_results

Write = Callable[..., Path]
Cai = Callable[..., tuple[int, str, str]]
A, B = {1: 0.50, 2: 0.54, 3: 0.52}, {1: 0.20, 2: 0.22, 3: 0.24}


def results_of(study: Study, values: Any, **more: Any) -> Results:
    seeds = {seed for arm in values.values() for m in arm.values() for seed in m}
    runs = sum(len(m) for arm in values.values() for m in list(arm.values())[:1])
    given = {"failures": {}, "runs": runs, "seconds": 90.0, "versions": {}, **more}
    return conclude(study, values, seeds=tuple(sorted(seeds)), **given)


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    return tmp_path / "docs"


@pytest.fixture
def study(write_study: Write) -> Study:
    rules = [
        {"says": "b does | less", "difference": ["a.harm", "b.harm"], "above": 0},
        {"says": "b does little", "difference": ["b.harm"], "below": 0.3},
    ]
    return load_study(write_study(rules=rules))


def test_a_section_has_everything(study: Study, docs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_results(study, results_of(study, {"a": {"harm": A}, "b": {"harm": B}}), out)
    write_evidence([study], out, docs)
    text = (docs / "evidence.md").read_text()
    # differences 0.30, 0.32, 0.28: mean 0.30, s 0.02, t(0.975, 2) = 4.303: half width 0.0497
    for expected in (
        "## 1. Two blocks",
        "**Question.** Does a larger block do less harm?",
        "**Claim.** Nobody has said so.",
        "- b does \\| less: `a.harm` − `b.harm` above 0",
        "**Verdict: holds.**",
        "| b does \\| less | `a.harm` − `b.harm` | above 0 | +30.0 (+25.0 to +35.0) points | 3 |",
        "| b does little | `b.harm` | below 0.3 | 22.0 (17.0 to 27.0) % | 3 | holds |",
        "| arm | harm, % |",
        "| a | 52.0 (47.0 to 57.0), n = 3 |",
        "![Two blocks](images/studies/own.svg)",
        f"Again: `cai study {study.path}`. 6 runs took 2 min of one core.",
    ):
        assert expected in text, expected
    assert "missing" not in text
    assert "<svg" in (docs / "images/studies/own.svg").read_text()
    assert [p.name for p in (docs / "images/studies").iterdir()] == ["own.svg"]
    data = json.loads((docs / "evidence.json").read_text())["own"]
    assert set(data) >= {"verdict", "arms", "estimates", "seeds"}
    assert data["verdict"] == "holds"
    assert data["seeds"] == [1, 2, 3]
    assert data["arms"]["a"]["harm"]["value"] == pytest.approx(0.52)
    first = data["estimates"][0]
    assert (first["n"], first["verdict"]) == (3, "holds")
    assert first["low"] == pytest.approx(0.30 - 4.303 * 0.02 / 3**0.5)


def test_paths_are_drawn_in_a_panel_for_each_arm(
    write_study: Write, docs: Path, tmp_path: Path
) -> None:
    paths = {"rl_cai": [["help", "harm"], ["late", "harm"]], "never_run": [["gone", "harm"]]}
    study = load_study(
        write_study(
            measures={name: f"elo.{name}" for name in ("help", "harm", "late", "gone")},
            rules=[{"says": "r", "difference": ["a.harm"], "above": 0}],
            figure={"kind": "paths", "paths": paths, "x_label": "across", "y_label": "up"},
        )
    )
    values = {arm: {"help": A, "harm": B, "late": A} for arm in ("a", "b")}
    write_results(study, results_of(study, values), tmp_path / "out")
    write_evidence([study], tmp_path / "out", docs)
    drawn = (docs / "images/studies/own.svg").read_text()
    for text, times in (("across", 2), (">up<", 1), (">a<", 1), (">b<", 1), ("RL-CAI", 1)):
        assert drawn.count(text) == times, text
    assert "never" not in drawn


def test_many_measures_have_rows(write_study: Write, docs: Path, tmp_path: Path) -> None:
    names = [f"m{number}" for number in range(11)]
    rules = [{"says": "r", "difference": ["a.m0"], "above": 0}]
    study = load_study(
        write_study(measures=dict.fromkeys(names, "x"), rules=rules, figure={"measures": ["m0"]})
    )
    values = {"a": dict.fromkeys(names, A), "b": {"m3": B}}
    write_results(study, results_of(study, values), tmp_path / "out")
    write_evidence([study], tmp_path / "out", docs)
    text = (docs / "evidence.md").read_text()
    assert "| arm | a | b |" in text
    assert "| m3, % | 52.0 (47.0 to 57.0), n = 3 | 22.0 (17.0 to 27.0), n = 3 |" in text
    assert "| m4, % | 52.0 (47.0 to 57.0), n = 3 |  |" in text


def test_what_somebody_noticed_stands_at_its_study(
    study: Study, docs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    write_evidence([study], out, docs)
    assert "Noticed" not in (docs / "evidence.md").read_text()
    (docs / "evidence/own.md").write_text("It is *odd*.\n")
    write_results(study, results_of(study, {"a": {"harm": A}, "b": {"harm": B}}), out)
    write_evidence([study], out, docs)
    assert (
        "\n\n**Noticed beside the rules.** It is *odd*.\n\n" in (docs / "evidence.md").read_text()
    )


def test_the_document_can_be_made_again_from_itself(
    study: Study, docs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    write_results(study, results_of(study, {"a": {"harm": A}, "b": {"harm": B}}), out)
    write_evidence([study], out, docs)
    files = ("evidence.md", "evidence.json", "evidence/own.json", "images/studies/own.svg")
    before = [(docs / name).read_bytes() for name in files]
    write_evidence([study], tmp_path / "nowhere", docs)
    assert [(docs / name).read_bytes() for name in files] == before


def test_fewer_seeds_than_registered_are_said(study: Study, docs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    values = {"a": {"harm": A}, "b": {"harm": {1: 0.2, 2: 0.22}}}
    failures = {"b/3": "no space | is left"}
    write_results(study, results_of(study, values, failures=failures), out)
    write_evidence([study], out, docs)
    text = (docs / "evidence.md").read_text()
    assert "Some of the 3 registered seeds are missing: b without 3." in text
    assert "Failed: b/3 (no space \\| is left)." in text
    assert json.loads((docs / "evidence.json").read_text())["own"]["estimates"][0]["n"] == 2
    # the fuller results, wherever they lie, are not replaced by fewer
    write_results(study, results_of(study, {"a": {"harm": A}, "b": {"harm": B}}), out)
    write_evidence([study], out, docs)
    write_results(study, results_of(study, values), out)
    found = find_results(study, out, docs).results
    assert found is not None and found.runs == 6


def test_results_of_another_registration_are_not_used(
    study: Study, write_study: Write, docs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    write_results(study, results_of(study, {"a": {"harm": A}, "b": {"harm": B}}), out)
    now = load_study(write_study(seeds=[1, 2, 3, 4]))
    (found,) = write_evidence([now], out, docs)
    assert found.results is None
    text = (docs / "evidence.md").read_text()
    assert "**Not run yet.**" in text
    assert "are of another registration" in text
    assert json.loads((docs / "evidence.json").read_text()) == {}


def test_a_verdict_is_never_read_but_made_from_the_seeds(
    study: Study, docs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    write_results(study, results_of(study, {"a": {"harm": B}, "b": {"harm": A}}), out)
    path = out / "own/study.json"
    data = json.loads(path.read_text())
    assert data["verdict"] == "does not hold"
    data["verdict"] = "holds"
    data["rules"][0].update(verdict="holds", found={"value": 1, "low": 1, "high": 1, "n": 3})
    path.write_text(json.dumps(data))
    write_evidence([study], out, docs)
    found = json.loads((docs / "evidence.json").read_text())["own"]
    assert found["verdict"] == "does not hold"
    assert found["estimates"][0]["value"] == pytest.approx(-0.30)


def test_damaged_results_are_one_sentence(study: Study, docs: Path, tmp_path: Path) -> None:
    (docs / "evidence").mkdir()
    (docs / "evidence/own.json").write_text("{}")
    with pytest.raises(InputError, match=r"own\.json: expected the results of a study"):
        find_results(study, tmp_path, docs)


def test_the_list_and_the_command(cai: Cai, docs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, shown, _ = cai("study", "--out", out, "--docs", docs)
    assert code == 0
    for expected in ("revision-rounds", "Harm by round", " min"):
        assert expected in " ".join(shown.split())

    code, shown, told = cai("study", "evidence", "--out", out, "--docs", docs)
    assert (code, shown.strip()) == (0, str(docs / "evidence.md")), told
    assert "**Not run yet.**" in (docs / "evidence.md").read_text()
    assert json.loads((docs / "evidence.json").read_text()) == {}

    study = find_study("revision-rounds")
    falling = {f"round_{k}": dict.fromkeys((201, 202), 0.5 / 10**k) for k in range(5)}
    falls = {"first_fall": {201: 0.45, 202: 0.44}, "later_falls": {201: 0.04, 202: 0.05}}
    results = results_of(study, {"revised": {**falling, **falls}}, seconds=240.0)
    write_results(study, results, out)
    code, shown, _ = cai("study", "--out", out, "--docs", docs)
    assert "2 of 5" in " ".join(shown.split())
    assert " min" in shown

    code, _, told = cai("study", "evidence", "--docs", tmp_path / "nowhere")
    assert code == 2 and "there is no such folder" in told
    code, _, told = cai("study", "revision-rounds", "--only", "other")
    assert code == 2 and "has no arm 'other'" in told
