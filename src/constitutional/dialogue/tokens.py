"""Token ids for training and for sampling, made by the same steps.

Two rules keep clear of the errors that are found too late in other trainers. The loss mask is
carried by *position*, from where the model-written text begins, and never worked out from token
ids: so a pad token that equals the end token, or an end token inside an earlier turn, changes
nothing. And a prompt has one tokenisation: the ids that a model is sampled from are exactly the
first ids of the example that it is trained on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from constitutional.dialogue.beginnings import encode_together
from constitutional.dialogue.control import guarded, guarded_turn, visible
from constitutional.dialogue.conversation import REQUESTING_ROLES, Conversation, Turn
from constitutional.dialogue.encoding import (
    continue_all,
    continue_text,
    encode_text,
    encode_texts,
    end_id,
    puts_bos_first,
)
from constitutional.dialogue.quoting import quoted
from constitutional.dialogue.rendering import chat_messages, prompt_for
from constitutional.dialogue.templates import apply_template
from constitutional.dialogue.vocabulary import check_vocabulary as check_vocabulary
from constitutional.dialogue.vocabulary import unknown_words as unknown_words
from constitutional.engines.base import ChatPrompt, Message, Prompt, Style, TextPrompt
from constitutional.engines.thoughts import (
    begins_with_thought,
    without_thoughts,
)
from constitutional.errors import InputError, ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: Stands in for the answer while the template's frame around it is found out.
_PLACEHOLDER = "THEanswerSTANDSinTHISplace"
#: Characters before a continuation, and tokens among them, that decide how it is cut into tokens.
_NEAR, _ALIKE = 16, 3
_EMPTY_THOUGHT = re.compile(r"\s*<think>\s*</think>\s*")


@dataclass(frozen=True)
class TokenizedExample:
    """One training example.

    ``loss`` is as long as ``input_ids`` and True on the tokens that the model is to learn to write:
    the last turn and its end. ``cut`` is True when the example is longer than the limit asked for;
    it is returned whole all the same, and the caller decides what to do with it.
    """

    input_ids: list[int]
    loss: list[bool]
    cut: bool


def encode_example(
    tokenizer: PreTrainedTokenizerBase, conversation: Conversation, style: Style, max_length: int
) -> TokenizedExample:
    """The conversation as a training example whose last turn, with its end, is the target.

    ``max_length`` counts tokens, those of the prompt and the end included. A thought
    (``<think>...</think>``) in the last turn is left out. Raises ValueError when the last turn is
    not one that a model writes, ModelError when the tokenizer lacks an end token or a usable chat
    template, InputError when the turns of a chat do not alternate or the last one is all thought.
    """
    return encode_examples(tokenizer, [conversation], style, max_length)[0]


def encode_examples(
    tokenizer: PreTrainedTokenizerBase,
    conversations: Sequence[Conversation],
    style: Style,
    max_length: int,
) -> list[TokenizedExample]:
    """:func:`encode_example` of each; many texts at once are encoded faster than one by one."""
    spoken = [_checked(conversation) for conversation in conversations]
    prompts = [
        prompt_for(Conversation(turns=each.turns[:-1]), each.last.role, style) for each in spoken
    ]
    targets = _targets(tokenizer, prompts, spoken)
    examples = []
    for ids, target in zip(prompts_ids(tokenizer, prompts), targets, strict=True):
        loss = [False] * len(ids) + [True] * len(target)
        examples.append(TokenizedExample(ids + target, loss, cut=len(loss) > max_length))
    return examples


def _checked(conversation: Conversation) -> Conversation:
    if not conversation.turns or conversation.last.role in REQUESTING_ROLES:
        raise ValueError("a training example ends in a turn that the model is to write")
    return _without_thoughts(conversation)


def _targets(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt], spoken: Sequence[Conversation]
) -> list[list[int]]:
    """The ids of each last turn, with its end."""
    texts = [
        (guarded(tokenizer, prompt.text), guarded(tokenizer, " " + quoted(each.last.text)))
        for prompt, each in zip(prompts, spoken, strict=True)
        if isinstance(prompt, TextPrompt)
    ]
    answers = iter(continue_all(tokenizer, texts))
    return [
        _chat_target_ids(tokenizer, prompt, chat_messages(each))
        if isinstance(prompt, ChatPrompt)
        else [*next(answers), end_id(tokenizer)]
        for prompt, each in zip(prompts, spoken, strict=True)
    ]


def _without_thoughts(conversation: Conversation) -> Conversation:
    *before, last = conversation.turns
    if not begins_with_thought(last.text):
        return conversation
    text = without_thoughts(last.text)
    if not text.strip():
        raise InputError(
            f"a training example is all thought and no answer ({last.text[:40]!r}): leave it out"
        )
    return Conversation(turns=(*before, Turn(role=last.role, text=text)))


def prompt_ids(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> list[int]:
    """The ids to sample from: the first ids of :func:`encode_example` of the same prompt.

    A text gets the beginning token if this tokenizer puts one before plain text by default. A chat
    gets what its template writes, and nothing more. Control tokens that the texts spell out are
    text (:mod:`constitutional.dialogue.control`). Raises ModelError when a
    chat is asked for and the tokenizer has no chat template, or one that refuses the messages.
    """
    return prompts_ids(tokenizer, [prompt])[0]


def prompts_ids(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt]) -> list[list[int]]:
    """:func:`prompt_ids` of each prompt; many texts at once are encoded faster than one by one."""
    texts = [guarded(tokenizer, p.text) for p in prompts if isinstance(p, TextPrompt)]
    encoded = iter(_texts_ids(tokenizer, texts))
    return [
        next(encoded) if isinstance(prompt, TextPrompt) else _chat_ids(tokenizer, prompt)
        for prompt in prompts
    ]


def _texts_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    if not texts:
        return []
    encoded = encode_together(partial(encode_texts, tokenizer), texts)
    bos = [tokenizer.bos_token_id] if puts_bos_first(tokenizer) else []
    return [[*bos, *ids] for ids in encoded]


def _chat_ids(tokenizer: PreTrainedTokenizerBase, prompt: ChatPrompt) -> list[int]:
    opened, begun = _opened(tokenizer, prompt)
    return encode_text(tokenizer, opened) + continue_text(tokenizer, opened, begun)


def prompt_text(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> str:
    """The prompt as one text with its special tokens, for a program that adds none of its own.

    Encoded without special tokens it gives :func:`prompt_ids`, but for control tokens that were
    spelt out in it: they are broken up by a backslash. Raises as that does.
    """
    if isinstance(prompt, ChatPrompt):
        return visible("".join(_opened(tokenizer, prompt)))
    bos = tokenizer.bos_token if puts_bos_first(tokenizer) else ""
    return f"{bos}{visible(guarded(tokenizer, prompt.text))}"


def answer_end_id(tokenizer: PreTrainedTokenizerBase, style: Style) -> int:
    """The token that ends every training example, and so what a trained model ends its turns with.

    In a chat it may be another than the tokenizer's end token: that of many pretrained models ends
    a document. Raises ModelError as :func:`encode_example` does.
    """
    example = encode_example(tokenizer, Conversation.of("a", "b"), style, max_length=1)
    return example.input_ids[-1]


def continuation_ids(tokenizer: PreTrainedTokenizerBase, prompt: Prompt, text: str) -> list[int]:
    """The ids of ``text`` as what follows ``prompt``; to be put after :func:`prompt_ids` of it."""
    if isinstance(prompt, TextPrompt):
        return continue_text(tokenizer, guarded(tokenizer, prompt.text), text)
    return continue_text(tokenizer, "".join(_opened(tokenizer, prompt)), text)


class Continuations:
    """:func:`continuation_ids` of the same few texts behind many prompts.

    How a text is cut into tokens depends on what is right before it and on nothing far away: where
    prompts end alike, their continuations are worked out once.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]):
        self._tokenizer, self._texts = tokenizer, texts
        self._known: dict[str, tuple[list[int], list[list[int]]]] = {}

    def behind(self, prompt: Prompt, ids: Sequence[int]) -> list[list[int]]:
        """The ids of each text behind ``prompt``, whose :func:`prompt_ids` are ``ids``."""
        if isinstance(prompt, TextPrompt) and len(prompt.text) > _NEAR:
            end = prompt.text[-_NEAR:]
            if end not in self._known:
                near = guarded(self._tokenizer, end)
                alone = [continue_text(self._tokenizer, near, text) for text in self._texts]
                self._known[end] = encode_text(self._tokenizer, near), alone
            known, found = self._known[end]
            # the first tokens of the end alone may be others than within the prompt
            if len(known) > _ALIKE and list(ids[-_ALIKE:]) == known[-_ALIKE:]:
                return found
        return [continuation_ids(self._tokenizer, prompt, text) for text in self._texts]


