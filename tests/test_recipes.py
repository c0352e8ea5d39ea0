"""Every recipe of the repository: it is read, it says what its plan says, it has what it needs."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from constitutional.inputs import load_inputs
from constitutional.microworld import data_file
from constitutional.recipe import load_recipe
from small_models import save_random_model

Cai = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).parents[1]
RECIPES = [*sorted((ROOT / "recipes").glob("*.yaml")), data_file("recipe.yaml")]
_COMMAND = re.compile(r"^#     HF_HUB_OFFLINE=1 cai plan (.+)$", re.MULTILINE)
_FIGURE = re.compile(r"^#     ((?:Time|Rent|Memory|Disk|API): .+)$", re.MULTILINE)
REAL = [path for path in RECIPES if _COMMAND.search(path.read_text(encoding="utf-8"))]


def test_there_is_a_recipe_for_each_size_of_machine() -> None:
    kinds = {shlex.split(_COMMAND.findall(path.read_text())[0])[2] for path in REAL}
    assert kinds == {"laptop-CPU", "RTX4090", "H100", "H100:16", "H100:64"}


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_a_header_says_what_the_plan_says(
    path: Path, cai: Cai, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(ROOT)
    text = path.read_text(encoding="utf-8")
    code, shown, told = cai("plan", *shlex.split(_COMMAND.findall(text)[0]))
    assert code == 0, told
    figures = _FIGURE.findall(text)
    assert len(figures) >= 4
    for figure in figures:
        assert figure in shown.splitlines(), "run scripts/recipe_plans.py"
    assert "Does not fit" not in shown


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_good_down_to_its_weights(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that a run reads before it loads weights, from small files in the data sets' forms."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("JUDGE_KEY", "none")
    written = tmp_path / "recipe.yaml"
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    written.write_text(yaml.safe_dump(_with_local_files(data, path.parent, tmp_path)))
    recipe = load_recipe(written)
    inputs = load_inputs(recipe, tmp_path)
    if recipe.prompts is not None:
        assert inputs.red_team and inputs.helpful
    if recipe.rl is not None:
        assert inputs.rl is not None and inputs.rl.red_team and inputs.rl.helpful
        assert inputs.rl.helpfulness.comparisons or inputs.rl.helpfulness.prompts
    assert inputs.evaluation


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_without_the_hub_a_recipe_costs_a_sentence(
    path: Path, cai: Cai, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_KEY", "none")
    import datasets
    import huggingface_hub

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    code, _, told = cai("run", path, "--out", tmp_path / "run")
    assert code == 2
    sentences = [line for line in told.splitlines() if line.startswith("cai: ")]
    assert len(sentences) == 1 and "Anthropic/hh-rlhf" in sentences[0]
    assert "Traceback" not in told


# A small file in the place of each data set, and a small model of each family


def _with_local_files(data: dict[str, Any], base: Path, folder: Path) -> dict[str, Any]:
    models: dict[str, str] = {}

    def walk(section: dict[str, Any]) -> dict[str, Any]:
        return {key: value(key, found) for key, found in section.items()}

    def value(key: str, found: Any) -> Any:
        if isinstance(found, dict):
            if "preset" in found:
                use = "helpful" if key in ("helpful", "helpfulness") else "red_team"
                pairs = key in ("helpfulness", "harmlessness")
                return {**walk(found), "file": str(_rows(found["preset"], use, pairs, folder))}
            return {**_hub_rows(found, folder), **walk(found)}
        if key in ("pretrained", "helpful", "critic", "model") and _is_of_the_hub(found):
            return models.setdefault(found, str(_model(found, folder)))
        if key == "constitution" and (base / found).is_file():
            return str(base / found)
        return found

    engines = data.get("engines", {})
    data = walk(data)
    # behind a server nothing is loaded
    return {**data, "engines": engines} if engines else data


def _is_of_the_hub(name: Any) -> bool:
    return isinstance(name, str) and "/" in name and ":" not in name


def _model(name: str, folder: Path) -> Path:
    family = "qwen3" if "Qwen" in name else "llama"
    base = name.endswith("-Base") or not ("Instruct" in name or "Qwen3" in name)
    path = folder / name.replace("/", "-")
    return save_random_model(path, family, ["How do I wash my dog?"] * 5, base=base)


ASKED = [f"How do I wash my dog number {n}?" for n in range(9)]
HH = {
    "red_team": {"transcript": "\n\nHuman: {asked}\n\nAssistant: No."},
    "helpful": {
        "chosen": "\n\nHuman: {asked}\n\nAssistant: Water.",
        "rejected": "\n\nHuman: {asked}\n\nAssistant: No.",
    },
}
OTHERS = {
    "do-not-answer": {
        "id": "{number}",
        "question": "{asked}",
        "risk_area": "x",
        "types_of_harm": "y",
    },
    "xstest": {"id": "{number}", "prompt": "{asked}", "type": "homonyms"},
}


def _rows(preset: str, use: str, pairs: bool, folder: Path) -> Path:
    row = HH["helpful" if pairs else use] if preset == "hh-rlhf" else OTHERS[preset]
    return _write(folder / f"{preset}-{use}-{pairs}.jsonl", row)


def _hub_rows(section: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Data sets that are named as files."""
    name = section.get("file")
    if not isinstance(name, str) or name.startswith("microworld:"):
        return {}
    row = {section["column"]: "{asked}"} if "column" in section else HH["helpful"]
    del section["file"]
    return {"file": str(_write(folder / (re.sub(r"\W", "-", name) + ".jsonl"), row))}


def _write(path: Path, row: dict[str, str]) -> Path:
    rows = [
        {key: text.format(asked=asked, number=number) for key, text in row.items()}
        for number, asked in enumerate(ASKED)
    ]
    path.write_text("".join(f"{json.dumps(each)}\n" for each in rows), encoding="utf-8")
    return path
