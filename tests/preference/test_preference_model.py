from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    pipeline,
)

from constitutional.dialogue import Conversation
from constitutional.dialogue.tokens import encode_example
from constitutional.dialogue.transcript import render
from constitutional.errors import InputError, ModelError
from constitutional.preference.combined import Response, logistic
from constitutional.preference.model import CARD, PreferenceModel

ITEMS = [
    Response(Conversation.of("Is 4 odd?"), "No."),
    Response(Conversation.of("Hi", "Hello!", "Tell me of the weather"), "It is " + "well " * 40),
    Response(Conversation.of("Ça va ?\n\nWell?"), " 🙂 two  blanks\n\nand lines "),
    Response(Conversation.of("And?"), ""),
]


def load(folder: Path) -> PreferenceModel:
    return PreferenceModel.load(folder, device="cpu")


def messages(item: Response) -> list[dict[str, str]]:
    texts = [turn.text for turn in item.conversation.turns] + [item.response]
    return [
        {"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(texts)
    ]


# The same numbers by others


@pytest.mark.parametrize("side", ["right", "left"])
def test_transformers_alone_gives_the_same_scores(trained: Path, side: str) -> None:
    """As RewardBench does it: the folder's template, then tokenizer and network by default."""
    network = AutoModelForSequenceClassification.from_pretrained(trained)
    tokenizer = AutoTokenizer.from_pretrained(trained, padding_side=side)
    assert network.config.num_labels == 1
    texts = [tokenizer.apply_chat_template(messages(item), tokenize=False) for item in ITEMS]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    assert (batch["input_ids"] == network.config.pad_token_id).any()
    with torch.no_grad():
        theirs = network(**batch).logits[:, 0].tolist()
    ours = load(trained).scores(ITEMS)
    assert theirs == pytest.approx(ours, abs=1e-5)
    assert max(ours) - min(ours) > 0.5


def test_a_pipeline_gives_the_raw_scores(trained: Path) -> None:
    model = load(trained)
    texts = [model.text(item.conversation, item.response) for item in ITEMS]
    rate = pipeline("text-classification", model=str(trained), device="cpu", batch_size=4)
    assert [row["score"] for row in rate(texts)] == pytest.approx(model.scores(ITEMS), abs=1e-5)


def test_trl_tokenises_alike(trained: Path) -> None:
    model, tokenizer = load(trained), AutoTokenizer.from_pretrained(trained)
    for item in ITEMS:
        found = tokenizer.apply_chat_template(messages(item), return_dict=True)["input_ids"]
        assert list(found) == model.tokens(item.conversation, item.response)


def test_the_score_is_the_head_on_the_last_hidden_state(trained: Path) -> None:
    """Computed from the trunk's hidden state, one text at a time and without padding."""
    model = load(trained)
    for item in ITEMS:
        ids = model.tokens(item.conversation, item.response)
        assert ids[-1] == model.card.end_id != model.card.pad_id
        with torch.no_grad():
            states = model.network.base_model(torch.tensor([ids])).last_hidden_state
        by_hand = model.network.score.weight[0] @ states[0, -1]
        assert model.score(item.conversation, item.response) == pytest.approx(
            by_hand.item(), abs=1e-5
        )


# What is scored


@pytest.mark.parametrize("name", ["llama", "qwen"])
@pytest.mark.parametrize("style", ["transcript", "chat"])
def test_texts_are_those_that_policies_see(
    name: str, style: Any, request: pytest.FixtureRequest
) -> None:
    """The ids of the finetuning's example: the end token is where a policy writes it."""
    folder = request.getfixturevalue(name)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = PreferenceModel.begin(folder, style=style, seed=0, device="cpu")
    for item in ITEMS[:2]:
        whole = item.conversation.add("assistant", item.response.strip())
        example = encode_example(tokenizer, whole, style, 4096)
        ids = model.tokens(item.conversation, item.response.strip())
        if style == "transcript" or name == "llama":  # qwen's template opens with a thought
            assert ids == example.input_ids
        assert ids[-1] == example.input_ids[-1]
        assert ids.count(model.card.end_id) == example.input_ids.count(model.card.end_id)
        begins = name == "llama"
        assert ids.count(tokenizer.bos_token_id) == int(begins)
        assert (model.card.begin_token == "<|begin_of_text|>") == begins


def test_a_transcript_is_verbatim(qwen: Path) -> None:
    model = PreferenceModel.begin(qwen, style="transcript", seed=0, device="cpu")
    for item in ITEMS:
        text = render(item.conversation.add("assistant", item.response))
        assert model.text(item.conversation, item.response) == text + "<|im_end|>"


def test_turns_of_others_are_refused(trained: Path) -> None:
    model = load(trained)
    with pytest.raises(InputError, match="is empty"):
        model.score(Conversation(), "Yes")
    with pytest.raises(InputError, match="'assistant'"):
        model.score(Conversation.of("Hi", "Yes?"), "Yes")
    asked = Conversation.of("Hi", "Yes?").add("critique_request", "Well?").add("critique", "Bad.")
    with pytest.raises(InputError):
        model.score(asked.add("human", "So?").add("human", "Hm?"), "Yes")


def test_texts_beyond_the_positions_are_refused(trained: Path) -> None:
    with pytest.raises(InputError, match="reads 8192"):
        load(trained).score(Conversation.of("Hi"), "Q7z" * 9000)


# Padding and batches


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=6),
    extra=st.integers(0, 20),
    left=st.booleans(),
    batch_size=st.integers(1, 6),
    seed=st.integers(0, 2**20),
)
def test_padding_and_batches_change_no_score(
    loaded: PreferenceModel, lengths: list[int], extra: int, left: bool, batch_size: int, seed: int
) -> None:
    """The text may hold the pad token and the end-of-context token itself."""
    card, generator = loaded.card, torch.Generator().manual_seed(seed)
    rows = [
        [*torch.randint(0, 300, (length,), generator=generator).tolist(), card.pad_id, card.end_id]
        for length in lengths
    ]
    alone = [loaded.scores_of_tokens([row])[0] for row in rows]
    loaded.batch_size = batch_size
    assert loaded.scores_of_tokens(rows) == pytest.approx(alone, abs=1e-5)

    longest = max(map(len, rows)) + extra
    fill = [longest - len(row) for row in rows]
    pads = [[card.pad_id] * n for n in fill]
    ids = [p + row if left else row + p for p, row in zip(pads, rows, strict=True)]
    mask = [
        [0] * n + [1] * len(row) if left else [1] * len(row) + [0] * n
        for n, row in zip(fill, rows, strict=True)
    ]
    with torch.no_grad():
        output = loaded.network(torch.tensor(ids), attention_mask=torch.tensor(mask))
    assert output.logits[:, 0].tolist() == pytest.approx(alone, abs=1e-5)