def _opened(tokenizer: PreTrainedTokenizerBase, prompt: ChatPrompt) -> tuple[str, str]:
    """The chat up to the assistant's turn, and what that turn begins with.

    Some templates put a blank before every answer (Mistral's), and so before a begun one; others
    a header, which training has the model write.
    """
    opened = apply_template(tokenizer, prompt.messages, awaiting_answer=True)
    if not prompt.answer_prefix:
        return opened, ""
    answer = Message("assistant", _PLACEHOLDER)
    whole = apply_template(tokenizer, [*prompt.messages, answer], awaiting_answer=False)
    before, found, _ = whole.partition(_PLACEHOLDER)
    lead = before.removeprefix(opened) if found and before.startswith(opened) else ""
    begun = "" if _EMPTY_THOUGHT.fullmatch(lead) else lead
    return opened, begun + guarded_turn(tokenizer, prompt.answer_prefix)


def _chat_target_ids(
    tokenizer: PreTrainedTokenizerBase, prompt: ChatPrompt, messages: tuple[Message, ...]
) -> list[int]:
    """The ids of the answer and its end; the end token is added where the template has none."""
    prefix = apply_template(tokenizer, prompt.messages, awaiting_answer=True)
    text, closing = _answer_text(tokenizer, messages, prefix)
    ids = continuation_ids(tokenizer, prompt, text + closing)
    if not closing or not _is_marker(tokenizer, ids[-1]):
        ids.append(end_id(tokenizer))
    return ids


