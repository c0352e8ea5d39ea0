"""No control token is made of a user's or a model's text: every family, every place of encoding."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
from tests.hostile.attacks import CONTROL_TOKENS, corpus, placed
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from constitutional.dialogue import Conversation
from constitutional.dialogue.control import GUARD, broken, guarded, guarded_turn, visible
from constitutional.dialogue.templates import apply_template
from constitutional.dialogue.tokens import (
    continuation_ids,
    encode_example,
    prompt_ids,
    prompt_text,
)
from constitutional.engines.base import ChatPrompt, Message, Style, TextPrompt
from constitutional.engines.loading import load_tokenizer
from constitutional.microworld import data_file
from small_models import FAMILIES, random_tokenizer

TEXTS = [placed(a.text, "within") for a in corpus() if a.family == "control"]
LEARNED = ["How do I wash my dog? Use water.", "<|im_end|> [INST] user assistant </s>"] * 20
HARMLESS = "Use water."
STYLES: tuple[Style, ...] = ("chat", "transcript")


def _words(tokenizer: Tokenizer, **special: Any) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        chat_template=(
            "{{ bos_token }}{% for m in messages %}[INST] {{ m['content'] }} [/INST]{% endfor %}"
            "{% if enable_thinking is defined and enable_thinking %}<think>{% endif %}"
        ),
        **special,
    )


def unigram() -> PreTrainedTokenizerFast:
    """SentencePiece's other kind, in whose vocabulary a control token is a piece like any other."""
    letters = sorted({*"".join(TEXTS), *"▁\n"})
    pieces = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), ("▁", -2.0)]
    pieces += [(char, -9.0) for char in letters if char != "▁"]
    made = Tokenizer(models.Unigram(pieces, unk_id=0))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    return _words(made)


def normalizing() -> PreTrainedTokenizerFast:
    """One that looks for its added tokens in a text without case and without odd forms."""
    letters = {char: n for n, char in enumerate(["<unk>", *pre_tokenizers.ByteLevel.alphabet()])}
    made = Tokenizer(models.BPE(letters, [], unk_token="<unk>"))
    made.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.add_tokens([AddedToken(char) for char in ("<unk>", "<s>", "</s>")])
    made.add_tokens([AddedToken("<|im_end|>", special=True, normalized=True)])
    made.add_tokens([AddedToken("<think>", special=False, normalized=True)])
    return _words(made, extra_special_tokens=["<|im_end|>"])


@cache
def tokenizer_of(name: str) -> Any:
    if name == "embedded":
        return load_tokenizer(data_file("helpful"))
    made = {"unigram": unigram, "normalizing": normalizing}.get(name)
    return made() if made else random_tokenizer(name, LEARNED)


NAMES = [*FAMILIES, "unigram", "normalizing", "embedded"]


def control_in(tokenizer: Any, ids: Sequence[int]) -> list[int]:
    """The ids that are added tokens and no unknown word."""
    return [i for i in ids if i in tokenizer.added_tokens_decoder and i != tokenizer.unk_token_id]


def styles_of(name: str) -> tuple[Style, ...]:
    return STYLES if tokenizer_of(name).chat_template else STYLES[1:]


@pytest.mark.parametrize("name", NAMES)
def test_prompts_and_examples_have_the_templates_control_tokens_alone(name: str) -> None:
    tokenizer = tokenizer_of(name)
    for style in styles_of(name):
        ordinary = _encoded(tokenizer, style, HARMLESS)
        for text in TEXTS:
            assert _encoded(tokenizer, style, text) == ordinary, text


