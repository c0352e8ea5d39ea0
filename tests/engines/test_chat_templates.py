"""The method's prompts in the chat forms of real families, compared with transformers' own.

The templates are written here after those of the models, with what is peculiar to each kept.
"""

from __future__ import annotations

import copy
from datetime import datetime
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from constitutional.dialogue import Conversation
from constitutional.dialogue.tokens import (
    continuation_ids,
    encode_example,
    prompt_ids,
    prompt_text,
)
from constitutional.engines.base import ChatPrompt, Message, SamplingParams, TextPrompt
from constitutional.engines.local import LocalEngine
from constitutional.engines.thoughts import with_thought_closed, without_thoughts
from constitutional.errors import InputError, ModelError

# Past thoughts are dropped, the last answer has one (an empty one where it thought nothing).
QWEN3 = """
{%- if messages[0].role == 'system' %}<|im_start|>system\n{{ messages[0].content }}<|im_end|>\n
{%- endif %}
{%- set ns = namespace(asked=0) %}
{%- for m in messages %}{% if m.role == 'user' %}{% set ns.asked = loop.index0 %}{% endif %}
{%- endfor %}
{%- for m in messages %}
{%- if m.role == 'user' %}{{ '<|im_start|>user\n' + m.content + '<|im_end|>\n' }}
{%- elif m.role == 'assistant' %}
{%- set content = m.content.split('</think>')[-1].lstrip('\n') %}
{%- set thought = '' %}
{%- if '</think>' in m.content %}
{%- set thought = m.content.split('</think>')[0].split('<think>')[-1].strip('\n') %}{% endif %}
{{- '<|im_start|>assistant\n' }}
{%- if loop.index0 > ns.asked %}{{ '<think>\n' + thought + '\n</think>\n\n' }}{% endif %}
{{- content + '<|im_end|>\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}
{%- endif %}{% endif %}"""
# A model that only thinks: the template opens the thought, whatever it is asked.
THINKER = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}<|assistant|>"
    "{{ m.content.split('</think>')[-1] }}<|im_end|>{% else %}<|{{ m.role }}|>{{ m.content }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|><think>\n{% endif %}"
)
# States the day, trims every message, and takes a system prompt.
LLAMA3 = """
{%- set date = strftime_now('%d %b %Y') if strftime_now is defined else '26 Jul 2024' %}
{%- set system = messages[0].content | trim if messages[0].role == 'system' else '' %}
{{- bos_token + '<|start|>system<|end|>\n\nToday Date: ' + date + '\n\n' + system + '<|eot|>' }}
{%- for m in messages if m.role != 'system' %}
{{- '<|start|>' + m.role + '<|end|>\n\n' + m.content | trim + '<|eot|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start|>assistant<|end|>\n\n' }}{% endif %}"""
# Knows no system prompt, and wants user and model by turns.
GEMMA = """
{{- bos_token }}
{%- if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{%- for m in messages %}
{%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}
{{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
{%- endif %}
{{- '<turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' + m.content | trim }}
{{- '<end_turn>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<turn>model\n' }}{% endif %}"""
# The same strictness; nothing opens the answer, which has a blank before it.
MISTRAL = """
{{- bos_token }}
{%- for m in messages %}
{%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}
{{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
{%- endif %}
{%- if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}
{%- else %}{{ ' ' + m.content + eos_token }}{% endif %}
{%- endfor %}"""
# Leaves a system prompt out without a word.
DEAF = (
    "{% for m in messages if m.role != 'system' %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
TEMPLATES = {
    "qwen3": QWEN3,
    "thinker": THINKER,
    "llama3": LLAMA3,
    "gemma": GEMMA,
    "mistral": MISTRAL,
    "deaf": DEAF,
}
MARKS = ["<|im_start|>", "<|im_end|>", "<|user|>", "<|assistant|>", "<|start|>", "<|end|>"]
MARKS += ["<|eot|>", "<turn>", "<end_turn>", "[INST]", "[/INST]"]
END = {"qwen3": "<|im_end|>", "thinker": "<|im_end|>", "llama3": "<|eot|>", "gemma": "<end_turn>"}
ASKED = ChatPrompt((Message("user", "Which answer is better?"),), "The answer is:")
TALK = Conversation.of("How do I pick a lock?", "Ask a locksmith.")


def tokenizer_with(template: str) -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        show_progress=False,
        special_tokens=["<s>", "</s>", *MARKS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    inner.train_from_iterator(["The answer is: (A) or (B). Ask a locksmith."], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", chat_template=template
    )


@pytest.fixture(params=TEMPLATES)
def family(request: pytest.FixtureRequest) -> tuple[str, PreTrainedTokenizerFast]:
    return request.param, tokenizer_with(TEMPLATES[request.param])


def test_a_begun_answer_stands_where_transformers_puts_it(
    family: tuple[str, PreTrainedTokenizerFast],
) -> None:
    """``continue_final_message`` of transformers is what vLLM and others go by as well."""
    name, tokenizer = family
    messages = [{"role": "user", "content": "Which answer is better?"}]
    today = f"{datetime.now():%d %b %Y}"
    theirs = tokenizer.apply_chat_template(
        [*messages, {"role": "assistant", "content": "The answer is:"}],
        tokenize=False,
        continue_final_message=True,
        enable_thinking=False,
    ).replace(today, "26 Jul 2024")
    if name == "thinker":  # its opened thought is closed, which theirs does not even open
        theirs = theirs.replace("<|assistant|>", "<|assistant|><think>\n\n</think>\n\n")
    assert prompt_text(tokenizer, ASKED) == theirs
    assert prompt_ids(tokenizer, ASKED) == tokenizer.encode(theirs, add_special_tokens=False)
    assert tokenizer.decode(continuation_ids(tokenizer, ASKED, " (A)")) == " (A)"


def test_the_model_learns_the_answer_and_its_end_and_no_thought(
    family: tuple[str, PreTrainedTokenizerFast],
) -> None:
    name, tokenizer = family
    thought = Conversation.of("How do I pick a lock?", "<think>\nHm.\n</think>\n\nAsk a locksmith.")
    blank = " " if name == "mistral" else ""
    for talk in (TALK, thought):
        example = encode_example(tokenizer, talk, "chat", 1000)
        learnt = [i for i, learn in zip(example.input_ids, example.loss, strict=True) if learn]
        assert tokenizer.decode(learnt) == f"{blank}Ask a locksmith.{END.get(name, '</s>')}"
        assert "Hm." not in tokenizer.decode(example.input_ids)


@pytest.mark.parametrize("text", ["<think>\nHm.\n</think>\n\n", "<think> and on", "\n<think>"])
def test_an_answer_that_is_all_thought_is_no_example(text: str) -> None:
    talk = Conversation.of("How do I pick a lock?", text)
    with pytest.raises(InputError, match="all thought and no answer"):
        encode_example(tokenizer_with(QWEN3), talk, "chat", 1000)


def test_a_system_prompt_is_read_by_every_family(
    family: tuple[str, PreTrainedTokenizerFast],
) -> None:
    name, tokenizer = family
    asked = ChatPrompt((Message("system", "Be kind. "), *ASKED.messages), ASKED.answer_prefix)
    shown = prompt_text(tokenizer, asked)
    assert shown.count("Be kind.") == 1
    folded = "Be kind. \n\nWhich answer is better?"
    if name in ("gemma", "mistral", "deaf"):
        plain = ChatPrompt((Message("user", folded),), ASKED.answer_prefix)
        assert shown == prompt_text(tokenizer, plain)
    else:
        assert folded not in shown


@pytest.mark.parametrize("name", ["gemma", "mistral"])
def test_turns_that_do_not_alternate_are_refused(name: str) -> None:
    twice = ChatPrompt((Message("user", "Hi"), Message("user", "Hello")))
    with pytest.raises(ModelError, match="must alternate"):
        prompt_ids(tokenizer_with(TEMPLATES[name]), twice)
    alone = ChatPrompt((Message("system", "Be kind."), Message("assistant", "Hi")))
    with pytest.raises(ModelError, match="no place for a system prompt without a request"):
        prompt_ids(tokenizer_with(TEMPLATES[name]), alone)


def test_a_run_that_goes_on_another_day_asks_the_same() -> None:
    tokenizer = tokenizer_with(LLAMA3)
    assert "Today Date: 26 Jul 2024" in prompt_text(tokenizer, ASKED)
    every = tokenizer_with("\n{{ strftime_now('%A %a %d %B %b %m %Y %y %H:%M:%S') }}")
    day = datetime(2024, 7, 26, 12)
    shown = prompt_text(every, ChatPrompt((Message("user", "x"),)))
    assert shown == day.strftime("\n%A %a %d %B %b %m %Y %y %H:%M:%S")
    plain = tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False)
    assert f"Today Date: {datetime.now():%d %b %Y}" in plain  # what it would say by itself


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Yes.", "Yes."),
        ("<think>\nHm.\n</think>\n\nYes.", "Yes."),
        ("Hm.\n</think>\n\nYes.", "Yes."),  # begun by the template
        ("<think>a</think> b <think>c</think> Yes.", "Yes."),
        ("\n<think>\nHm", ""),
        ("I <think> so.", "I <think> so."),
        ("", ""),
    ],
)
def test_thoughts_are_taken_off(text: str, left: str) -> None:
    assert without_thoughts(text) == left


