"""Data sets in a recipe: by preset, by column map, from the hub."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from constitutional.errors import InputError, RecipeError
from constitutional.inputs import Inputs, load_inputs
from constitutional.recipe import load_recipe

Recipe = Callable[..., Path]
RED_TEAM = "microworld:prompts/supervised_red_team.jsonl"
HELPFUL = {"file": "microworld:prompts/supervised_helpful.jsonl", "limit": 4}
HARM = "How do I read my neighbor's diary?"
WASH = "How do I wash my dog?"


def read(recipe: Path) -> Inputs:
    return load_inputs(load_recipe(recipe), recipe.parent)


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def safe_rlhf(prompt: str, *, both_safe: bool) -> dict[str, Any]:
    return {
        "prompt": prompt,
        "response_0": "Use water.",
        "response_1": "I will not help you.",
        "is_response_0_safe": both_safe,
        "is_response_1_safe": True,
        "response_0_harm_category": {"Privacy Violation": True},
        "response_1_harm_category": {"Privacy Violation": False},
        "better_response_id": 0,
        "safer_response_id": 1,
    }


def test_presets_and_a_column_map_in_a_recipe(small_recipe: Recipe, tmp_path: Path) -> None:
    rows = [safe_rlhf(HARM, both_safe=False), safe_rlhf(WASH, both_safe=True)]
    lines(tmp_path / "safe.jsonl", *rows)
    lines(tmp_path / "own.jsonl", {"question": WASH, "topic": "pets"})
    recipe = small_recipe(
        prompts={
            "red_team": {"preset": "pku-saferlhf", "file": "safe.jsonl"},
            "helpful": {"file": "own.jsonl", "columns": {"prompt": "question", "tags": "topic"}},
        },
        rl={
            "comparisons": {"file": RED_TEAM, "limit": 2},
            "helpfulness": {"preset": "pku-saferlhf", "file": "safe.jsonl"},
            "red_team": {"file": RED_TEAM, "limit": 2},
            "helpful": HELPFUL,
        },
    )
    found = read(recipe)
    assert [record.conversation.last.text for record in found.red_team] == [HARM]
    assert [record.tags for record in found.helpful] == [("pets",)]
    assert found.rl is not None
    best = [pair.a if pair.prob_a == 1 else pair.b for pair in found.rl.helpfulness.comparisons]
    assert best == ["Use water.", "Use water."]
    assert "prompts.red_team: rows left out: 1 (both answers are marked safe)" in found.notes


def test_comparisons_in_the_form_of_trl(small_recipe: Recipe, tmp_path: Path) -> None:
    row = {"prompt": WASH, "chosen": "Use water.", "rejected": "No.", "p_chosen": 0.75}
    lines(tmp_path / "pairs.jsonl", row)
    recipe = small_recipe(
        rl={
            "comparisons": {"file": RED_TEAM, "limit": 2},
            "helpfulness": {"file": "pairs.jsonl"},
            "red_team": {"file": RED_TEAM, "limit": 2},
            "helpful": HELPFUL,
        },
    )
    found = read(recipe).rl
    assert found is not None
    (pair,) = found.helpfulness.comparisons
    assert {pair.a: pair.prob_a, pair.b: 1 - (pair.prob_a or 0)}["Use water."] == 0.75


def test_a_limit_draws_so_many_human_comparisons(small_recipe: Recipe, tmp_path: Path) -> None:
    rows = [{"prompt": f"{WASH} {n}", "chosen": "Water.", "rejected": "No."} for n in range(9)]
    lines(tmp_path / "pairs.jsonl", *rows)

    def drawn(seed: int, limit: int) -> list[str]:
        rl = {
            "comparisons": {"file": RED_TEAM, "limit": 2},
            "helpfulness": {"file": "pairs.jsonl", "limit": limit},
            "red_team": {"file": RED_TEAM, "limit": 2},
            "helpful": dict(HELPFUL),
        }
        found = read(small_recipe(seed=seed, rl=rl)).rl
        assert found is not None
        return [pair.prompt.last.text for pair in found.helpfulness.comparisons]

    assert len(drawn(0, 20)) == 9
    assert drawn(0, 4) == sorted(drawn(0, 4)) and len(set(drawn(0, 4))) == 4
    assert drawn(0, 4) == drawn(0, 4) != drawn(1, 4)


def test_demonstrations_by_preset(small_recipe: Recipe, tmp_path: Path) -> None:
    row = {"instruction": WASH, "input": "", "output": "Use water."}
    lines(tmp_path / "alpaca.jsonl", row, {**row, "output": ""})
    recipe = yaml.safe_load(small_recipe().read_text())
    for key in ("prompts", "evaluation", "constitution", "supervised"):
        del recipe[key]
    recipe["demonstrations"] = {"preset": "alpaca", "file": "alpaca.jsonl"}
    written = tmp_path / "recipe.yaml"
    written.write_text(yaml.safe_dump(recipe))
    found = read(written)
    assert [shown.last.text for shown in found.demonstrations] == ["Use water."]
    assert found.notes == ("demonstrations: rows left out: 1 (the answer is empty)",)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ({"preset": "harmbensh"}, "there is no preset 'harmbensh'; did you mean 'harmbench'"),
        ({"limit": 3}, "needs the key 'file', or 'preset'"),
        ({"file": "x", "columns": {"promt": "q"}}, "'promt' is none; did you mean 'prompt'"),
        ({"file": "x", "columns": {}}, "'columns' is empty"),
        ({"file": "x", "preset": "xstest", "columns": {"prompt": "q"}}, "leave 'columns' out"),
        ({"file": "x", "preset": "xstest", "column": "q"}, "does not stand beside 'preset'"),
        (
            {"file": "x", "columns": {"prompt": "q"}, "column": "q"},
            "does not stand beside 'columns'",
        ),
    ],
)
def test_a_wrong_source_is_refused_with_its_line(
    small_recipe: Recipe, source: dict[str, Any], says: str
) -> None:
    with pytest.raises(RecipeError, match=says) as caught:
        load_recipe(small_recipe(prompts={"red_team": source, "helpful": HELPFUL}))
    assert caught.value.line is not None


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ({"preset": "harmbench"}, "fetch data/behavior_datasets/harmbench_behaviors_text_all.csv"),
        ({"preset": "dolly"}, "'dolly' has no red_team prompts"),
    ],
)
def test_a_preset_that_does_not_serve_is_refused(
    small_recipe: Recipe, source: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        read(small_recipe(prompts={"red_team": source, "helpful": HELPFUL}))
