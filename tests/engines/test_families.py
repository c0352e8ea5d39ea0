"""Our sampler and choices against `transformers`' own code, for every family of models.

Batches of different lengths, left padding, caches with windows, capped logits: the greedy tokens
must be those of ``model.generate`` for each prompt alone.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from constitutional.engines import SamplingParams, TextPrompt
from constitutional.engines.local import LocalEngine
from small_models import FAMILIES, WINDOW, random_model, random_tokenizer

TEXTS = [
    "Can you tell me how the weather will be tomorrow?",
    "I can not see the weather, but the forecast can tell you.",
    "Point out what is harmful in the answer.",
] * 20
NEW = 3 * WINDOW
#: Shorter than a window, longer than it, and a shared beginning that is longer than both.
SHARED = (
    "Can you tell me how the harmful forecast in the weather can answer what the weather is? " * 2
)
PROMPTS = ["x", "tell me what is harmful", SHARED + "no", SHARED + "Point out what you see. " * 4]


@pytest.fixture(params=FAMILIES, scope="module")
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def parts(family: str) -> tuple[Any, Any]:
    tokenizer = random_tokenizer(family, TEXTS)
    # wide, so that the likeliest token is far from the next
    return random_model(family, tokenizer, initializer_range=0.3), tokenizer


@pytest.fixture(scope="module")
def engine(parts: tuple[Any, Any]) -> LocalEngine:
    model, tokenizer = parts
    return LocalEngine(model, tokenizer, name="tiny", style="transcript", batch_size=8)


def generated(model: Any, tokenizer: Any, prompt: str, new: int) -> list[int]:
    ids = torch.tensor([tokenizer.encode(prompt)])
    # without a mask transformers takes a beginning token of the number 0 for padding
    mask = torch.ones_like(ids)
    out = model.generate(
        ids, attention_mask=mask, do_sample=False, max_new_tokens=new, pad_token_id=0
    )
    return [int(token) for token in out[0, ids.shape[1] :]]


def test_greedy_tokens_are_those_of_generate(parts: tuple[Any, Any], engine: LocalEngine) -> None:
    model, tokenizer = parts
    lengths = [len(tokenizer.encode(prompt)) for prompt in PROMPTS]
    assert min(lengths) < WINDOW < sorted(lengths)[-2] < max(lengths)
    asked = [TextPrompt(prompt) for prompt in PROMPTS]
    for rows in ([0, 1, 2, 3], [2, 3], [3, 3, 2], [0]):
        found = engine.sample(
            [asked[row] for row in rows], SamplingParams(NEW, temperature=0), [0] * len(rows)
        )
        for row, completion in zip(rows, found, strict=True):
            expected = generated(model, tokenizer, PROMPTS[row], NEW)
            assert list(completion.token_ids) == expected, (rows, row)


def test_choices_are_weighed_as_without_a_cache(
    parts: tuple[Any, Any], engine: LocalEngine
) -> None:
    model, tokenizer = parts
    choices = (" (A)", " the weather tomorrow is harmful, and the forecast can not see it")
    found = engine.choice_logprobs([TextPrompt(prompt) for prompt in PROMPTS], choices)
    for prompt, scores in zip(PROMPTS, found, strict=True):
        for choice, score in zip(choices, scores, strict=True):
            before = tokenizer.encode(prompt)
            whole = tokenizer.encode(prompt + choice)
            assert whole[: len(before)] == before
            with torch.no_grad():
                logits = model(torch.tensor([whole]), use_cache=False).logits[0]
            logprobs = torch.log_softmax(logits.double(), dim=-1)
            expected = sum(
                float(logprobs[at - 1, whole[at]]) for at in range(len(before), len(whole))
            )
            assert score == pytest.approx(expected, abs=1e-4)


def test_log_probabilities_of_what_was_sampled_are_those_of_a_plain_pass(
    parts: tuple[Any, Any], engine: LocalEngine
) -> None:
    model, tokenizer = parts
    params = SamplingParams(NEW, temperature=1.0, logprobs=True)
    found = engine.sample([TextPrompt(prompt) for prompt in PROMPTS], params, range(len(PROMPTS)))
    for prompt, completion in zip(PROMPTS, found, strict=True):
        before = tokenizer.encode(prompt)
        whole = [*before, *completion.token_ids]
        with torch.no_grad():
            logits = model(torch.tensor([whole]), use_cache=False).logits[0]
        expected = torch.log_softmax(logits, dim=-1)[
            range(len(before) - 1, len(whole) - 1), completion.token_ids
        ]
        torch.testing.assert_close(
            torch.tensor(completion.logprobs), expected, atol=1e-3, rtol=1e-3
        )
