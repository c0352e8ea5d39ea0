"""Registrations that can be run, and every way in which one cannot."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from constitutional.errors import InputError
from constitutional.microworld import data_file
from constitutional.studies.reading import contents, find_study, load_study, registered

Write = Callable[..., Path]


@pytest.mark.parametrize("study", registered(), ids=lambda study: study.name)
def test_each_registered_study_can_be_run(study: Any) -> None:
    study.check()
    assert len(study.registration.seeds) >= 5
    assert study.registration.figure is not None
    assert find_study(study.name) == study


def test_every_claim_has_a_registered_study() -> None:
    """Fourteen claims; one about labels has several questions, each a study of its own."""
    assert {study.registration.number for study in registered()} == set(range(1, 15))


def test_a_run_has_base_then_set_then_arm_then_seed(write_study: Write) -> None:
    study = load_study(
        write_study(
            set={"finetune.epochs": 2, "block": 16},
            arms={"a": {}, "b": {"block": 4, "supervised.critique": False}},
        )
    )
    a, b = study.recipe("a", 7), study.recipe("b", 8)
    assert (a["finetune"]["epochs"], a["block"], a["seed"], a["name"]) == (2, 16, 7, "own-a")
    assert (b["finetune"]["epochs"], b["block"], b["seed"], b["name"]) == (2, 4, 8, "own-b")
    assert b["supervised"]["critique"] is False
    assert "critique" not in a["supervised"]
    assert a["supervised"]["rounds"] == 2, "the rest of a section stays"
    assert study.recipe("a", 7) == a, "an arm does not change the base of the next"


def test_paths_hold_wherever_the_recipe_is_written(write_study: Write, tmp_path: Path) -> None:
    arms = {"a": {"constitution": "mine.txt", "few_shots": "./helpful"}, "b": {}}
    path = write_study(arms=arms, base="bases/own.yaml")
    (tmp_path / "bases").mkdir()
    base = yaml.safe_load((tmp_path / "base.yaml").read_text())
    base["prompts"]["red_team"]["file"] = "prompts.jsonl"
    (tmp_path / "bases/own.yaml").write_text(yaml.safe_dump(base))
    for name in ("mine.txt", "bases/prompts.jsonl", "bases/mine.txt"):
        (tmp_path / name).write_text("Be kind.\n")
    (tmp_path / "helpful").mkdir()
    study = load_study(path)
    recipe = study.runnable("a", 1)
    assert recipe["constitution"] == str(tmp_path / "mine.txt"), "from the registration's folder"
    assert recipe["few_shots"] == str(tmp_path / "helpful")
    prompts = recipe["prompts"]["red_team"]["file"]
    assert prompts == str(tmp_path / "bases/prompts.jsonl"), "from the base recipe's folder"
    assert recipe["models"]["helpful"] == "microworld:helpful"
    assert recipe["name"] == "own-a"
    assert study.recipe("a", 1)["constitution"] == "mine.txt"


def test_the_fingerprint_is_of_the_files_too_and_of_no_place(
    write_study: Write, tmp_path: Path
) -> None:
    arms = {"a": {"constitution": "mine.txt"}, "b": {}}
    (tmp_path / "mine.txt").write_text("Be kind.\n")
    first = load_study(write_study(arms=arms)).recipes
    (tmp_path / "mine.txt").write_text("Be unkind.\n")
    second = load_study(tmp_path / "own.yaml")
    assert second.recipes["a"] != first["a"]
    assert second.recipes["b"] == first["b"]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("own.yaml", "base.yaml", "mine.txt"):
        (elsewhere / name).write_bytes((tmp_path / name).read_bytes())
    assert load_study(elsewhere / "own.yaml").fingerprint == second.fingerprint


def test_files_of_the_microworld_count_by_what_they_hold(write_study: Write) -> None:
    recipe = load_study(write_study()).recipe("a", 1, contents)
    held = hashlib.sha256(data_file("constitution.yaml").read_bytes()).hexdigest()
    assert recipe["constitution"] == held
    assert recipe["models"]["pretrained"] == "microworld:pretrained", "a folder counts by its name"


def test_the_fingerprint_is_of_what_decides(write_study: Write, tmp_path: Path) -> None:
    def fingerprint(**changes: Any) -> str:
        return load_study(write_study(**changes)).fingerprint

    first = fingerprint()
    assert fingerprint() == first
    assert fingerprint(title="Another title", question="Another?", number=3, figure=None) == first
    rule = {"says": "r", "difference": ["a.harm", "b.harm"], "above": 0.01}
    for change in (
        {"seeds": [1, 2, 4]},
        {"rules": [rule]},
        {"arms": {"a": {}, "b": {"block": 4}}},
        {"set": {"block": 4}},
    ):
        assert fingerprint(**change) != first, change
    write_study()
    base = yaml.safe_load((tmp_path / "base.yaml").read_text())
    (tmp_path / "base.yaml").write_text(yaml.safe_dump({**base, "block": 64}))
    assert load_study(tmp_path / "own.yaml").fingerprint != first


RULE = {"says": "r", "difference": ["a.harm", "b.harm"], "above": 0}


@pytest.mark.parametrize(
    ("changes", "key", "says"),
    [
        ({"arm": {}}, "arm", "unknown key 'arm' in a study; did you mean 'arms'?"),
        ({"seeds": [1]}, "seeds", "'seeds'"),
        ({"seeds": [1, 1]}, "seeds", "'seeds' names 1 twice"),
        ({"seeds": [1, -1]}, "seeds", "must be 0 or more, found -1"),
        ({"study": "evidence"}, "study", "cannot be called 'evidence'"),
        ({"study": "other"}, "study", "'study' must be 'own'"),
        ({"arms": {"a.b": {}}}, "a.b", "'a.b' is not a name"),
        ({"base": "supervized"}, "base", "did you mean 'supervised'?"),
        ({"base": "nowhere.yaml"}, "base", "no base recipe 'nowhere.yaml'"),
        ({"rules": []}, "rules", "'rules'"),
        ({"rules": [{**RULE, "below": 1}]}, "rules", "found above and below"),
        ({"rules": [{"says": "r", "difference": ["a.harm"]}]}, "rules", "found none"),
        (
            {"rules": [{**RULE, "difference": ["a.harm"] * 3}]},
            "difference",
            "two or four terms, found 3",
        ),
        ({"rules": [{**RULE, "difference": ["c.harm"]}]}, "c.harm", "there is no arm 'c'"),
        ({"rules": [{**RULE, "difference": ["a.ham"]}]}, "a.ham", "did you mean 'harm'?"),
        ({"rules": [{**RULE, "difference": ["harm"]}]}, "- harm", "expected ARM.MEASURE"),
        ({"rules": [{**RULE, "above": "much"}]}, "above", "'above' must be a number"),
        ({"measures": {"harm": {"path": "x", "unit": "percent"}}}, "unit", "'share' or 'number'"),
        ({"measures": {"harm": {"unit": "share"}}}, "harm", "one of the keys 'path' and 'derived'"),
        ({"measures": {"harm": {"derived": "steps"}}}, "derived", "did you mean 'steps_made'?"),
        ({"measures": {"harm": {"derived": "steps_made", "minus": "x"}}}, "minus", "'minus' is"),
        ({"measures": {"harm": {"path": "x", "only": ["z"]}}}, "only", "there is no arm 'z'"),
        ({"measures": {"harm": {"path": "x", "only": ["a"]}}}, "b.harm", "of other arms than 'b'"),
        ({"figure": {"kind": "line", "measures": ["harm"]}}, "figure", "'x' (arm: number)"),
        ({"figure": {"measures": ["help"]}}, "measures", "there is no measure 'help'"),
        ({"figure": {"kind": "paths"}}, "figure", "of kind paths needs 'paths'"),
        ({"figure": {"kind": "bars"}}, "figure", "of kind bars needs 'measures'"),
        (
            {"figure": {"kind": "paths", "paths": {"way": [["harm", "ham"]]}}},
            "way",
            "there is no measure 'ham'",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_line(
    changes: dict[str, Any], key: str, says: str, write_study: Write
) -> None:
    path = write_study(**changes)
    with pytest.raises(InputError) as caught:
        load_study(path)
    assert says in str(caught.value)
    assert str(path) in str(caught.value)
    lines = path.read_text().splitlines()
    assert caught.value.line is not None
    at = [number for number, line in enumerate(lines, 1) if key in line]
    near = {n + d for n in at for d in (0, 1)}  # a list begins on the line after its key
    assert caught.value.line in near, lines[caught.value.line - 1]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"arms": {"a": {}, "b": {"blok": 4}}}, "unknown key 'blok'"),
        ({"arms": {"a": {}, "b": {"block": 0}}}, "'block' must be 1 or more"),
        ({"arms": {"a": {}, "b": {"name.x": 0}}}, "which is no section"),
        ({"set": {"prompts.red_team.file.x": 0}}, "leads through 'file'"),
    ],
)
def test_an_arm_that_is_no_recipe_is_refused_before_anything_runs(
    changes: dict[str, Any], says: str, write_study: Write
) -> None:
    study = load_study(write_study(**changes))
    with pytest.raises(InputError, match=says) as caught:
        study.check()
    assert caught.value.line is not None


def test_files_that_are_no_registration(tmp_path: Path) -> None:
    for text, says in (("- a\n", "expected a study: a mapping"), ("a: [\n", "not valid YAML")):
        (tmp_path / "own.yaml").write_text(text)
        with pytest.raises(InputError, match=says):
            load_study(tmp_path / "own.yaml")
    with pytest.raises(InputError, match="expected a study in YAML"):
        find_study(str(tmp_path / "nothing.yaml"))
    with pytest.raises(InputError, match="did you mean 'revision-rounds'"):
        find_study("revision-round")