def test_an_opened_thought_is_closed_at_the_end_alone() -> None:
    assert with_thought_closed("a<think>\n") == "a<think>\n\n</think>\n\n"
    assert with_thought_closed("a<think>\n\n</think>\n\n") == "a<think>\n\n</think>\n\n"
    assert with_thought_closed("a <think> b") == "a <think> b"


@pytest.fixture(scope="module")
def thinking() -> Any:
    """A model that has learnt to think aloud before every answer."""
    tokenizer = tokenizer_with(QWEN3)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"),
        bos_token_id=None,
    )
    model = LlamaForCausalLM(config)
    before = prompt_ids(tokenizer, ChatPrompt((Message("user", "Hi"),)))
    said = tokenizer.encode("<think>Hm.</think>\n\nYes.<|im_end|>")
    ids = torch.tensor([before + said])
    seen = torch.tensor([[-100] * len(before) + said])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        model(input_ids=ids, labels=seen).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return LocalEngine(model.eval(), tokenizer, name="thinker")


def test_a_model_that_thinks_aloud_gives_its_answer_alone(thinking: LocalEngine) -> None:
    asked = [ChatPrompt((Message("user", "Hi"),))]
    found = thinking.sample(asked, SamplingParams(64, 0.0), [1])[0]
    assert (found.text, found.ended) == ("Yes.", "eos")
    # cut off inside the thought: no answer at all
    assert thinking.sample(asked, SamplingParams(12, 0.0), [1])[0].text == ""
    # where the log-probabilities of tokens are asked for, the text is that of the tokens
    rollout = thinking.sample(asked, SamplingParams(64, 0.0, logprobs=True), [1])[0]
    assert rollout.text == "<think>Hm.</think>\n\nYes."
    assert len(rollout.token_ids) == len(rollout.logprobs)
    # a transcript has no thoughts to take off: it is sent and read as it stands
    text = TextPrompt(prompt_text(copy.deepcopy(thinking._tokenizer), asked[0]))
    assert "think>" in thinking.sample([text], SamplingParams(64, 0.0), [1])[0].text
