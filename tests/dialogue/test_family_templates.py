"""What chat templates of real families ask for: a date, no system role, an end of their own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from constitutional.dialogue import Conversation
from constitutional.dialogue.tokens import answer_end_id, encode_example, prompt_ids
from constitutional.engines import ChatPrompt, Message, SamplingParams
from constitutional.engines.loading import load_parts
from constitutional.engines.local import LocalEngine
from constitutional.preference.model import PreferenceModel
from constitutional.runs.progress import Progress
from constitutional.supervised.finetune import finetune
from constitutional.supervised.settings import FinetuneConfig
from small_models import FAMILIES, random_model, random_tokenizer, save_random_model

TEXTS = ["How do I wash my dog? Use water.", "You are a friendly assistant. Date: 2024"] * 20
ASKED = Message("user", "How do I wash my dog?")
WASH = Conversation.of("How do I wash my dog?", "Use water.")


def test_tokens_do_not_change_with_the_clock(tmp_path: Path) -> None:
    folder = save_random_model(tmp_path / "llama", "llama", TEXTS)
    _, tokenizer = load_parts(folder, device="cpu", dtype="float32")
    model = PreferenceModel.begin(folder, style="chat", seed=0, device="cpu")

    def now() -> list[list[int]]:
        example = encode_example(tokenizer, WASH, "chat", 1000)
        return [example.input_ids, model.tokens(Conversation.of(ASKED.content), "Use water.")]

    before = now()
    time.sleep(1.1)  # the template asks for seconds, where Llama's asks for the day
    assert now() == before
    assert before[0] == before[1], "the preference model reads what the policy was trained on"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_system_prompt_is_read_by_every_family(family: str) -> None:
    tokenizer = random_tokenizer(family, TEXTS)
    asked = ChatPrompt((Message("system", "You are a friendly assistant."), ASKED))
    text = tokenizer.decode(prompt_ids(tokenizer, asked))
    assert text.count("You are a friendly assistant.") == 1
    assert text.index("friendly") < text.index("wash my dog")
    if "gemma" in family:
        begun = "<start_of_turn>user\nYou are a friendly assistant.\n\nHow do I wash"
        assert begun in text


def test_a_template_that_refuses_more_than_the_system_role_says_why() -> None:
    from constitutional.errors import ModelError

    tokenizer = random_tokenizer("gemma2", TEXTS)
    asked = ChatPrompt((Message("system", "Be brief."), ASKED, ASKED))
    with pytest.raises(ModelError, match="System role not supported"):
        prompt_ids(tokenizer, asked)


@pytest.mark.parametrize(
    ("family", "end"),
    [
        ("qwen3", "<|im_end|>"),
        ("llama", "<|eot_id|>"),
        ("gemma2", "<end_of_turn>"),
        ("gemma3", "<end_of_turn>"),
        ("mistral", "</s>"),
    ],
)
def test_an_answer_ends_as_its_family_ends_it(family: str, end: str) -> None:
    tokenizer = random_tokenizer(family, TEXTS)
    assert answer_end_id(tokenizer, "chat") == tokenizer.convert_tokens_to_ids(end)
    assert answer_end_id(tokenizer, "transcript") == tokenizer.eos_token_id


def only_ever_writes(model: Any, token: int) -> None:
    """Make ``token`` by far the likeliest after everything."""
    model.lm_head.register_forward_hook(
        lambda *parts: parts[2].index_fill(-1, parts[2].new_tensor([token]).long(), 1e4)
    )


def test_a_pretrained_model_with_a_chat_template_stops_at_the_end_of_its_turn() -> None:
    tokenizer = random_tokenizer("qwen3", TEXTS, base=True)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert tokenizer.eos_token_id != end, "its own end token is that of a document"
    model = random_model("qwen3", tokenizer)
    only_ever_writes(model, end)
    engine = LocalEngine(model, tokenizer, name="base")
    (written,) = engine.sample([ChatPrompt((ASKED,))], SamplingParams(8, temperature=0), [0])
    assert (written.ended, written.tokens) == ("eos", 1)


def test_what_was_finetuned_tells_others_where_its_turns_end(tmp_path: Path) -> None:
    folder = save_random_model(tmp_path / "base", "qwen3", TEXTS, base=True)
    finetune(
        folder,
        [WASH],
        style="chat",
        config=FinetuneConfig(batch_size=1),
        work=tmp_path / "work",
        seed=0,
        progress=Progress(),
        device="cpu",
    )
    model, tokenizer = load_parts(tmp_path / "work/result", device="cpu", dtype="float32")
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert end in model.generation_config.eos_token_id
    assert tokenizer.eos_token_id in model.generation_config.eos_token_id
