"""The preference model: one scalar head on a causal LM, read at an end-of-context token.

It is a Hugging Face sequence-classification folder, and everything that a score depends on is in
it. The tokenizer's chat template writes the whole text that is scored, its beginning token and its
end-of-context token included, and the tokenizer adds nothing of its own; so that transformers, TRL
and RewardBench, which know nothing of us, read the same ids and give the same numbers.
``preference_model.json`` beside the weights repeats what has to fit, and a folder in which it does
not fit is refused.

transformers reads the score at the last token that is not the pad token, by id. The end-of-context
token ends every text, and it is never the pad token; so that this is its position whatever the
padding, also where the tokenizer pads with its end token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from pydantic import ValidationError
from transformers import AutoModelForSequenceClassification
from transformers.utils import logging as transformers_logging

from constitutional.dialogue.conversation import Conversation
from constitutional.dialogue.encoding import encode_text, encode_texts
from constitutional.dialogue.quoting import quoted
from constitutional.dialogue.rendering import chat_messages
from constitutional.dialogue.templates import guarded_messages
from constitutional.engines.adapter_folders import base_of, is_adapter_folder
from constitutional.engines.base import Message, Quantize, Style
from constitutional.engines.loading import (
    load_tokenizer,
    on_base,
    placing,
    position_limit,
    without_bars,
)
from constitutional.errors import InputError, ModelError
from constitutional.packing import Batching, pad_rows
from constitutional.preference.begin import (
    ANSWER,
    PROBE,
    Card,
    begin_card,
    begin_head,
    mark,
)
from constitutional.preference.combined import Item, Response, logistic
from constitutional.preference.reading import scalar_head, scores_of

CARD = "preference_model.json"


@dataclass
class PreferenceModel:
    """A preference model in memory. Scores are computed in evaluation mode, without gradients."""

    network: Any
    tokenizer: Any
    card: Card
    #: Where it came from, for messages.
    name: str = "this preference model"
    #: How many texts are scored at a time.
    batch_size: int = 32
    #: The file beside the weights that says what the folder is.
    card_name: str = CARD
    #: The name of the network's layer that gives the score; found where it is not given.
    head: str = ""

    def __post_init__(self) -> None:
        self.head = self.head or scalar_head(self.network, self.name)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        style: Style | None = None,
        device: str = "auto",
        dtype: str = "float32",
        quantize: Quantize | None = None,
        card_name: str = CARD,
    ) -> PreferenceModel:
        """Read a folder. Raises ModelError when it is no preference model, or is one that does not
        fit: its tokenizer or template has changed, or it reads another style than ``style``.

        Scores in a 16-bit format differ in the third digit; therefore it is not the default.
        """
        read_card(Path(folder), card_name)
        network, missing = _load(folder, device, dtype, quantize)
        if missing:
            raise ModelError(f"{folder}: its weights lack {sorted(missing)[0]}")
        return cls.around(network, folder, style=style, card_name=card_name)

    @classmethod
    def around(
        cls,
        network: Any,
        folder: str | Path,
        *,
        style: Style | None = None,
        card_name: str = CARD,
        head: str = "",
    ) -> PreferenceModel:
        """The preference model of ``folder`` with a network that is in memory already.

        Raises ModelError where they do not fit, as :meth:`load` does.
        """
        card = read_card(Path(folder), card_name)
        tokenizer = load_tokenizer(folder)
        model = cls(network, tokenizer, card, str(folder), card_name=card_name, head=head)
        model._check()
        if style is not None and style != card.style:
            raise ModelError(
                f"{folder} scores texts in {card.style} style, but {style} was asked for: use "
                f"style: {card.style}, or train a preference model in {style} style"
            )
        return model

    @classmethod
    def begin(
        cls,
        model: str | Path,
        *,
        style: Style,
        seed: int,
        device: str = "auto",
        dtype: str = "float32",
        quantize: Quantize | None = None,
    ) -> PreferenceModel:
        """A preference model before its training from the folder of a causal LM.

        The trunk is that of ``model``; the head is drawn by ``seed`` at the scale at which
        transformers begins its layers. A folder that is a preference model goes on as it is.
        """
        if (Path(model) / CARD).is_file():
            return cls.load(model, style=style, device=device, dtype=dtype, quantize=quantize)
        tokenizer = load_tokenizer(model)
        network, missing = _load(model, device, dtype, quantize)
        begin_head(network, missing, seed, model)
        card = begin_card(network, tokenizer, style)
        begun = cls(network, tokenizer, card, str(model))
        begun._check()
        # matrices of other shapes are added up in another order: in 16 bits that is seen
        begun._check_reading(1e-3 if quantize is None and dtype == "float32" else 5e-2)
        return begun

    def save(self, folder: Path) -> None:
        """Write the folder; the card comes last, so that a folder which has one is whole."""
        with without_bars():
            self.network.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        (folder / self.card_name).write_text(
            self.card.model_dump_json(indent=2) + "\n", encoding="utf-8"
        )

    # Texts and tokens

    def text(self, conversation: Conversation, response: str) -> str:
        """All of the text that is scored: what the stored template makes of the messages.

        Control tokens that they spell out are guarded (:mod:`constitutional.dialogue.control`).
        """
        messages = [
            {"role": message.role, "content": message.content}
            for message in guarded_messages(
                self.tokenizer, _messages(conversation, response, self.card.style)
            )
        ]
        try:
            text: str = self.tokenizer.apply_chat_template(messages, tokenize=False)
        except (TemplateError, ValueError, TypeError) as error:
            raise ModelError(f"the chat template refuses these messages: {error}") from error
        return text

    def tokens(self, conversation: Conversation, response: str) -> list[int]:
        """The ids that are scored, the end-of-context token last."""
        return self.tokens_of([Response(conversation, response)])[0]

    def tokens_of(self, items: Sequence[Item]) -> list[list[int]]:
        """:meth:`tokens` of each; many texts at once are encoded faster than one by one."""
        return encode_texts(self.tokenizer, [self.text(i.conversation, i.response) for i in items])

    # Scores

    def score(self, conversation: Conversation, response: str) -> float:
        """The raw score. Only differences mean anything; higher is better."""
        return self.scores([Response(conversation, response)])[0]

    def scores(self, items: Sequence[Item]) -> list[float]:
        """The raw score of each, in order."""
        return self.scores_of_tokens(self.tokens_of(items))

    def scores_of_tokens(self, rows: Sequence[Sequence[int]]) -> list[float]:
        """The raw score of each row of ids, which ends in the end-of-context token."""
        for row in rows:
            if not row or row[-1] != self.card.end_id:
                raise ValueError(f"a row ends in the end-of-context token {self.card.end_id}")
            if not self.fits(row):
                limit = position_limit(self.network.config)
                raise InputError(
                    f"a text of {len(row)} tokens cannot be scored: {self.name} reads {limit}"
                )
        was_training = self.network.training
        self.network.eval()
        scores = self._forward(rows)
        self.network.train(was_training)
        return scores

    def fits(self, row: Sequence[int]) -> bool:
        """Whether a row has no more ids than the network reads."""
        limit = position_limit(self.network.config)
        return limit is None or len(row) <= limit

    def probability(self, conversation: Conversation, response: str) -> float:
        """How probably this is better than a typical held-out response, in (0, 1)."""
        return self.probabilities([Response(conversation, response)])[0]

    def probabilities(self, items: Sequence[Item]) -> list[float]:
        """The logistic of each raw score against the stored mean."""
        return [logistic(raw - self.mean) for raw in self.scores(items)]

    @property
    def mean(self) -> float:
        """The mean of the raw scores of the held-out responses."""
        return self._stored(self.card.mean)

    @property
    def deviation(self) -> float:
        """The standard deviation of the raw scores of the held-out responses."""
        return self._stored(self.card.deviation)

    def check_policy(self, tokenizer: Any, style: Style) -> None:
        """Raises ModelError when a policy of this tokenizer and style does not fit.

        Each token of the policy must be the same id here; this model may have a pad token more.
        """
        if style != self.card.style:
            raise ModelError(
                f"the policy speaks in {style} style, but {self.name} scores {self.card.style}"
            )
        here = self.tokenizer.get_vocab()
        for token, number in tokenizer.get_vocab().items():
            if here.get(token) != number:
                raise ModelError(
                    f"the policy's tokenizer is not that of {self.name}: {token!r} is "
                    f"{number} there and {here.get(token)} here"
                )

    def _forward(self, rows: Sequence[Sequence[int]]) -> list[float]:
        """The scores of rows, rows of like length at a time."""
        order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
        found = [0.0] * len(rows)
        with torch.inference_mode(), self._batching.attention(self.network):
            for at in range(0, len(order), self.batch_size):
                part = order[at : at + self.batch_size]
                together = self._batching.rows([rows[index] for index in part])
                scores = scores_of(self.network, self.head, together.to(self.network.device))
                for index, score in zip(part, scores.tolist(), strict=True):
                    found[index] = score
        return found

    @cached_property
    def _batching(self) -> Batching:
        return Batching.of(self.network)

    def _stored(self, moment: float | None) -> float:
        if moment is None:
            raise ModelError(f"{self.name} has no score mean yet: its training has not ended")
        return moment

    def _check(self) -> None:
        """Raises ModelError when tokenizer, template and weights are not those of the card."""
        card, tokenizer = self.card, self.tokenizer
        if tokenizer.get_chat_template() != card.template:
            raise ModelError(
                f"{self.name}: its chat template is not the one that it was trained with "
                f"({self.card_name}); put back the tokenizer's files"
            )
        if mark(tokenizer) != card.tokenizer:
            raise ModelError(
                f"{self.name}: its tokenizer is not the one that it was trained with "
                f"({self.card_name}); put back the tokenizer's files"
            )
        text = self.text(PROBE, ANSWER)
        ids = encode_text(tokenizer, text)
        if tokenizer(text)["input_ids"] != ids:
            raise ModelError(
                f"{self.name}: its tokenizer puts tokens of its own around a text: set "
                "add_bos_token and add_eos_token to false in tokenizer_config.json"
            )
        pad_id = self.network.config.get_text_config().pad_token_id
        if ids[-1] != card.end_id or pad_id != card.pad_id or card.pad_id == card.end_id:
            raise ModelError(
                f"{self.name}: its texts end in token {ids[-1]} and its config.json pads with "
                f"{pad_id}, but {self.card_name} says {card.end_id} and {card.pad_id}"
            )

    def _check_reading(self, tolerance: float) -> None:
        """Raises ModelError where the score is not the head on the last token's hidden state."""
        row = self.tokens(PROBE, ANSWER)
        other = self.tokens(PROBE, ANSWER * 3)
        with torch.inference_mode():
            ids = torch.tensor([row], device=self.network.device)
            states = self.network.base_model(ids).last_hidden_state
            by_hand = self.network.get_submodule(self.head)(states[0, -1]).item()
            padded = pad_rows([row, other], self.card.pad_id).to(self.network.device)
            read = padded.forward(self.network).logits[0, 0].item()
        if abs(read - by_hand) > tolerance:
            raise ModelError(
                f"{self.name}: {type(self.network).__name__} does not read its score at the last "
                "token of a padded text; use a causal language model"
            )


