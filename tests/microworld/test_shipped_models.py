"""The models that ship, of every size: they are what they are called, load, and answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from constitutional.dialogue import load_prompts, prompt_for
from constitutional.dialogue.transcript import STOP_STRINGS
from constitutional.engines import SamplingParams
from constitutional.engines.local import LocalEngine
from constitutional.errors import InputError
from constitutional.microworld import data_file, model_folders
from constitutional.microworld.oracle import Oracle
from constitutional.microworld.pretrain import SIZES
from constitutional.recipe import resource

BASE = data_file("pretrained")
DATA = BASE.parent
NAMES = [folder.relative_to(DATA).as_posix() for folder in model_folders()]
SHIPPED = {Path(name).parent.name or "base" for name in NAMES}


def folder_of(size: str, name: str) -> Path:
    return data_file(name if size == "base" else f"{size}/{name}")


def test_each_size_that_ships_has_both_models() -> None:
    assert "base" in SHIPPED
    assert set(SIZES) >= SHIPPED
    both = {folder_of(size, name) for size in SHIPPED for name in ("pretrained", "helpful")}
    assert both == set(model_folders())


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_reaches_a_model_that_is_of_its_size(name: str, tmp_path: Path) -> None:
    folder = Path(resource(f"microworld:{name}", tmp_path))
    assert folder == DATA / name
    files = {path.name for path in folder.iterdir()}
    assert files - {"finetune.json"} == {path.name for path in BASE.iterdir()}
    size = SIZES[Path(name).parent.name or "base"]
    config = AutoModelForCausalLM.from_pretrained(folder).config
    assert (config.hidden_size, config.num_hidden_layers) == (size.hidden, size.layers)
    for shared in ("tokenizer.json", "tokenizer_config.json"):
        assert (folder / shared).read_bytes() == (BASE / shared).read_bytes()


@pytest.mark.parametrize("size", sorted(SHIPPED))
def test_the_helpful_model_of_a_size_helps(size: str) -> None:
    engine = LocalEngine.load(folder_of(size, "helpful"), device="cpu")
    file = data_file("prompts/evaluation_helpful.jsonl")
    asked = load_prompts(file, kind="helpful").records[:40]
    texts = [prompt_for(record.conversation, "assistant", "transcript") for record in asked]
    params = SamplingParams(48, 1.0, STOP_STRINGS)
    answers = [c.text for c in engine.sample(texts, params, range(len(texts)))]
    oracle = Oracle()
    verdicts = [
        oracle.judge(record.conversation, answer)
        for record, answer in zip(asked, answers, strict=True)
    ]
    helped = sum(verdict.behaviour == "helps" for verdict in verdicts)
    assert helped >= 0.7 * len(asked)


def test_a_size_that_does_not_ship_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match="no 'pretraind'; did you mean 'pretrained'"):
        data_file("pretraind")
    with pytest.raises(InputError, match="the microworld has no 'huge/pretrained'"):
        data_file("huge/pretrained")
