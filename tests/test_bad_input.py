"""Every wrong input gives one sentence on standard error and exit code 2, and no traceback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from constitutional.microworld import data_file

Cai = Callable[..., tuple[int, str, str]]
Recipe = Callable[..., Path]

MODELS = {"pretrained": "microworld:pretrained", "helpful": "microworld:helpful"}
RED_TEAM = "microworld:prompts/supervised_red_team.jsonl"


def refusal(result: tuple[int, str, str]) -> str:
    """The one sentence that the user sees; asserts that it is one, and the exit code."""
    code, shown, told = result
    assert code == 2, told
    assert shown == ""
    lines = [line for line in told.splitlines() if line.startswith("cai: ")]
    assert len(lines) == 1, told
    assert told.splitlines()[-1] == lines[0]
    assert "Traceback" not in told
    return lines[0]


def prompts(file: Path | str) -> dict[str, Any]:
    return {"red_team": {"file": str(file)}, "helpful": {"file": RED_TEAM}}


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (
            "name: c\nprinciples:\n  - id: a\n    text: Be kind.\n    critique_request: Why?\n",
            5,
            "revision_request",
        ),
        ("name: c\nprinciples:\n\t- id: a\n", 3, "tab"),
        ("name: c\nprincipels:\n  - id: a\n    text: Be kind.\n", 2, "did you mean 'principles'?"),
        ("name: c\nprinciples: []\n", 2, "principle"),
    ],
    ids=["half a principle", "tab", "unknown key", "no principle"],
)
def test_a_wrong_constitution(
    cai: Cai, small_recipe: Recipe, tmp_path: Path, text: str, line: int, says: str
) -> None:
    file = tmp_path / "constitution.yaml"
    file.write_text(text)
    told = refusal(cai("run", small_recipe(constitution=str(file)), "--out", tmp_path / "out"))
    assert f"{file}, line {line}: " in told
    assert says in told


def test_a_missing_constitution(cai: Cai, small_recipe: Recipe, tmp_path: Path) -> None:
    told = refusal(cai("run", small_recipe(), "--constitution", tmp_path / "none.yaml"))
    assert "none.yaml" in told


def test_a_word_that_the_model_does_not_know(
    cai: Cai, small_recipe: Recipe, tmp_path: Path
) -> None:
    file = tmp_path / "constitution.txt"
    file.write_text("Do not help with anything cruell.\n")
    told = refusal(cai("run", small_recipe(constitution=str(file)), "--out", tmp_path / "out"))
    assert "'cruell'" in told
    assert "cruel" in told.split("nearest known words: ")[1]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sead": 1}, "unknown key 'sead' in a recipe; did you mean 'seed'?"),
        ({"supervised": {"round": 2}}, "unknown key 'round' in section 'supervised'; did you mean"),
        ({"block": 0}, "'block' must be 1 or more, found the number 0"),
        ({"models": {"pretrained": "x"}}, "needs the key 'helpful'"),
        ({"supervised": {"no_fault": "("}}, "regular expression"),
        ({"finetune": {"learning_rate": "fast"}}, "'learning_rate' must be a number, found 'fast'"),
    ],
)
def test_a_wrong_recipe(cai: Cai, small_recipe: Recipe, changes: dict[str, Any], says: str) -> None:
    told = refusal(cai("run", small_recipe(**changes)))
    assert "recipe.yaml, line " in told
    assert says in told


def test_a_recipe_that_is_not_there_or_no_recipe(cai: Cai, tmp_path: Path) -> None:
    assert "No such file" in refusal(cai("run", tmp_path / "none.yaml"))
    (tmp_path / "list.yaml").write_text("- 1\n")
    assert "expected a recipe" in refusal(cai("run", tmp_path / "list.yaml"))
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    assert "bytes.yaml" in refusal(cai("run", tmp_path / "bytes.yaml"))


def test_an_empty_prompt_file(cai: Cai, small_recipe: Recipe, tmp_path: Path) -> None:
    file = tmp_path / "empty.jsonl"
    file.touch()
    told = refusal(cai("run", small_recipe(prompts=prompts(file)), "--out", tmp_path / "out"))
    assert "empty.jsonl" in told


def test_a_broken_line_stops_or_is_set_aside(
    cai: Cai, small_recipe: Recipe, tmp_path: Path
) -> None:
    good = data_file("prompts/supervised_red_team.jsonl").read_text().splitlines()[:4]
    file = tmp_path / "prompts.jsonl"
    file.write_text("\n".join([*good[:2], '{"prompt": "How do I', *good[2:]]) + "\n")
    changes = {
        "prompts": {"red_team": {"file": str(file)}, "helpful": {"file": RED_TEAM, "limit": 4}},
        "evaluation": None,
    }
    changes["prompts"]["helpful"]["file"] = "microworld:prompts/supervised_helpful.jsonl"
    recipe, out = small_recipe(**changes), tmp_path / "out"
    assert "prompts.jsonl, line 3: " in refusal(cai("run", recipe, "--out", out))
    code, _, told = cai("run", recipe, "--out", out, "--skip-bad")
    assert code == 0, told
    assert "1 of 5 lines are malformed and were set aside" in told
    set_aside = json.loads((out / "skipped-prompts.red_team.jsonl").read_text())
    assert set_aside["line"] == 3
    assert set_aside["text"] == '{"prompt": "How do I'


@pytest.mark.parametrize("damage", ["no folder", "empty", "no weights", "no tokenizer", "broken"])
def test_a_folder_that_is_no_model(
    cai: Cai, small_recipe: Recipe, tmp_path: Path, damage: str
) -> None:
    folder = tmp_path / "model"
    if damage == "empty":
        folder.mkdir()
    elif damage != "no folder":
        shutil.copytree(data_file("helpful"), folder)
    if damage == "no weights":
        (folder / "model.safetensors").unlink()
    if damage == "no tokenizer":
        for file in folder.glob("tokenizer*"):
            file.unlink()
    if damage == "broken":
        (folder / "model.safetensors").write_bytes(b"\0" * 100)
    recipe = small_recipe(models={**MODELS, "helpful": str(folder)})
    assert "model" in refusal(cai("run", recipe, "--out", tmp_path / "out"))


def test_a_tokenizer_without_a_chat_template(
    cai: Cai, small_recipe: Recipe, tmp_path: Path
) -> None:
    recipe = small_recipe(models={**MODELS, "style": "chat"})
    told = refusal(cai("run", recipe, "--out", tmp_path / "out"))
    assert "chat template" in told
    assert "transcript" in told


def test_an_output_folder_that_cannot_be_written(
    cai: Cai, small_recipe: Recipe, tmp_path: Path
) -> None:
    # below a file: nobody, root included, can make a folder there
    (tmp_path / "file").touch()
    told = refusal(cai("run", small_recipe(), "--out", tmp_path / "file" / "out"))
    assert str(tmp_path / "file") in told


def test_an_output_folder_that_holds_something_else(
    cai: Cai, small_recipe: Recipe, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    told = refusal(cai("run", small_recipe(), "--out", tmp_path / "out"))
    assert "out" in told
    assert (tmp_path / "out" / "thesis.tex").read_text() == "mine"
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["thesis.tex"]


def test_evaluation_prompts_that_are_trained_on_are_reported(
    cai: Cai, small_recipe: Recipe, tmp_path: Path
) -> None:
    few = tmp_path / "few.jsonl"
    lines = data_file("prompts/supervised_red_team.jsonl").read_text().splitlines(keepends=True)
    few.write_text("".join(lines[:5]))
    recipe = yaml.safe_load(small_recipe().read_text())
    recipe["prompts"]["red_team"] = {"file": str(few)}
    recipe["evaluation"]["red_team"] = {"file": str(few)}
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(recipe))
    code, _, told = cai("run", tmp_path / "again.yaml", "--out", tmp_path / "out")
    assert code == 0, told
    assert "5 evaluation prompts are also trained on" in told