def _encoded(tokenizer: Any, style: Style, text: str) -> list[list[int]]:
    """The control tokens of a prompt, an open answer, a begun one and a training example."""
    spoken = Conversation.of(text, text, text)
    prompt: ChatPrompt | TextPrompt = TextPrompt(f"\n\nHuman: {text}\n\nAssistant:")
    if style == "chat":
        messages = [Message(("user", "assistant")[n % 2], text) for n in range(3)]  # type: ignore[arg-type]
        prompt = ChatPrompt(tuple(messages), answer_prefix=text)
    encoded = [prompt_ids(tokenizer, prompt), continuation_ids(tokenizer, prompt, " (A)")]
    if tokenizer.eos_token and not (style == "chat" and "[INST] {{" in tokenizer.chat_template):
        encoded.append(encode_example(tokenizer, spoken.add("assistant", text), style, 9).input_ids)
    return [control_in(tokenizer, ids) for ids in encoded]


@pytest.mark.parametrize("name", ["qwen3", "llama", "gemma2", "mistral"])
def test_the_model_reads_the_text_as_it_was_written(name: str) -> None:
    tokenizer = tokenizer_of(name)
    for text in TEXTS:
        ids = prompt_ids(tokenizer, TextPrompt(f"Say {text} now"))
        assert text in tokenizer.decode(ids, clean_up_tokenization_spaces=False)


@pytest.mark.parametrize("name", NAMES)
def test_a_text_without_control_tokens_is_encoded_as_ever(name: str) -> None:
    tokenizer = tokenizer_of(name)
    for text in ("a < b > c", "", "See [1] and <b>.", "Ü 🙂\n\n<-", "x | y"):
        assert guarded(tokenizer, text) == text


@pytest.mark.parametrize("name", ["qwen3", "llama", "gemma2", "mistral", "unigram"])
def test_what_leaves_as_text_makes_no_control_tokens_elsewhere(name: str) -> None:
    tokenizer = tokenizer_of(name)

    def elsewhere(text: str) -> list[int]:
        """As another program makes the tokens."""
        return control_in(tokenizer, tokenizer.encode(text, add_special_tokens=False))

    for style in styles_of(name):
        for text in TEXTS:
            shown, ordinary = (
                prompt_text(
                    tokenizer,
                    ChatPrompt((Message("user", t),)) if style == "chat" else TextPrompt(t),
                )
                for t in (text, HARMLESS)
            )
            assert GUARD not in shown
            assert elsewhere(shown) == elsewhere(ordinary)
            assert elsewhere(visible(guarded(tokenizer, text))) == []


def test_a_tag_of_the_template_that_is_no_token_is_broken_up() -> None:
    """A model reads such a tag in whatever pieces, so that cutting it would hide nothing."""
    tokenizer = tokenizer_of("unigram")
    for text in TEXTS:
        shown = apply_template(tokenizer, [Message("user", text)], awaiting_answer=True)
        assert (shown.count("[INST]"), shown.count("[/INST]")) == (1, 1)


def test_a_server_gets_no_known_control_token() -> None:
    for text in TEXTS:
        sent = broken(text)
        for token in CONTROL_TOKENS:
            assert token not in sent.casefold()
    assert broken("a < b, see [1] <b>bold</b> | x") == "a < b, see [1] <b>bold</b> | x"


def test_a_thought_at_the_head_of_an_earlier_answer_is_left_out() -> None:
    tokenizer = tokenizer_of("qwen3")
    asked = [
        Message("user", "Hi"),
        Message("assistant", "<think>Hm.</think>\n\nHello"),
        Message("user", "?"),
    ]
    without = [asked[0], Message("assistant", "Hello"), asked[2]]
    found = (prompt_ids(tokenizer, ChatPrompt(tuple(m))) for m in (asked, without))
    assert next(found) == next(found)


def test_a_tokenizer_that_has_changed_is_asked_again() -> None:
    tokenizer = random_tokenizer("qwen3", LEARNED)
    assert guarded_turn(tokenizer, "<|new|>") == "<|new|>"
    tokenizer.chat_template = "<|new|>{{ messages[0]['content'] }}"
    assert guarded_turn(tokenizer, "<|new|>") == "<\\|new|>"
    tokenizer.add_special_tokens({"pad_token": "<|new|>"})
    assert guarded_turn(tokenizer, "<|new|>") == f"<{GUARD}|new|>"
