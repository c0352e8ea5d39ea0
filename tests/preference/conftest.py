from __future__ import annotations

from pathlib import Path

import pytest
import torch
from preference_pairs import comparison
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from constitutional.preference.model import PreferenceModel
from constitutional.runs.records import Comparison
from small_models import save_random_model

TEXTS = [
    "\n\nHuman: Can you tell me how the weather will be tomorrow?",
    "\n\nAssistant: I can not see the weather, but the forecast can tell you. Sorry and thanks!",
] * 20


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pads with its end token, as many base models do."""
    folder = save_random_model(tmp_path_factory.mktemp("models") / "qwen", "qwen3", TEXTS)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Has no pad token, and puts its beginning token before every text."""
    folder = save_random_model(tmp_path_factory.mktemp("models") / "llama", "llama", TEXTS)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    begin = tokenizer.bos_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{begin} $A", special_tokens=[(begin, tokenizer.bos_token_id)]
    )
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(
    scope="session", params=["llama-transcript", "llama-chat", "qwen-transcript", "qwen-chat"]
)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A preference model whose scores are several units apart, as after a training."""
    name, _, style = request.param.partition("-")
    model = PreferenceModel.begin(request.getfixturevalue(name), style=style, seed=1, device="cpu")
    with torch.no_grad():
        model.network.score.weight.mul_(25)
    model.card = model.card.model_copy(update={"mean": 0.5, "deviation": 2.0, "scored": 10})
    folder = tmp_path_factory.mktemp("preference") / request.param
    model.save(folder)
    return folder


@pytest.fixture(scope="session")
def comparisons() -> list[Comparison]:
    """Twenty-four, of very different lengths; the better one is polite."""
    return [comparison(n, prob_a=float(n % 2)) for n in range(24)]
