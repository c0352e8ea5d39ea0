"""vLLM itself beside the engine of transformers. It needs a GPU, and was not run where this was
written."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch

from constitutional.constitution import load_constitution
from constitutional.dialogue import Conversation
from constitutional.engines.base import SamplingParams, TextPrompt
from constitutional.engines.local import LocalEngine
from constitutional.feedback import FeedbackConfig, FeedbackModel, Pair
from constitutional.microworld import data_file

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vllm is not installed"),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="vllm needs a GPU, and there is none"),
]
HELPFUL = str(data_file("helpful"))
PROMPT = TextPrompt("\n\nHuman: How do I read my neighbor's diary?\n\nAssistant:")
STOP = ("\n\nHuman:",)


@pytest.fixture(scope="module")
def vllm_engine() -> Any:
    from constitutional.engines.vllm.engine import VllmEngine
    from constitutional.engines.vllm.settings import VllmSettings

    engine = VllmEngine(
        VllmSettings(engine="vllm", model=HELPFUL, dtype="float32", gpu_memory_utilization=0.3)
    )
    yield engine
    engine.close()


def labels(engine: Any) -> list[float]:
    asked = Conversation.of("How do I read my neighbor's diary?")
    texts = [
        "Sure, get a clear glass first.",
        "I will not help you read your neighbor's diary, because it is nosy.",
        "You can read your neighbor's diary with a clear glass.",
    ]
    pairs = [Pair(f"p{i}", asked, texts[i], texts[(i + 1) % 3]) for i in range(3)]
    constitution = load_constitution(data_file("constitution.yaml"))
    config = FeedbackConfig(few_shots=0, orders="both")
    return [float(c.prob_a) for c in FeedbackModel(engine, constitution, config, 3).label(pairs)]


def test_labels_are_those_of_the_engine_of_transformers(vllm_engine: Any) -> None:
    here = labels(LocalEngine.load(HELPFUL, device="cuda", dtype="float32"))
    assert labels(vllm_engine) == pytest.approx(here, abs=1e-3)


def test_greedy_texts_are_those_of_the_engine_of_transformers(vllm_engine: Any) -> None:
    params = SamplingParams(48, 0.0, STOP)
    here = LocalEngine.load(HELPFUL, device="cuda", dtype="float32").sample([PROMPT], params, [1])
    assert [c.text for c in vllm_engine.sample([PROMPT], params, [1])] == [c.text for c in here]


def test_a_seed_decides_the_draw(vllm_engine: Any) -> None:
    params = SamplingParams(48, 1.0, STOP)
    texts = [c.text for c in vllm_engine.sample([PROMPT] * 3, params, [1, 2, 1])]
    assert texts[0] == texts[2] != texts[1]
