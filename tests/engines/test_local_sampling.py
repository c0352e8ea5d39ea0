from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NoReturn

import pytest
import torch

from constitutional.dialogue import prompt_ids
from constitutional.engines import (
    ChatPrompt,
    Completion,
    Engine,
    Message,
    SamplingParams,
    TextPrompt,
)
from constitutional.engines.decoding import Ending, decode
from constitutional.engines.local import LocalEngine
from constitutional.engines.padded import LeftPaddedRows
from constitutional.engines.rows import CausalModel
from constitutional.engines.sampler import next_tokens, uniforms
from constitutional.errors import EngineError

PROMPTS = [
    TextPrompt("\n\nHuman: hello\n\nAssistant:"),
    TextPrompt("\n\nHuman: what is the weather?\n\nAssistant:"),
    TextPrompt("x"),
]
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LONG_BEGINNING = "\n\nHuman: Can you tell me how the weather will be?\n\nAssistant: no" * 2


def greedy(engine: LocalEngine, prompts: list[TextPrompt], steps: int) -> list[Completion]:
    return engine.sample(prompts, SamplingParams(steps, temperature=0), [0] * len(prompts))


def generated(model: Any, tokenizer: Any, prompt: TextPrompt, steps: int) -> str:
    ids = torch.tensor([tokenizer.encode(prompt.text)])
    out = model.generate(ids, do_sample=False, max_new_tokens=steps, pad_token_id=0)
    return str(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))


def plain_distribution(model: Any, tokenizer: Any, text: str) -> torch.Tensor:
    with torch.no_grad():
        logits = model(torch.tensor([tokenizer.encode(text)])).logits[0, -1]
    return torch.softmax(logits.double(), dim=-1)


def with_end(tokenizer: Any, end: str) -> Any:
    changed = copy.deepcopy(tokenizer)
    changed.eos_token = end
    return changed


@pytest.mark.parametrize("name", ["model", "qwen"])
@pytest.mark.parametrize("beginning", ["", LONG_BEGINNING])
def test_greedy_is_that_of_generate(
    name: str, beginning: str, tokenizer: Any, request: pytest.FixtureRequest
) -> None:
    """Ragged prompts, one of them twice; with the beginning, they share a long prefix."""
    model = request.getfixturevalue(name)
    prompts = [TextPrompt(beginning + p.text) for p in (*PROMPTS, PROMPTS[0])]
    if beginning:
        prompts.append(TextPrompt(beginning))  # shared by all, and nothing left of it
    engine = LocalEngine(model, tokenizer, name="tiny")
    expected = [generated(model, tokenizer, prompt, 24) for prompt in prompts]
    assert [c.text for c in greedy(engine, prompts, 24)] == expected
    assert len(set(expected)) == len(prompts) - 1


def test_what_is_sampled_aloud_is_what_is_sampled(model: Any, tokenizer: Any) -> None:
    """Three prompts, two at a time, one that a stop string ends: every text grows to its end."""
    engine = LocalEngine(model, tokenizer, name="tiny", batch_size=2)
    silent = engine.sample(PROMPTS, SamplingParams(16), [5, 6, 7])
    stop = silent[0].text[6:8]
    params = SamplingParams(16, stop=(stop,))
    heard: dict[int, list[str]] = {0: [], 1: [], 2: []}
    aloud = engine.sample_aloud(
        PROMPTS, params, [5, 6, 7], lambda number, text: heard[number].append(text)
    )
    assert aloud == engine.sample(PROMPTS, params, [5, 6, 7])
    assert aloud[0].ended == "stop"
    for number, completion in enumerate(aloud):
        texts = heard[number][: completion.tokens]
        assert len(texts) == completion.tokens
        assert texts[-1] == completion.text
        assert texts[0] != completion.text and len(texts[0]) < len(texts[-1])


def test_a_listener_ends_a_request(model: Any, tokenizer: Any) -> None:
    engine = LocalEngine(model, tokenizer, name="tiny")
    heard: list[str] = []

    def stop_at_three(_: int, text: str) -> None:
        heard.append(text)
        if len(heard) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.sample_aloud(PROMPTS[:1], SamplingParams(16), [5], stop_at_three)
    assert len(heard) == 3
    again = engine.sample(PROMPTS[:1], SamplingParams(16), [5])
    assert again[0].text.startswith(heard[1])


