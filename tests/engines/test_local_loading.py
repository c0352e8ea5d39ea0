from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from constitutional.engines import SamplingParams, TextPrompt, load_engine
from constitutional.engines.local import LocalEngine
from constitutional.errors import ModelError

PROMPTS = [TextPrompt("\n\nHuman: hello\n\nAssistant:"), TextPrompt("x")]


def test_a_loaded_model_answers_as_the_one_in_memory(folder: Path, engine: LocalEngine) -> None:
    """Though the folder's generation settings ask for top_k 1 and a temperature of 0.01."""
    loaded = LocalEngine.load(folder, device="cpu")
    seeds = range(40)
    prompts = PROMPTS * 20
    texts = [c.text for c in loaded.sample(prompts, SamplingParams(4), seeds)]
    assert texts == [c.text for c in engine.sample(prompts, SamplingParams(4), seeds)]
    assert len(set(texts)) > 20
    assert loaded.choice_logprobs(PROMPTS, ("A", "B")) == engine.choice_logprobs(
        PROMPTS, ("A", "B")
    )


def test_the_name_holds_no_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_engine(folder).name == "transformers:tiny"
    assert load_engine(f"transformers:{folder}").name == "transformers:tiny"
    monkeypatch.chdir(folder)
    assert load_engine(".").name == "transformers:tiny"


def test_the_number_format_is_float32_on_a_cpu_unless_asked_otherwise(folder: Path) -> None:
    plain = LocalEngine.load(folder, device="cpu")
    half = LocalEngine.load(folder, device="cpu", dtype="bfloat16")
    assert plain.fingerprint != half.fingerprint
    assert half.sample(PROMPTS, SamplingParams(4), [1, 2])
    with pytest.raises(ModelError, match="did you mean 'bfloat16'"):
        LocalEngine.load(folder, dtype="bloat16")


def test_the_fingerprint_changes_with_what_decides_the_answers(
    folder: Path, tmp_path: Path
) -> None:
    before = LocalEngine.load(folder).fingerprint
    moved = tmp_path / "elsewhere"
    shutil.copytree(folder, moved)
    assert LocalEngine.load(moved).fingerprint == before

    weights = load_file(moved / "model.safetensors")
    first = sorted(weights)[0]
    weights[first].view(-1)[0] += 1e-3
    save_file(weights, moved / "model.safetensors", metadata={"format": "pt"})
    assert LocalEngine.load(moved).fingerprint != before

    for change in (templated, renormalised):
        shutil.rmtree(moved)
        shutil.copytree(folder, moved)
        change(moved)
        assert LocalEngine.load(moved, style="transcript").fingerprint != before


def templated(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ messages }}")


def renormalised(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"rms_norm_eps": 1e-3}))


def test_the_fingerprint_outlives_calls(model: Any, tokenizer: Any) -> None:
    """Padding settings that a call leaves in the tokenizer are no part of it."""
    before = LocalEngine(model, tokenizer, name="tiny").fingerprint
    used = copy.deepcopy(tokenizer)
    used.pad_token = used.eos_token
    special = used.special_tokens_map
    used(["a", "a b c"], padding=True, truncation=True, max_length=3)
    plain = copy.deepcopy(tokenizer)
    plain.pad_token = plain.eos_token
    assert special == plain.special_tokens_map
    after = LocalEngine(model, used, name="tiny").fingerprint
    assert after == LocalEngine(model, plain, name="tiny").fingerprint
    assert len(before) == 64


def test_style_follows_the_template(folder: Path) -> None:
    assert LocalEngine.load(folder).style == "transcript"
    with pytest.raises(ModelError, match="needs a chat template"):
        LocalEngine.load(folder, style="chat")
    templated(folder)
    assert LocalEngine.load(folder).style == "chat"
    assert LocalEngine.load(folder, style="transcript").style == "transcript"


def without(name: str) -> Any:
    return lambda folder: (folder / name).unlink()


def cut_short(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])


def tensor_lost(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def tokenizer_lost(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


def unknown_kind(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "quipu"}')


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without("config.json"), "no model folder: it has no config.json"),
        (without("model.safetensors"), "no weights in safetensors form"),
        (tokenizer_lost, "no tokenizer"),
        (cut_short, "cannot be loaded"),
        (tensor_lost, "lack 1 of the tensors .* model.norm.weight"),
        (unknown_kind, "cannot be loaded"),
        (shutil.rmtree, "no such folder"),
    ],
)
def test_a_folder_that_is_no_model_gets_one_sentence(
    folder: Path, damage: Any, message: str
) -> None:
    damage(folder)
    with pytest.raises(ModelError, match=message) as caught:
        LocalEngine.load(str(folder))
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_a_hub_name_without_a_connection_gets_one_sentence() -> None:
    """In a process of its own, since the libraries read the switch when they are imported."""
    code = "from constitutional.engines import load_engine; load_engine('nobody/no-such-model')"
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    last_line = done.stderr.strip().splitlines()[-1]
    assert last_line.startswith("constitutional.errors.ModelError: nobody/no-such-model")
    assert "cannot be had from the hub" in last_line


def test_code_that_comes_with_a_model_is_not_run(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(f"open({str(folder / 'run')!r}, 'w')\nclass Config: pass\n")
    with pytest.raises(ModelError):
        LocalEngine.load(folder)
    assert not (folder / "run").exists()


def test_unknown_settings_are_errors(folder: Path) -> None:
    with pytest.raises(ModelError, match="no engine is called 'transformer'; did you mean"):
        load_engine("transformer:x")
    with pytest.raises(ModelError, match="style 'prose'"):
        LocalEngine.load(folder, style="prose")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="device 'toaster'"):
        LocalEngine.load(folder, device="toaster")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_an_error(folder: Path) -> None:
    with pytest.raises(ModelError, match="finds no GPU"):
        LocalEngine.load(folder, device="cuda")


def test_threads_that_load_at_once_get_whole_models() -> None:
    """In a process of its own, which transformers would leave without tied weights for good."""
    code = """
from concurrent.futures import ThreadPoolExecutor
from constitutional.engines import load_engine
from constitutional.microworld import data_file

with ThreadPoolExecutor(8) as threads:
    engines = list(threads.map(load_engine, [data_file("helpful"), data_file("pretrained")] * 4))
print(len(engines))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200)
    assert done.stdout.strip() == "8", done.stderr[-2000:]
