"""How a causal LM becomes a preference model: a new head, and a tokenizer that says how to score.

The card says what must fit when :mod:`constitutional.preference.model` reads the folder again.
"""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field

from constitutional.dialogue.conversation import Conversation
from constitutional.dialogue.encoding import encode_text
from constitutional.dialogue.templates import undated
from constitutional.dialogue.tokens import encode_example, prompt_ids
from constitutional.dialogue.transcript import opening
from constitutional.engines.base import Style, TextPrompt
from constitutional.errors import ModelError

#: A conversation and an answer of many kinds of characters, on which template and tokens are tried.
PROBE = Conversation.of("Ist das ein naïve Frage?\n\n  1+1 = ?", "No; it's 2.", "Thanks 🙂!")
ANSWER = "You are welcome, e.g. at 17:30."


class Card(BaseModel):
    """What ``preference_model.json`` holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    form: int = Field(default=1, ge=1, le=1)
    style: Style
    #: The token that every text begins with; None where there is none. It is never there twice.
    begin_token: str | None
    #: The end-of-context token, at which the score is read, and the one that fills up a batch.
    end_token: str
    end_id: int
    pad_id: int
    #: The chat template that writes the texts, and a mark of the tokenizer that cuts them up.
    template: str
    tokenizer: str
    #: Of the raw scores of so many held-out responses; None before the training has ended.
    mean: float | None = None
    deviation: float | None = None
    scored: int = 0

    def before_training(self) -> Card:
        """The same without the moments of scores, which a training ends with."""
        return self.model_copy(update={"mean": None, "deviation": None, "scored": 0})


def begin_head(network: Any, missing: set[str], seed: int, model: str | Path) -> None:
    """Draw the head, which must be all that the causal LM lacks."""
    parameters = dict(network.named_parameters())
    new = {name: parameters[name] for name in sorted(missing) if name in parameters}
    head = [name for name, weight in new.items() if weight.ndim == 2 and weight.shape[0] == 1]
    rest = [name for name in sorted(missing) if name not in head and not name.endswith(".bias")]
    if len(head) != 1 or rest:
        raise ModelError(
            f"{model}: a preference model needs a causal language model with its weights; "
            f"{type(network).__name__} lacks {', '.join(rest or sorted(missing)) or 'no head'}"
        )
    scale = getattr(network.config.get_text_config(), "initializer_range", 0.02)
    generator = torch.Generator().manual_seed(seed % 2**63)
    with torch.no_grad():
        for name, weight in new.items():
            drawn = torch.zeros(weight.shape)
            if name in head:
                drawn.normal_(0.0, scale, generator=generator)
            weight.copy_(drawn)


def begin_card(network: Any, tokenizer: Any, style: Style) -> Card:
    """Make tokenizer and configuration say how a text is scored; the card repeats it."""
    config = network.config.get_text_config()
    example = encode_example(tokenizer, PROBE.add("assistant", ANSWER), style, 2**30)
    end_id = example.input_ids[-1]
    end = tokenizer.convert_ids_to_tokens(end_id)
    bos = _begin_token(tokenizer, style)
    pad = _pad_token(tokenizer, end_id, set(example.input_ids))
    if style == "transcript":
        tokenizer.chat_template = _transcript_template(bos or "", end)
    else:
        tokenizer.chat_template = _ending_in(end, tokenizer.get_chat_template())
    tokenizer.add_special_tokens({"pad_token": pad})
    tokenizer.padding_side = "right"
    _add_nothing(tokenizer)
    rows = network.get_input_embeddings().weight.shape[0]
    if tokenizer.pad_token_id >= rows:
        network.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        with torch.no_grad():
            network.get_input_embeddings().weight[rows:] = 0.0
    config.pad_token_id = tokenizer.pad_token_id
    network.config.problem_type = "regression"  # a text-classification pipeline gives raw scores
    return Card(
        style=style,
        begin_token=bos,
        end_token=end,
        end_id=end_id,
        pad_id=tokenizer.pad_token_id,
        template=tokenizer.get_chat_template(),
        tokenizer=mark(tokenizer),
    )


def _begin_token(tokenizer: Any, style: Style) -> str | None:
    """The beginning token of a text, as the policies of this style see it."""
    if tokenizer.bos_token is None:
        return None
    if style == "transcript":
        begins = prompt_ids(tokenizer, TextPrompt(opening("human")))[0] == tokenizer.bos_token_id
    else:
        begins = tokenizer.apply_chat_template(
            [{"role": "user", "content": "?"}], tokenize=False
        ).startswith(tokenizer.bos_token)
    return str(tokenizer.bos_token) if begins else None


def _pad_token(tokenizer: Any, end_id: int, used: set[int]) -> str:
    """A special token that is not the end-of-context token: the pad token, or an unused one.

    An ordinary token would not do, since being special changes how a tokenizer cuts texts up. A
    new one is added where there is no other.
    """
    special = {
        number: str(token)
        for number, token in sorted(tokenizer.added_tokens_decoder.items())
        if token.special and number != end_id
    }
    if tokenizer.pad_token_id in special:
        return special[tokenizer.pad_token_id]
    free = [token for number, token in special.items() if number not in used]
    named = [token for token in free if "pad" in token.lower()]
    return (named or free or ["<|pad|>"])[0]


def _add_nothing(tokenizer: Any) -> None:
    """Stop the tokenizer from putting tokens around a text: the template writes them all."""
    from tokenizers.processors import TemplateProcessing

    for setting in ("add_bos_token", "add_eos_token"):
        if getattr(tokenizer, setting, False):
            setattr(tokenizer, setting, False)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None and tokenizer("a")["input_ids"] != encode_text(tokenizer, "a"):
        backend.post_processor = TemplateProcessing(single="$A", pair="$A $B", special_tokens=[])


def _transcript_template(begin: str, end: str) -> str:
    """The paper's transcript as a chat template, from the beginning token to the end's."""

    def quoted(text: str) -> str:
        return json.dumps(text, ensure_ascii=False)

    asks, answers = (quoted(opening(role) + " ") for role in ("human", "assistant"))
    return (
        f"{{{{ {quoted(begin)} }}}}{{% for message in messages %}}"
        f"{{% if message['role'] == 'user' %}}{{{{ {asks} }}}}"
        f"{{% elif message['role'] == 'assistant' %}}{{{{ {answers} }}}}"
        "{% else %}{{ raise_exception('a transcript has only user and assistant') }}{% endif %}"
        f"{{{{ message['content'] }}}}{{% endfor %}}{{{{ {quoted(end)} }}}}"
    )


def _ending_in(end: str, template: str) -> str:
    """The chat template without thinking, without today's date, and with nothing behind the end of
    the last turn."""
    token = json.dumps(end, ensure_ascii=False)
    return undated(
        "{% set enable_thinking = false %}{% set written %}" + template + "{% endset %}"
        f"{{{{ written.rstrip() }}}}{{% if not written.rstrip().endswith({token}) %}}"
        f"{{{{ {token} }}}}{{% endif %}}"
    )


def mark(tokenizer: Any) -> str:
    """A digest of the vocabulary and of how a text of many kinds is cut up."""
    probe = " ".join([*(turn.text for turn in PROBE.turns), ANSWER])
    plain = json.dumps([sorted(tokenizer.get_vocab().items()), encode_text(tokenizer, probe)])
    return sha256(plain.encode()).hexdigest()
