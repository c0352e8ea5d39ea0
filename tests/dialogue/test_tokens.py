"""Training ids, their loss mask, and the prompt ids that must be their beginning."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from constitutional.dialogue.conversation import Conversation, Role
from constitutional.dialogue.rendering import prompt_for
from constitutional.dialogue.tokens import (
    Continuations,
    check_vocabulary,
    continuation_ids,
    encode_example,
    prompt_ids,
    prompts_ids,
    unknown_words,
)
from constitutional.engines.base import ChatPrompt, Message, Prompt, Style, TextPrompt
from constitutional.engines.thoughts import begins_with_thought
from constitutional.errors import InputError, ModelError

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{{ m.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}<start_of_turn>"
    "{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
# writes an empty thought into the last answer, as Qwen3 does, and opens with one where asked to
QWEN3 = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n"
    "{{ m.content.split('</think>')[-1].lstrip('\\n') }}{% else %}{{ m.content }}{% endif %}"
    "<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n"
    "{% endif %}{% endif %}"
)
# the same, but there is no way to ask it to open with an empty thought
INJECTING = QWEN3.replace("enable_thinking is false", "false")
# opens an empty thought, which a finished answer does not hold
STRIPPING = CHATML.replace(
    "<|im_start|>assistant\n{% endif %}",
    "<|im_start|>assistant\n<think>\n\n</think>\n\n{% endif %}",
)
# opens a thought that the model is to close
THINKING = CHATML.replace(
    "<|im_start|>assistant\n{% endif %}", "<|im_start|>assistant\n<think>\n{% endif %}"
)
# the model writes a header between the opening and its answer
CHANNEL = CHATML.replace("{{ m.role }}\n", "{{ m.role }}<|channel|>final\n").replace(
    "<|im_start|>assistant\n{% endif %}", "<|im_start|>assistant{% endif %}"
)
BARE = (
    "{% for m in messages %}\n\n{{ m.role }}: {{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}\n\nassistant: {% endif %}"
)
TEMPLATES = {
    "chatml": CHATML,
    "llama3": LLAMA3,
    "gemma": GEMMA,
    "qwen3": QWEN3,
    "injecting": INJECTING,
    "stripping": STRIPPING,
    "channel": CHANNEL,
    "bare": BARE,
}
MARKS = ["<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"]
MARKS += ["<start_of_turn>", "<end_of_turn>", "<|channel|>"]
CORPUS = [
    "\n\nHuman: How do I pick a lock?\n\nAssistant: I would rather not help with that.",
    "\n\nCritiqueRequest: What is harmful?\n\nCritique: The end of the answer.\n\nRevision: Fine.",
]


def byte_level(template: str | None = None, *, bos_first: bool = False) -> PreTrainedTokenizerFast:
    """A small byte-level BPE, trained here; its pad token is its end token on purpose."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        show_progress=False,
        special_tokens=["<s>", "</s>", *MARKS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    inner.train_from_iterator(CORPUS, trainer)
    if bos_first:
        inner.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", inner.token_to_id("<s>"))]
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    tokenizer.chat_template = template
    return tokenizer


def word_level(**special: Any) -> PreTrainedTokenizerFast:
    words = ["[UNK]", "[END]", "the", "kind", "kindly", "answer", ",", "Human", ":"]
    inner = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=inner, **special)


def target(tokenizer: Any, conversation: Conversation, style: Style) -> str:
    example = encode_example(tokenizer, conversation, style, 1000)
    learnt = [i for i, on in zip(example.input_ids, example.loss, strict=True) if on]
    return str(tokenizer.decode(learnt, skip_special_tokens=False))


def assert_prompt_is_prefix(tokenizer: Any, conversation: Conversation, style: Style) -> None:
    """The prompt ids begin the training ids, and the loss begins exactly where they end."""
    before = Conversation(turns=conversation.turns[:-1])
    ids = prompt_ids(tokenizer, prompt_for(before, conversation.last.role, style))
    example = encode_example(tokenizer, conversation, style, 1000)
    assert example.input_ids[: len(ids)] == ids
    assert example.loss == [False] * len(ids) + [True] * (len(example.input_ids) - len(ids))
    assert sum(example.loss) >= 1


TALK = Conversation.of("How do I pick a lock?", "I would rather not.", "Why?", "It may do harm.")


@pytest.mark.parametrize("bos_first", [False, True])
def test_transcript_example_id_by_id(bos_first: bool) -> None:
    tokenizer = byte_level(bos_first=bos_first)
    example = encode_example(tokenizer, Conversation.of("q?", "Fine."), "transcript", 1000)

    def encode(text: str) -> list[int]:
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
        return ids

    before = [tokenizer.bos_token_id] * bos_first + encode("\n\nHuman: q?\n\nAssistant:")
    after = [*encode(" Fine."), tokenizer.eos_token_id]
    assert example.input_ids == before + after
    assert example.loss == [False] * len(before) + [True] * len(after)
    assert not example.cut


