"""Rows without padding: the same answers as one by one, and nothing read twice."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from transformers import BloomConfig, BloomForCausalLM

from constitutional.constitution import load_constitution
from constitutional.dialogue import load_prompts
from constitutional.engines import SamplingParams, TextPrompt
from constitutional.engines.base import remembering
from constitutional.engines.decoding import Ending, decode
from constitutional.engines.local import LocalEngine
from constitutional.engines.padded import LeftPaddedRows
from constitutional.engines.ragged import RaggedRows
from constitutional.engines.rows import CausalModel, Ids, OpenRows
from constitutional.engines.sampler import uniforms
from constitutional.engines.shelf import Shelf
from constitutional.microworld import data_file
from constitutional.packing import supports_packing
from constitutional.supervised.critique_revision import CritiqueRevision
from constitutional.supervised.settings import CritiqueRevisionConfig
from small_models import FAMILIES, WINDOW, random_model, random_tokenizer

NEW = 12
RED_TEAM = "prompts/supervised_red_team.jsonl"
#: Long enough to be a root, and longer than the windows of the families that have some.
ROOT = [7 + n % 19 for n in range(40)]


def prompts(count: int, vocabulary: int) -> list[Ids]:
    """Of lengths from 1 to 30, one of them twice, one the beginning of another."""
    draw = random.Random(0)
    found = [
        [draw.randrange(3, vocabulary) for _ in range(draw.randint(1, 30))] for _ in range(count)
    ]
    return [*found, found[0], found[1] + [5, 6]]


def sampled(rows: OpenRows, texts: list[Ids], at_once: int) -> list[list[int]]:
    draws = uniforms(range(len(texts)), NEW)
    ending = Ending(None, range(40), ())  # many tokens end a text, so that rows leave early
    found = decode(rows, texts, draws, SamplingParams(NEW), ending, at_once)
    return [row.tokens for row in found]


@contextmanager
def layouts(model: Any) -> Iterator[list[Any]]:
    """The layout of each forward pass within; None of a padded one."""
    found: list[Any] = []
    hook = model.register_forward_pre_hook(
        lambda _, __, kwargs: found.append(kwargs.get("layout")), with_kwargs=True
    )
    try:
        yield found
    finally:
        hook.remove()


@contextmanager
def tokens_read(model: Any) -> Iterator[list[int]]:
    """How many tokens each forward pass within reads."""
    counts: list[int] = []
    hook = model.register_forward_pre_hook(
        lambda _, __, kwargs: counts.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    try:
        yield counts
    finally:
        hook.remove()


@pytest.mark.parametrize("family", FAMILIES)
def test_padded_and_ragged_rows_give_the_same_texts(family: str) -> None:
    """Also where only three rows are under way, so that others wait for their places."""
    tokenizer = random_tokenizer(family, ["Can you tell me how the weather will be?"] * 20)
    model = CausalModel(random_model(family, tokenizer, initializer_range=0.3))
    texts = prompts(9, 100)
    together = sampled(LeftPaddedRows(model, NEW), texts, len(texts))
    assert sampled(RaggedRows(model, [], len(texts), 50, Shelf()), texts, len(texts)) == together
    assert sampled(RaggedRows(model, [], 3, 50, Shelf()), texts, 3) == together
    assert {len(row) for row in together} > {1, NEW}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_root_is_attended_to_as_if_it_stood_in_every_row(family: str) -> None:
    assert len(ROOT) > WINDOW
    tokenizer = random_tokenizer(family, ["Can you tell me how the weather will be?"] * 20)
    model = CausalModel(random_model(family, tokenizer, initializer_range=0.3))
    texts = prompts(6, 100)
    with torch.inference_mode():
        apart = RaggedRows(model, ROOT, len(texts), 50, Shelf()).read(texts)
        within = LeftPaddedRows(model, 1).read([ROOT + text for text in texts])
    assert torch.allclose(apart, within, atol=1e-4 * float(within.std()))
    rooted = sampled(RaggedRows(model, ROOT, 4, 50, Shelf()), texts, 4)
    assert rooted == sampled(
        LeftPaddedRows(model, NEW), [ROOT + text for text in texts], len(texts)
    )


def test_few_shots_are_read_once(model: Any, tokenizer: Any) -> None:
    engine = LocalEngine(model, tokenizer, name="tiny")
    shots = "\n\nHuman: Can you see the weather?\n\nAssistant: (A) the first answer" * 2
    asked = [TextPrompt(f"{shots}\n\nHuman: {n}") for n in range(10, 18)]
    alone = [engine.choice_logprobs([prompt], ("A", "B"))[0] for prompt in asked]
    with tokens_read(model) as counts:
        together = engine.choice_logprobs(asked, ("A", "B"))
    assert torch.allclose(torch.tensor(together), torch.tensor(alone), atol=1e-4)
    ids = [tokenizer.encode(prompt.text) for prompt in asked]
    own = sum(len({tuple(row[:n]) for row in ids}) for n in range(1, max(map(len, ids)) + 1))
    assert sum(counts) <= own + len(ids)  # the trie, but for single tokens that are read twice
    assert sum(counts) < sum(map(len, ids)) / 3


def test_few_shots_are_a_root(model: Any, tokenizer: Any) -> None:
    engine = LocalEngine(model, tokenizer, name="tiny")
    shots = "\n\nHuman: Can you see the weather?\n\nAssistant: (A) the first answer" * 2
    engine.choice_logprobs([TextPrompt("x")], ("A", "B"))
    with layouts(model) as found:
        engine.choice_logprobs([TextPrompt(f"{shots} {n}") for n in range(8)], ("A", "B"))
    assert found[0].root is None
    assert {layout.root for layout in found[1:]} == {found[0].cache}


def test_rows_that_wait_take_the_places_of_those_that_have_ended(
    model: Any, tokenizer: Any
) -> None:
    """With four at once, rows that enter beside others take fewer passes than four by four."""
    texts = prompts(20, 100)
    forward = CausalModel(model)
    with layouts(model) as apart:
        expected = sampled(LeftPaddedRows(forward, NEW), texts, 4)
    with layouts(model) as beside:
        assert sampled(RaggedRows(forward, [], 4, 50, Shelf()), texts, 4) == expected
    assert sum(layout.longest == 1 for layout in beside) < 0.9 * len(apart)


class Even:
    """Rows of a model to which four tokens are always equally likely: the draws decide alone."""

    grows = True

    def __init__(self) -> None:
        self.count = 0

    def read(self, prompts: Sequence[Ids]) -> torch.Tensor:
        self.count += len(prompts)
        return torch.zeros(len(prompts), 4)

    def advance(self, tokens: torch.Tensor) -> torch.Tensor:
        return torch.zeros(self.count, 4)

    def keep(self, rows: Sequence[int]) -> list[int]:
        self.count = len(rows)
        return list(rows)

    def continued(self, owners: Sequence[int], texts: Sequence[Ids]) -> list[torch.Tensor]:
        raise AssertionError("nobody chooses here")


def test_a_text_of_full_length_may_stay_while_others_go_on() -> None:
    """Prompt 8 is full when three others are at their fourth token and five at their second."""
    lengths = [2, 2, 2, 4, 4, 4, 4, 4, 6, 6, 6, 6, 6, 6, 6, 6, 6]
    draws = torch.full((len(lengths), 6), 0.6, dtype=torch.float64)
    for number, length in enumerate(lengths):
        if length < 6:
            draws[number, length - 1] = 0.1  # token 0, which ends a text
    params = SamplingParams(6, logprobs=True)
    written = decode(Even(), [[1]] * len(lengths), draws, params, Ending(None, [0], ()), 9)
    assert [len(row.tokens) for row in written] == lengths
    assert [row.tokens[-1] for row in written] == [0] * 8 + [2] * 9
    assert all(len(row.logprobs) == len(row.tokens) for row in written)


def test_a_remembering_engine_reads_on_where_it_was(model: Any, tokenizer: Any) -> None:
    engine = LocalEngine(model, tokenizer, name="tiny")
    first = [TextPrompt(f"\n\nHuman: {n} how will the weather be?") for n in "abcd"]
    params = SamplingParams(8, stop=("e",))
    with remembering(engine, None):
        answers = engine.sample(first, params, range(4))
        then = [
            TextPrompt(prompt.text + answer.text + " why?")
            for prompt, answer in zip(first, answers, strict=True)
        ]
        with tokens_read(model) as counts:
            found = engine.sample(then, SamplingParams(1), range(4))
    ids = [len(tokenizer.encode(prompt.text)) for prompt in first]
    anew = [len(tokenizer.encode(prompt.text)) for prompt in then]
    assert sum(counts) <= sum(anew) - sum(ids)
    assert found == engine.sample(then, SamplingParams(1), range(4))


def test_no_more_is_remembered_than_there_is_room_for(
    model: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [TextPrompt(f"\n\nHuman: {n} how will the weather be?") for n in "abcd"]
    reads = []
    for room in (10_000, 1 << 30):
        monkeypatch.setattr("constitutional.engines.shelf.HELD_AT_MOST", room)
        engine = LocalEngine(model, tokenizer, name="tiny")
        with remembering(engine):
            engine.sample(asked, SamplingParams(2), range(4))
            with tokens_read(model) as counts:
                engine.sample(asked, SamplingParams(1), range(4))
        reads.append(sum(counts))
    assert reads[1] < reads[0]


def test_nothing_is_remembered_unless_asked_for(model: Any, tokenizer: Any) -> None:
    engine = LocalEngine(model, tokenizer, name="tiny")
    asked = [TextPrompt("\n\nHuman: how will the weather be?")]
    with remembering(engine):
        engine.sample(asked, SamplingParams(2), [0])
    with tokens_read(model) as counts:
        for _ in range(2):
            engine.sample(asked, SamplingParams(1), [0])
    assert counts == [len(tokenizer.encode(asked[0].text))] * 2


def test_chains_are_those_of_an_engine_that_remembers_nothing() -> None:
    """The microworld's own model, and fewer than half of the tokens."""
    constitution = load_constitution(data_file("constitution.yaml"))
    records = load_prompts(data_file(RED_TEAM), kind="red_team").records[:12]
    config = CritiqueRevisionConfig(rounds=2, few_shots=0, max_new_tokens=48)
    found, counts = [], []
    for cls in (LocalEngine, Forgetful):
        engine = cls.load(data_file("helpful"), batch_size=8)
        with tokens_read(engine._model) as read:
            found.append(CritiqueRevision(engine, constitution, config, 0).chains(records))
        counts.append(sum(read))
    assert found[0] == found[1]
    assert counts[0] < counts[1]


