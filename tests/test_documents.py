"""What README and recipes say is what the program does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from constitutional.constitution import load_constitution
from constitutional.recipe import load_recipe

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(language: str, beginning: str) -> str:
    """The block of README that begins so."""
    found = re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)
    return next(text for text in found if text.startswith(beginning))


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_recipe_is_one(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.name == path.stem


def test_the_readme_recipe_and_constitution_are_read(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(block("yaml", "name: my-run"))
    assert load_recipe(tmp_path / "recipe.yaml").supervised.rounds == 4
    (tmp_path / "constitution.yaml").write_text(block("yaml", "name: household"))
    assert len(load_constitution(tmp_path / "constitution.yaml").principles) == 2


def test_the_documented_recipe_has_every_key_and_no_other(tmp_path: Path) -> None:
    guide = (ROOT / "docs/recipes.md").read_text(encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)[0])
    recipe = load_recipe(tmp_path / "recipe.yaml")
    for section in (recipe, recipe.models, recipe.supervised, recipe.rl, recipe.evaluation):
        assert section is not None
        left_out = set(type(section).model_fields) - section.model_fields_set
        left_out -= {"demonstrations"}  # in place of prompts, and described below the recipe
        assert left_out == set(), type(section).__name__
    assert "`demonstrations: FILE`" in guide


def test_the_python_example_prints_what_the_readme_says() -> None:
    example = block("python", "import constitutional as cai")
    done = subprocess.run(
        [sys.executable, "-c", example], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == block("text", "You can read")