def test_sampled_frequencies_follow_the_softmax(model: Any, tokenizer: Any) -> None:
    """Pearson's statistic over 4000 draws of one token stays within 5 sigma of its mean.

    For k cells it has mean k - 1 and variance 2 (k - 1); a false alarm is well below 1 in 10,000,
    and the seeds are fixed, so that it happens always or never.
    """
    n = 4000
    prompt = PROMPTS[1]
    expected = plain_distribution(model, tokenizer, prompt.text) * n
    ids = draw_tokens(model, tokenizer, prompt, n)
    counts = torch.bincount(ids, minlength=len(expected)).double()
    big = expected >= 5
    cells = torch.cat([expected[big], expected[~big].sum()[None]])
    found = torch.cat([counts[big], counts[~big].sum()[None]])
    freedom = len(cells) - 1
    assert freedom > 20
    assert ((found - cells) ** 2 / cells).sum() < freedom + 5 * (2 * freedom) ** 0.5


def draw_tokens(model: Any, tokenizer: Any, prompt: TextPrompt, n: int) -> torch.Tensor:
    ids = [tokenizer.encode(prompt.text)] * n
    params = SamplingParams(1)
    ending = Ending(tokenizer, [0], ())
    rows = decode(
        LeftPaddedRows(CausalModel(model), 1), ids, uniforms(range(n), 1), params, ending, n
    )
    return torch.tensor([row.tokens[0] for row in rows])


def test_temperature_divides_the_logits() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0]]).repeat(3, 1)
    sharp = torch.softmax(logits[0].double() / 0.5, dim=-1).cumsum(-1)
    draws = torch.stack([sharp[0] - 1e-6, sharp[0] + 1e-6, sharp[1] + 1e-6])
    assert next_tokens(logits, 0.5, draws).tolist() == [0, 1, 2]


def test_a_token_of_probability_zero_is_never_taken() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]]).repeat(3, 1)
    draws = torch.tensor([0.0, 0.5, 1 - 2**-53], dtype=torch.float64)
    assert next_tokens(logits, 1.0, draws).tolist() == [1, 3, 3]


def test_a_text_does_not_depend_on_what_stands_beside_it(model: Any, tokenizer: Any) -> None:
    params = SamplingParams(30, stop=("e",))
    others = [TextPrompt(f"{'weather ' * (i % 9)}{i}") for i in range(63)]
    for position, prompt in enumerate(PROMPTS):
        engine = LocalEngine(model, tokenizer, name="tiny", batch_size=64)
        seed = 1000 + position
        alone = engine.sample([prompt], params, [seed])[0]
        three = engine.sample([others[5], prompt, others[6]], params, [5, seed, 6])[1]
        many = engine.sample([*others, prompt], params, [*range(63), seed])[-1]
        turned = engine.sample([prompt, *others[::-1]], params, [seed, *range(62, -1, -1)])[0]
        engine.batch_size = 7
        sliced = engine.sample([*others, prompt], params, [*range(63), seed])[-1]
        assert alone == three == many == turned == sliced


def test_seeds_decide(engine: LocalEngine) -> None:
    params = SamplingParams(12)
    texts = [c.text for c in engine.sample([PROMPTS[0]] * 8, params, range(8))]
    again = [c.text for c in engine.sample([PROMPTS[0]] * 8, params, range(8))]
    assert texts == again
    assert len(set(texts)) == 8
    same = engine.sample([PROMPTS[0]] * 2, params, [3, 3])
    assert same[0] == same[1]


@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.0])
def test_logprobs_are_those_of_the_drawn_tokens(
    model: Any, tokenizer: Any, temperature: float
) -> None:
    """Against one plain forward pass over prompt and answer; ragged, ending at different steps."""
    engine = LocalEngine(model, tokenizer, name="tiny")
    params = SamplingParams(20, temperature, stop=("e",), logprobs=True)
    for prompt, completion in zip(
        PROMPTS, engine.sample(PROMPTS, params, range(len(PROMPTS))), strict=True
    ):
        ids = tokenizer.encode(prompt.text)
        assert len(completion.token_ids) == len(completion.logprobs) == completion.tokens
        with torch.inference_mode():
            logits = model(torch.tensor([[*ids, *completion.token_ids]])).logits[
                0, len(ids) - 1 : -1
            ]
        drawn = torch.tensor(completion.token_ids)[:, None]
        expected = torch.log_softmax(logits / (temperature or 1.0), -1).gather(-1, drawn)[:, 0]
        assert torch.allclose(torch.tensor(completion.logprobs), expected, atol=1e-4)


def test_length_end(engine: LocalEngine) -> None:
    completion = greedy(engine, [PROMPTS[0]], 5)[0]
    assert (completion.ended, completion.tokens) == ("length", 5)