def _answer_text(
    tokenizer: PreTrainedTokenizerBase, messages: tuple[Message, ...], prefix: str
) -> tuple[str, str]:
    """What the model writes after ``prefix``, and the text that ends its turn (may be empty).

    The frame around the answer is found with a placeholder, since an answer such as "end" may also
    occur inside the end-of-turn text. The answer itself is taken as the template writes it (many
    strip blanks), or verbatim where the template rewrites it.
    """
    *before, answer = messages
    framed = apply_template(
        tokenizer, [*before, Message("assistant", _PLACEHOLDER)], awaiting_answer=False
    )
    opening, found, closing = framed.partition(_PLACEHOLDER)
    if not found:
        raise ModelError("the chat template leaves out the assistant's last message")
    full = apply_template(tokenizer, messages, awaiting_answer=False)
    content = guarded_turn(tokenizer, answer.content)
    if full.startswith(opening) and full[len(opening) :].endswith(closing):
        content = full[len(opening) : len(full) - len(closing)]
    # a model that has written its end-of-turn token is not asked for the line break behind it
    return _header(prefix, opening) + content, closing.rstrip()


def _header(prefix: str, opening: str) -> str:
    """What the template puts between the open prompt and the answer, and the model must write.

    Mostly nothing. An empty thought that only one of the two holds is left out, so that training
    and sampling both put the answer right after the open prompt.
    """
    if opening.startswith(prefix):
        extra = opening[len(prefix) :]
        return "" if _EMPTY_THOUGHT.fullmatch(extra) else extra
    extra = prefix.removeprefix(opening)
    if prefix.startswith(opening) and (not extra.strip() or _EMPTY_THOUGHT.fullmatch(extra)):
        return ""
    raise ModelError(
        "the chat template writes a finished answer otherwise than it opens one (it opens with "
        f"{prefix[-40:]!r}, it writes {opening[-40:]!r}): pass a chat template without thinking"
    )


def _is_marker(tokenizer: PreTrainedTokenizerBase, token: int) -> bool:
    return token in tokenizer.all_special_ids or token in tokenizer.added_tokens_decoder
