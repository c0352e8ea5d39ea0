"""Texts to ids, and what a tokenizer does of itself before and behind them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from constitutional.dialogue.control import pieces
from constitutional.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def encode_texts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """The ids of each text, with no special tokens but those that are spelt out in it.

    A text is cut at its guards (:mod:`constitutional.dialogue.control`), which are not encoded.
    """
    if not texts:
        return []
    parts = [pieces(text) for text in texts]
    # verbose=False: length is the caller's concern, and `cut` reports it
    encoded = tokenizer([part[0] for part in parts], add_special_tokens=False, verbose=False)
    return [
        [*ids, *(token for piece in rest for token in continue_text(tokenizer, "\n", piece))]
        for ids, (_, *rest) in zip(encoded["input_ids"], parts, strict=True)
    ]


def encode_text(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """:func:`encode_texts` of one."""
    return encode_texts(tokenizer, [text])[0]


def continue_text(tokenizer: PreTrainedTokenizerBase, before: str, text: str) -> list[int]:
    """:func:`continue_all` of one."""
    return continue_all(tokenizer, [(before, text)])[0]


def continue_all(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[tuple[str, str]]
) -> list[list[int]]:
    """The ids of each second text where it stands after the first, which keeps its own ids.

    Tokenizers of the SentencePiece kind put a blank before every text they are given, so that a
    piece encoded alone would begin with one blank too many: the piece is cut out of the whole. It
    is encoded alone only where the whole would merge across the seam.
    """
    starts = encode_texts(tokenizer, [before for before, _ in texts])
    wholes = encode_texts(tokenizer, [before + text for before, text in texts])
    return [
        whole[len(start) :] if whole[: len(start)] == start else encode_text(tokenizer, text)
        for (_, text), start, whole in zip(texts, starts, wholes, strict=True)
    ]


def puts_bos_first(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether plain text gets a beginning token by default: asked of the tokenizer by trying.

    Settings such as ``add_bos_token`` are not reliable: a fast tokenizer follows its
    post-processor.
    """
    bos = tokenizer.bos_token_id
    if bos is None:
        return False
    by_default: list[int] = tokenizer.encode("a")
    return by_default[:1] == [bos] and encode_text(tokenizer, "a")[:1] != [bos]


def end_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The end token of the tokenizer. Raises ModelError where it has none."""
    end: int | None = tokenizer.eos_token_id
    if end is None:
        raise ModelError(
            "the tokenizer has no end-of-sequence token, so that a model could not learn to stop: "
            "set eos_token in its tokenizer_config.json"
        )
    return end