def test_every_end_token_ends_a_text(model: Any, tokenizer: Any) -> None:
    """Each token that greedy decoding would write is made the end token in turn.

    Once by the tokenizer, once by the generation settings, which also hold the usual one.
    """
    ids = torch.tensor([tokenizer.encode(PROMPTS[0].text)])
    out = model.generate(ids, do_sample=False, max_new_tokens=8, pad_token_id=0)
    tokens = out[0, ids.shape[1] :].tolist()
    first = tokens.index(tokens[5])
    text = tokenizer.decode(tokens[:first], skip_special_tokens=True)

    by_tokenizer = with_end(tokenizer, tokenizer.convert_ids_to_tokens(tokens[5]))
    engine = LocalEngine(model, by_tokenizer, name="tiny")
    assert greedy(engine, [PROMPTS[0]], 8)[0] == Completion(
        text, "eos", first + 1, tuple(tokens[: first + 1])
    )

    by_settings = copy.deepcopy(model)
    by_settings.generation_config.eos_token_id = [0, tokens[5]]
    engine = LocalEngine(by_settings, tokenizer, name="tiny")
    assert greedy(engine, [PROMPTS[0]], 8)[0] == Completion(
        text, "eos", first + 1, tuple(tokens[: first + 1])
    )


def test_stop_strings_of_every_place_and_length(
    engine: LocalEngine, model: Any, tokenizer: Any
) -> None:
    """Every substring of a greedy text stops it where it first occurs, straddling tokens or not."""
    text = generated(model, tokenizer, PROMPTS[0], 24)
    pieces = {text[i : i + n] for i in range(len(text)) for n in (1, 2, 3, 7) if i + n <= len(text)}
    for stop in sorted(pieces):
        if "�" in stop:
            continue
        params = SamplingParams(24, temperature=0, stop=("never to be found", stop))
        completion = engine.sample([PROMPTS[0]], params, [0])[0]
        assert completion.text == text[: text.index(stop)]
        assert completion.ended == "stop"
        assert tokens_until(tokenizer, model, stop) == completion.tokens


def tokens_until(tokenizer: Any, model: Any, stop: str) -> int:
    """How many greedy tokens it takes until their text holds ``stop``."""
    ids = torch.tensor([tokenizer.encode(PROMPTS[0].text)])
    out = model.generate(ids, do_sample=False, max_new_tokens=24, pad_token_id=0)
    tokens = out[0, ids.shape[1] :].tolist()
    texts = (tokenizer.decode(tokens[:n], skip_special_tokens=True) for n in range(1, 25))
    return next(n for n, text in enumerate(texts, start=1) if stop in text)


def test_the_earliest_of_several_stop_strings_cuts(engine: LocalEngine) -> None:
    text = greedy(engine, [PROMPTS[0]], 24)[0].text
    once = [c for c in text if text.count(c) == 1 and c != "�"]
    stops = (once[-1], once[0])
    params = SamplingParams(24, temperature=0, stop=stops)
    found = engine.sample([PROMPTS[0]], params, [0])[0].text
    assert found == text[: min(text.index(stop) for stop in stops)]
    assert text.index(stops[1]) < text.index(stops[0])


def test_a_chat_is_rendered_by_its_template(model: Any, tokenizer: Any) -> None:
    chatty = copy.deepcopy(tokenizer)
    chatty.chat_template = CHAT_TEMPLATE
    engine = LocalEngine(model, chatty, name="tiny")
    assert engine.style == "chat"
    prompt = ChatPrompt((Message("user", "hello"),), answer_prefix="Well,")
    text = "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\nWell,"
    assert prompt_ids(chatty, prompt) == chatty(text, add_special_tokens=False)["input_ids"]
    (answer,) = engine.sample([prompt], SamplingParams(10), [4])
    assert answer.tokens > 0


def test_a_model_in_training_is_sampled_without_dropout_and_stays_in_training(
    model: Any, tokenizer: Any
) -> None:
    training = copy.deepcopy(model).train()
    for layer in training.model.layers:
        layer.self_attn.attention_dropout = 0.9
    expected = LocalEngine(model, tokenizer, name="tiny").sample(
        PROMPTS, SamplingParams(8), [1, 2, 3]
    )
    found = LocalEngine(training, tokenizer, name="tiny").sample(
        PROMPTS, SamplingParams(8), [1, 2, 3]
    )
    assert found == expected
    assert training.training


def no_memory() -> NoReturn:
    """What torch raises on a CPU: an array of a million million numbers."""
    torch.empty(2**60, dtype=torch.uint8)
    raise AssertionError("there was memory")


def no_gpu_memory() -> NoReturn:
    raise torch.OutOfMemoryError


def no_python_memory() -> NoReturn:
    raise MemoryError