class Forgetful(LocalEngine):
    """Reads every prompt whole."""

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """Remembers nothing."""
        yield


def test_what_is_remembered_makes_room_first(
    model: Any, tokenizer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where memory runs out, what is only there to save time goes, and the batch stays."""
    engine = LocalEngine(model, tokenizer, name="tiny", batch_size=4)
    failed: list[int] = []

    def refuse(*_: Any) -> None:
        if not failed:
            failed.append(1)
            raise torch.OutOfMemoryError

    asked = [TextPrompt("\n\nHuman: how will the weather be?")]
    with remembering(engine):
        expected = engine.sample(asked, SamplingParams(4), [0])
        hook = model.register_forward_pre_hook(refuse)
        assert engine.sample(asked, SamplingParams(4), [0]) == expected
        hook.remove()
    assert (failed, engine.batch_size, capsys.readouterr().err) == ([1], 4, "")


def test_a_model_that_cannot_be_packed_is_padded(tokenizer: Any) -> None:
    """Its attention has a bias by distance, which a packed row would get wrong."""
    torch.manual_seed(0)
    config = BloomConfig(vocab_size=len(tokenizer), hidden_size=32, n_layer=2, n_head=4)
    config.initializer_range = 0.3
    bloom = BloomForCausalLM(config).eval()
    assert not supports_packing(bloom)
    engine = LocalEngine(bloom, tokenizer, name="bloom", batch_size=2)
    asked = [TextPrompt(text) for text in ("hello", "what is the weather?", "x")]
    found = engine.sample(asked, SamplingParams(10, temperature=0), [0] * 3)
    for prompt, completion in zip(asked, found, strict=True):
        ids = torch.tensor([tokenizer.encode(prompt.text)])
        out = bloom.generate(ids, do_sample=False, max_new_tokens=10, pad_token_id=0)
        assert list(completion.token_ids) == out[0, ids.shape[1] :].tolist()
