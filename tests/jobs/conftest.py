from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from constitutional.preference.model import PreferenceModel
from small_models import save_random_model

TEXTS = ["\n\nHuman: Can you say some words?", "\n\nAssistant: well well no, so many words"] * 20


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal LM of random weights, whose answers are of many lengths."""
    folder = save_random_model(tmp_path_factory.mktemp("models") / "llama", "llama", TEXTS)
    settings = folder / "generation_config.json"
    ends = {"eos_token_id": [1, *range(100, 150)]}
    settings.write_text(json.dumps(json.loads(settings.read_text()) | ends))
    return folder


@pytest.fixture(scope="session")
def preference_model(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A preference model of random weights, whose scores are far apart."""
    begun = PreferenceModel.begin(model, style="transcript", seed=1, device="cpu")
    with torch.no_grad():
        begun.network.score.weight.mul_(25)
    moments = {"mean": 0.5, "deviation": 2.0, "scored": 10}
    begun.card = begun.card.model_copy(update=moments)
    folder = tmp_path_factory.mktemp("models") / "preference"
    begun.save(folder)
    return folder