@pytest.fixture(scope="module")
def loaded(trained: Path) -> PreferenceModel:
    return load(trained)


def test_the_pad_token_is_never_the_end_token(qwen: Path) -> None:
    """Where the tokenizer has no other special token, one is added, which no score ever sees."""
    tokenizer = AutoTokenizer.from_pretrained(qwen)
    assert tokenizer.pad_token == tokenizer.eos_token
    model = PreferenceModel.begin(qwen, style="chat", seed=0, device="cpu")
    assert model.tokenizer.pad_token == "<|endoftext|>"
    assert len(model.tokenizer) == len(tokenizer)


def test_a_pad_token_is_added_where_there_is_none(qwen: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(qwen, tmp_path / "qwen")
    file = folder / "tokenizer.json"
    rules = json.loads(file.read_text())
    rules["added_tokens"] = [t for t in rules["added_tokens"] if t["content"] == "<|im_end|>"]
    file.write_text(json.dumps(rules))
    begun = PreferenceModel.begin(folder, style="transcript", seed=0, device="cpu")
    assert begun.tokenizer.pad_token == "<|pad|>"
    assert begun.network.config.pad_token_id == begun.card.pad_id >= 300
    begun.save(tmp_path / "begun")
    back = load(tmp_path / "begun")
    assert back.scores(ITEMS) == begun.scores(ITEMS)
    back.check_policy(AutoTokenizer.from_pretrained(folder), "transcript")


# Numbers


def test_probability_is_the_logistic_against_the_stored_mean(trained: Path) -> None:
    model = load(trained)
    raw = model.scores(ITEMS)
    found = [model.probability(item.conversation, item.response) for item in ITEMS]
    assert found == pytest.approx([logistic(score - 0.5) for score in raw], abs=1e-5)
    assert all(0 < p < 1 for p in found)
    assert (model.mean, model.deviation) == (0.5, 2.0)


def test_no_mean_before_the_training(qwen: Path) -> None:
    model = PreferenceModel.begin(qwen, style="chat", seed=0, device="cpu")
    with pytest.raises(ModelError, match="no score mean yet"):
        model.probability(Conversation.of("Hi"), "Yes")


def test_the_seed_decides_the_head(qwen: Path) -> None:
    heads = []
    for torch_seed, seed in ((1, 5), (2, 5), (1, 6)):
        torch.manual_seed(torch_seed)
        model = PreferenceModel.begin(qwen, style="chat", seed=seed, device="cpu")
        heads.append(model.network.score.weight)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    assert 0.01 < heads[0].std() < 0.03


# What does not fit is refused


def change(folder: Path, file: str, old: str, new: str) -> None:
    text = (folder / file).read_text(encoding="utf-8")
    assert old in text
    (folder / file).write_text(text.replace(old, new), encoding="utf-8")


BROKEN = {
    "template": ("chat_template.jinja", "message", "massage", "chat template is not the one"),
    "padding": ("config.json", '"pad_token_id": 0', '"pad_token_id": 2', "pads with 2"),
    "card": (CARD, '"style"', '"stile"', "cannot be read: style: Field required"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_folder_that_does_not_fit_is_refused(case: str, qwen: Path, tmp_path: Path) -> None:
    PreferenceModel.begin(qwen, style="transcript", seed=0, device="cpu").save(tmp_path)
    load(tmp_path)
    file, old, new, message = BROKEN[case]
    change(tmp_path, file, old, new)
    with pytest.raises(ModelError, match=message) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_another_tokenizer_is_refused(qwen: Path, tmp_path: Path) -> None:
    PreferenceModel.begin(qwen, style="transcript", seed=0, device="cpu").save(tmp_path)
    rules = json.loads((tmp_path / "tokenizer.json").read_text())
    ids = rules["model"]["vocab"]
    ids["A"], ids["B"] = ids["B"], ids["A"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(rules))
    with pytest.raises(ModelError, match="its tokenizer is not the one that it was trained with"):
        load(tmp_path)


def test_a_tokenizer_that_adds_tokens_is_refused(llama: Path, tmp_path: Path) -> None:
    PreferenceModel.begin(llama, style="transcript", seed=0, device="cpu").save(tmp_path)
    load(tmp_path)
    begin = json.loads((llama / "tokenizer.json").read_text())["post_processor"]
    rules = json.loads((tmp_path / "tokenizer.json").read_text())
    (tmp_path / "tokenizer.json").write_text(json.dumps(rules | {"post_processor": begin}))
    with pytest.raises(ModelError, match="puts tokens of its own around a text"):
        load(tmp_path)


def test_another_style_is_refused(trained: Path) -> None:
    style = load(trained).card.style
    other: Any = "chat" if style == "transcript" else "transcript"
    assert PreferenceModel.load(trained, style=style, device="cpu")
    with pytest.raises(ModelError, match=f"in {style} style, but {other} was asked for"):
        PreferenceModel.load(trained, style=other, device="cpu")


def test_a_policy_that_does_not_fit_is_refused(qwen: Path, llama: Path) -> None:
    model = PreferenceModel.begin(qwen, style="chat", seed=0, device="cpu")
    model.check_policy(AutoTokenizer.from_pretrained(qwen), "chat")
    with pytest.raises(ModelError, match="speaks in transcript style"):
        model.check_policy(AutoTokenizer.from_pretrained(qwen), "transcript")
    with pytest.raises(ModelError, match="policy's tokenizer is not that of"):
        model.check_policy(AutoTokenizer.from_pretrained(llama), "chat")


def test_a_causal_model_is_no_preference_model(qwen: Path) -> None:
    with pytest.raises(ModelError, match="no preference model of ours: it has no preference_model"):
        load(qwen)


def test_an_encoder_is_no_start(qwen: Path, tmp_path: Path) -> None:
    config = BertConfig(
        vocab_size=600, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32,
    )  # fmt: skip
    BertModel(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(qwen).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="BertForSequenceClassification does not read its score"):
        PreferenceModel.begin(tmp_path, style="transcript", seed=0, device="cpu")


def test_other_architectures_work(qwen: Path, tmp_path: Path) -> None:
    """GPT-2: absolute positions, dropout, another trunk name."""
    tokenizer = AutoTokenizer.from_pretrained(qwen)
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=2, eos_token_id=2)
    GPT2LMHeadModel(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = PreferenceModel.begin(tmp_path, style="transcript", seed=0, device="cpu")
    alone = [model.scores([item])[0] for item in ITEMS]
    assert model.scores(ITEMS) == pytest.approx(alone, abs=1e-5)
    model.network.train()
    assert model._forward([model.tokens(*ITEMS[1][:2])]) == pytest.approx([alone[1]], abs=1e-5)
