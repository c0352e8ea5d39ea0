from __future__ import annotations

from typing import Any

import pytest
import torch

from constitutional.dialogue.tokens import continuation_ids
from constitutional.engines import TextPrompt
from constitutional.engines.local import LocalEngine
from constitutional.errors import EngineError

RAGGED = [
    TextPrompt("\n\nHuman: which is better?\n\nAssistant: ("),
    TextPrompt("("),
    TextPrompt("\n\nHuman: Can you tell me how the weather will be tomorrow?\n\nAssistant: ("),
]
SHARED = [TextPrompt(RAGGED[2].text * 2 + tail) for tail in ("A (", "B, or C (", "A (")]


def plain_logprob(model: Any, tokenizer: Any, prompt: TextPrompt, choice: str) -> float:
    """One full forward pass, nothing cached, padded or left out."""
    start = tokenizer.encode(prompt.text)
    ids = start + continuation_ids(tokenizer, prompt, choice)
    with torch.no_grad():
        scores = torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), dim=-1)
    return sum(float(scores[at - 1, ids[at]]) for at in range(len(start), len(ids)))


@pytest.mark.parametrize("name", ["model", "qwen"])
@pytest.mark.parametrize("prompts", [RAGGED, RAGGED[:1], SHARED])
@pytest.mark.parametrize(
    "choices", [("A", "B"), ("A", "is better", "no, neither of the two", "B"), ("zq", "xyzw")]
)
def test_log_probabilities_are_those_of_a_plain_pass(
    name: str,
    prompts: list[TextPrompt],
    choices: tuple[str, ...],
    tokenizer: Any,
    request: pytest.FixtureRequest,
) -> None:
    model = request.getfixturevalue(name)
    found = LocalEngine(model, tokenizer, name="tiny").choice_logprobs(prompts, choices)
    for prompt, scores in zip(prompts, found, strict=True):
        expected = [plain_logprob(model, tokenizer, prompt, choice) for choice in choices]
        assert scores == pytest.approx(expected, abs=1e-5, rel=1e-6)


def test_choices_of_one_and_of_several_tokens_are_really_tested(tokenizer: Any) -> None:
    lengths = [len(tokenizer.encode(c)) for c in ("A", "B", "is better", "zq", "xyzw")]
    assert lengths[:2] == [1, 1]
    assert min(lengths[2:]) > 1


def test_single_tokens_take_one_forward_pass(model: Any, tokenizer: Any) -> None:
    passes: list[int] = []
    engine = LocalEngine(model, tokenizer, name="tiny")
    engine.choice_logprobs(RAGGED[:1], ("A", "B"))  # it tries what the model can
    hook = model.register_forward_pre_hook(lambda *_: passes.append(1))
    engine.choice_logprobs(RAGGED, ("A", "B"))
    hook.remove()
    assert len(passes) == 1


def test_choices_that_are_the_same_tokens_are_an_error(engine: LocalEngine) -> None:
    with pytest.raises(EngineError, match="'A' and 'A' are the same tokens"):
        engine.choice_logprobs(RAGGED, ("A", "B", "A"))


@pytest.mark.parametrize(("choices", "message"), [((), "at least one"), (("A", ""), "no tokens")])
def test_empty_choices_are_errors(
    engine: LocalEngine, choices: tuple[str, ...], message: str
) -> None:
    with pytest.raises(EngineError, match=message):
        engine.choice_logprobs(RAGGED, choices)


def test_a_prompt_that_is_too_long_is_an_error(engine: LocalEngine) -> None:
    with pytest.raises(EngineError, match="256 positions"):
        engine.choice_logprobs([TextPrompt("é" * 128)], ("A", "B"))