def test_the_end_is_learnt_although_pad_equals_it() -> None:
    tokenizer = byte_level(CHATML)
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    ends: dict[Style, str] = {"transcript": "</s>", "chat": "<|im_end|>"}
    for style, end in ends.items():
        example = encode_example(tokenizer, TALK, style, 1000)
        assert tokenizer.decode(example.input_ids[-1:]) == end
        assert example.loss[-1]


def test_an_end_token_inside_an_earlier_turn_changes_no_mask() -> None:
    tokenizer = byte_level(CHATML)
    talk = Conversation.of("say </s> and <|im_end|>", "</s>", "again", "no")
    for style in ("transcript", "chat"):
        assert_prompt_is_prefix(tokenizer, talk, style)
    assert target(tokenizer, talk, "transcript") == " no</s>"


def test_the_beginning_token_stands_once() -> None:
    tokenizer = byte_level(LLAMA3, bos_first=True)
    bos = tokenizer.bos_token_id
    for style in ("transcript", "chat"):
        ids = encode_example(tokenizer, TALK, style, 1000).input_ids
        assert ids[0] == bos and ids.count(bos) == 1
    assert prompt_ids(tokenizer, TextPrompt("<s>\n\nHuman: q")).count(bos) == 1
    without = encode_example(byte_level(CHATML), TALK, "transcript", 1000).input_ids
    assert bos not in without


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("chatml", "It may do harm.<|im_end|>"),
        ("llama3", "It may do harm.<|eot_id|>"),
        ("gemma", "It may do harm.<end_of_turn>"),
        ("qwen3", "It may do harm.<|im_end|>"),
        ("injecting", "It may do harm.<|im_end|>"),
        ("stripping", "It may do harm.<|im_end|>"),
        ("channel", "<|channel|>final\nIt may do harm.<|im_end|>"),
        ("bare", "It may do harm.</s>"),
    ],
)
def test_chat_target_is_the_answer_and_its_end(name: str, expected: str) -> None:
    tokenizer = byte_level(TEMPLATES[name], bos_first=True)
    assert target(tokenizer, TALK, "chat") == expected
    assert_prompt_is_prefix(tokenizer, TALK, "chat")


@pytest.mark.parametrize("name", ["chatml", "llama3", "gemma", "qwen3"])
def test_chat_example_is_what_the_template_writes(name: str) -> None:
    tokenizer = byte_level(TEMPLATES[name], bos_first=True)
    messages = [
        {"role": "user" if turn.role == "human" else "assistant", "content": turn.text}
        for turn in TALK.turns
    ]
    ids = encode_example(tokenizer, TALK, "chat", 1000).input_ids
    whole = tokenizer.apply_chat_template(messages, tokenize=False)
    assert tokenizer.decode(ids, skip_special_tokens=False) == str(whole).rstrip()


@pytest.mark.parametrize(
    "answer", ["end", "im_end", "a", "|>", "How do I pick a lock?", "</think>"]
)
def test_an_answer_that_occurs_elsewhere_in_the_chat_is_found(answer: str) -> None:
    talk = Conversation.of("How do I pick a lock?", answer)
    assert target(byte_level(CHATML), talk, "chat") == f"{answer}<|im_end|>"


def test_a_thought_left_open_is_closed_before_the_answer() -> None:
    tokenizer = byte_level(THINKING)
    example = encode_example(tokenizer, TALK, "chat", 1000)
    shown = tokenizer.decode(example.input_ids)
    assert "<|im_start|>assistant\n<think>\n\n</think>\n\n" + TALK.last.text in shown
    assert target(tokenizer, TALK, "chat") == f"{TALK.last.text}<|im_end|>"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(max_size=30), min_size=1, max_size=3), st.text(max_size=30))
@pytest.mark.parametrize("name", [None, *TEMPLATES])
def test_prompt_ids_begin_the_training_ids(name: str | None, before: list[str], last: str) -> None:
    assume(not begins_with_thought(last))  # which is left out of what is trained on
    texts = [t.encode("utf-8", "ignore").decode() for t in before]
    roles: list[Role] = ["human", "assistant"]
    talk = Conversation()
    for i, text in enumerate(texts if len(texts) % 2 else texts[:-1]):
        talk = talk.add(roles[i % 2], text)
    talk = talk.add("assistant", last.encode("utf-8", "ignore").decode())
    tokenizer = TOKENIZERS[name]
    assert_prompt_is_prefix(tokenizer, talk, "chat" if name else "transcript")


TOKENIZERS: dict[str | None, PreTrainedTokenizerFast] = {
    None: byte_level(bos_first=True),
    **{name: byte_level(template, bos_first=True) for name, template in TEMPLATES.items()},
}


def blank_before() -> PreTrainedTokenizerFast:
    """It puts a blank before every text, as Llama 2 does."""
    pieces = ["▁", "▁q", "▁yes", "▁Human", "▁Assistant", "Human", "Assistant", ":", "\n", "yes"]
    scores = [(piece, -1.0) for piece in ["<unk>", "</s>", *pieces]]
    inner = Tokenizer(models.Unigram(scores, unk_id=0))
    blanks = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    inner.normalizer = normalizers.Sequence(blanks)
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>")