@pytest.mark.parametrize("fail", [no_memory, no_gpu_memory, no_python_memory])
def test_out_of_memory_halves_the_batch(
    fail: Callable[[], NoReturn],
    model: Any,
    tokenizer: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    small = copy.deepcopy(model)

    def refuse(module: Any, args: Any, kwargs: Any) -> None:
        if len(kwargs["layout"].rows) > 3:
            fail()

    prompts = [TextPrompt(f"{i} weather") for i in range(20)]
    expected = LocalEngine(model, tokenizer, name="a").sample(prompts, SamplingParams(6), range(20))
    engine = LocalEngine(small, tokenizer, name="tiny", batch_size=16)
    engine.sample(prompts[:1], SamplingParams(1), [0])  # it tries what the model can
    small.register_forward_pre_hook(refuse, with_kwargs=True)
    assert engine.sample(prompts, SamplingParams(6), range(20)) == expected
    assert engine.batch_size == 2
    told = capsys.readouterr().err.splitlines()
    assert [line.split(" requests at once: ")[0][-2:] for line in told] == ["16", " 8", " 4"]
    assert told[-1] == (
        "Note: transformers:tiny ran out of memory on 4 requests at once: from here on it takes 2."
    )


def test_another_failure_is_no_lack_of_memory(model: Any, tokenizer: Any) -> None:
    def break_off(*args: Any) -> None:
        raise RuntimeError("the memory of this test")

    broken = copy.deepcopy(model)
    broken.register_forward_pre_hook(break_off)
    engine = LocalEngine(broken, tokenizer, name="tiny")
    with pytest.raises(RuntimeError, match="of this test"):
        greedy(engine, PROMPTS, 3)


def test_no_memory_for_a_single_request_is_an_error(model: Any, tokenizer: Any) -> None:
    def refuse(*args: Any) -> None:
        raise torch.OutOfMemoryError

    broken = copy.deepcopy(model)
    broken.register_forward_pre_hook(refuse)
    with pytest.raises(EngineError, match="out of memory on a single request"):
        greedy(LocalEngine(broken, tokenizer, name="tiny"), PROMPTS, 3)


def test_broken_weights_are_an_error(model: Any, tokenizer: Any) -> None:
    broken = copy.deepcopy(model)
    broken.lm_head.weight.data.fill_(torch.nan)
    engine = LocalEngine(broken, tokenizer, name="tiny")
    for temperature in (0.0, 1.0):
        with pytest.raises(EngineError, match="not finite"):
            engine.sample(PROMPTS[:1], SamplingParams(3, temperature=temperature), [0])
    with pytest.raises(EngineError, match="not finite"):
        engine.choice_logprobs(PROMPTS[:1], ["a", "b"])


def test_a_prompt_that_is_too_long_is_an_error(engine: LocalEngine, tokenizer: Any) -> None:
    prompt = TextPrompt("é" * 126)  # two bytes, two tokens each
    assert len(tokenizer.encode(prompt.text)) == 252
    assert greedy(engine, [prompt], 4)[0].tokens <= 4
    with pytest.raises(EngineError, match=r"prompt 1 .* 252 tokens.* 5 new .* 256 positions"):
        greedy(engine, [PROMPTS[0], prompt], 5)


@pytest.mark.parametrize(
    ("params", "seeds", "message"),
    [
        (SamplingParams(3), [1, 2], "1 prompts, 2 seeds"),
        (SamplingParams(3), [-1], "negative"),
        (SamplingParams(0), [1], "max_new_tokens"),
        (SamplingParams(3, temperature=-1), [1], "temperature"),
        (SamplingParams(3, temperature=float("nan")), [1], "temperature"),
        (SamplingParams(3, stop=("",)), [1], "stop string is empty"),
    ],
)
def test_senseless_requests_are_errors(
    engine: LocalEngine, params: SamplingParams, seeds: list[int], message: str
) -> None:
    with pytest.raises(EngineError, match=message):
        engine.sample(PROMPTS[:1], params, seeds)


def test_an_empty_prompt_is_an_error(engine: LocalEngine) -> None:
    with pytest.raises(EngineError, match="no tokens"):
        greedy(engine, [TextPrompt("")], 3)


def test_no_prompts_no_completions(engine: LocalEngine) -> None:
    assert engine.sample([], SamplingParams(3), []) == []
    assert engine.choice_logprobs([], ["a", "b"]) == []


def test_it_is_an_engine_and_can_be_closed(model: Any, tokenizer: Any) -> None:
    engine = LocalEngine(model, tokenizer, name="tiny")
    assert isinstance(engine, Engine)
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        greedy(engine, PROMPTS, 3)