# Loading


def read_card(folder: Path, name: str = CARD) -> Card:
    """The card in a folder. Raises ModelError."""
    try:
        return Card.model_validate_json((folder / name).read_bytes())
    except OSError:
        what = Path(name).stem.replace("_", " ")
        raise ModelError(
            f"{folder} is no {what} of ours: it has no {name}; train one with this package, or "
            "give the folder that its training wrote"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ModelError(f"{folder / name} cannot be read: {where}: {first['msg']}") from error


def _load(
    model: str | Path, device: str, dtype: str, quantize: Quantize | None
) -> tuple[Any, set[str]]:
    """The network with one label, without dropout, and the names of tensors it lacks."""
    placed, place = placing(device, dtype, quantize)
    adapters, model = (Path(model), base_of(model)) if is_adapter_folder(model) else (None, model)
    local = Path(model).exists()
    try:
        with without_bars(), _without_warnings():
            network, info = AutoModelForSequenceClassification.from_pretrained(
                str(model),
                num_labels=1,
                trust_remote_code=False,
                local_files_only=local,
                use_safetensors=True,
                **placed,
                output_loading_info=True,
            )
    except ModelError:
        raise
    except Exception as error:  # whatever the libraries raise on a broken model, the user sees why
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"{model} cannot be loaded for sequence classification: {first_line}"
        ) from error
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # the two texts of a comparison are to be seen by the same network
    if adapters is not None:
        network = on_base(network, adapters, merge=quantize is None)
    network = network if "device_map" in placed else network.to(place)
    return network.eval(), set(info["missing_keys"])


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Without the report that a head is missing: here it is expected, or told in a sentence."""
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)


def _messages(
    conversation: Conversation, response: str, style: Style
) -> tuple[Message, ...] | list[Message]:
    if not conversation.turns or conversation.last.role != "human":
        found = (
            f"ends in a turn of {conversation.last.role!r}" if conversation.turns else "is empty"
        )
        raise InputError(f"a response answers a human turn, but the conversation {found}")
    whole = conversation.add("assistant", response)
    if style == "chat":
        return chat_messages(whole)
    for turn in whole.turns:
        if turn.role not in ("human", "assistant"):
            raise InputError(
                "a preference model reads turns of the human and the assistant, found one of "
                f"{turn.role!r}"
            )
    return [
        Message("user" if t.role == "human" else "assistant", quoted(t.text)) for t in whole.turns
    ]