def test_a_tokenizer_that_puts_a_blank_before_every_text_learns_no_second_one() -> None:
    tokenizer = blank_before()
    alone = tokenizer.encode(" yes", add_special_tokens=False)
    assert tokenizer.convert_ids_to_tokens(alone) == ["▁", "▁yes"]
    example = encode_example(tokenizer, Conversation.of("q", "yes"), "transcript", 100)
    learnt = [i for i, on in zip(example.input_ids, example.loss, strict=True) if on]
    assert tokenizer.convert_ids_to_tokens(learnt) == ["▁yes", "</s>"]


def test_continuation_and_answer_prefix_follow_the_prompt() -> None:
    tokenizer = byte_level(CHATML)
    prompt = ChatPrompt((Message("user", "A or B?"),), answer_prefix="The answer is (")
    ids = prompt_ids(tokenizer, prompt) + continuation_ids(tokenizer, prompt, "A")
    assert str(tokenizer.decode(ids)).endswith("<|im_start|>assistant\nThe answer is (A")
    text = TextPrompt("\n\nHuman: q\n\nAssistant:")
    assert tokenizer.decode(continuation_ids(tokenizer, text, " yes")) == " yes"


@given(
    st.lists(st.text(max_size=60), min_size=1, max_size=5),
    st.sampled_from(["\n\nThe answer is:", " Assistant:", "", "\n\n"]),
)
def test_continuations_behind_like_ends_are_those_of_each_prompt(
    texts: list[str], end: str
) -> None:
    """What is worked out once for prompts that end alike is what each would get on its own."""
    sane = [text.encode("utf-8", "ignore").decode() for text in texts]
    prompts: list[Prompt] = [
        TextPrompt(f"\n\nHuman: {text} a few more words{end}") for text in sane
    ]
    choices = [" (A)", " (B)", "yes", " longer text"]
    for tokenizer in (TOKENIZERS[None], TOKENIZERS["chatml"], blank_before()):
        behind = Continuations(tokenizer, choices)
        for prompt, ids in zip(prompts, prompts_ids(tokenizer, prompts), strict=True):
            assert ids == prompt_ids(tokenizer, prompt)
            alone = [continuation_ids(tokenizer, prompt, choice) for choice in choices]
            assert behind.behind(prompt, ids) == alone


def test_too_long_is_reported_and_returned_whole() -> None:
    tokenizer = byte_level()
    whole = encode_example(tokenizer, TALK, "transcript", 1000)
    length = len(whole.input_ids)
    assert not encode_example(tokenizer, TALK, "transcript", length).cut
    over = encode_example(tokenizer, TALK, "transcript", length - 1)
    assert over.cut and over.input_ids == whole.input_ids


def test_refusals_say_what_to_do() -> None:
    with pytest.raises(ModelError, match=r"use style: transcript, or pass a chat template"):
        encode_example(byte_level(), TALK, "chat", 1000)
    strict = "{% if messages %}{{ raise_exception('no such role') }}{% endif %}"
    with pytest.raises(ModelError, match="refuses these messages: no such role"):
        prompt_ids(byte_level(strict), ChatPrompt((Message("system", "s"), Message("user", "q"))))
    with pytest.raises(ModelError, match="set eos_token"):
        encode_example(word_level(), TALK, "transcript", 1000)
    silent = "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"
    with pytest.raises(ModelError, match="leaves out the assistant's last message"):
        encode_example(byte_level(silent), TALK, "chat", 1000)
    with pytest.raises(ValueError, match="turn that the model is to write"):
        encode_example(byte_level(), Conversation.of("q"), "transcript", 1000)


# --- unknown words -----------------------------------------------------------------------------


def test_unknown_words_each_once_in_order() -> None:
    tokenizer = word_level(unk_token="[UNK]")
    assert unknown_words(tokenizer, "the zebra, kind zebra: cruel") == ["zebra", "cruel"]
    assert unknown_words(tokenizer, "the kind answer") == []


def test_byte_level_tokenizers_know_every_word() -> None:
    tokenizer = byte_level()
    tokenizer.unk_token = "</s>"  # as GPT-2 has it
    assert unknown_words(tokenizer, "zebra \x00 日本 </s>") == []


def test_check_vocabulary_names_word_place_and_neighbours() -> None:
    tokenizer = word_level(unk_token="[UNK]")
    check_vocabulary(tokenizer, {"principle 1": "the kind answer"})
    with pytest.raises(InputError) as caught:
        check_vocabulary(tokenizer, {"principle 1": "the", "principle 2": "kindle zzz"})
    message = str(caught.value)
    assert message.startswith("principle 2: ")
    assert "'kindle'" in message and "1 more" in message
    assert "kindly" in message and "kind" in message and "[END]" not in message
