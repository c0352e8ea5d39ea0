"""Words that a tokenizer cannot represent, found before a run instead of inside it.

Byte-level tokenizers know every text. A tokenizer with an unknown-word token turns what it does not
know into that token, and the model reads a hole: a constitution must not lose its key word so.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING

from constitutional.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def unknown_words(tokenizer: PreTrainedTokenizerBase, text: str) -> list[str]:
    """The words of ``text`` that become the unknown-word token, each once, in order.

    Always empty for tokenizers without such a token, byte-level ones among them.
    """
    unk = tokenizer.unk_token_id
    if unk is None:
        return []
    words = _words_by_offset if tokenizer.is_fast else _words_by_blank
    # byte-level tokenizers often name their end token as unk too: that text itself is known
    return [
        word for word in dict.fromkeys(words(tokenizer, text, unk)) if word != tokenizer.unk_token
    ]


def check_vocabulary(tokenizer: PreTrainedTokenizerBase, texts: Mapping[str, str]) -> None:
    """Refuse texts with words that the tokenizer does not know.

    ``texts`` maps where a text stands (a file and a key, say) to the text. Raises InputError with
    the first such word, where it stands, and up to three known words that are nearest to it.
    """
    for where, text in texts.items():
        unknown = unknown_words(tokenizer, text)
        if unknown:
            raise InputError(_complaint(where, unknown, _known_words(tokenizer)))


def _complaint(where: str, unknown: list[str], known: list[str]) -> str:
    word = unknown[0]
    close = get_close_matches(word, known, n=3) or get_close_matches(word.lower(), known, n=3)
    hint = "nearest known words: " + ", ".join(close) if close else "no known word is near it"
    more = f" (nor are {len(unknown) - 1} more words there)" if len(unknown) > 1 else ""
    return f"{where}: the model's vocabulary does not hold {word!r}{more}; {hint}"


def _words_by_offset(tokenizer: PreTrainedTokenizerBase, text: str, unk: int) -> list[str]:
    encoding = tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)
    words = []
    for index, token in enumerate(encoding["input_ids"]):
        if token != unk:
            continue
        word = encoding.token_to_word(index)
        span = encoding.token_to_chars(index) if word is None else encoding.word_to_chars(word)
        if span is not None:
            words.append(text[span.start : span.end].strip())
    return words


def _words_by_blank(tokenizer: PreTrainedTokenizerBase, text: str, unk: int) -> list[str]:
    return [w for w in text.split() if unk in tokenizer.encode(w, add_special_tokens=False)]


def _known_words(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    special = set(tokenizer.all_special_tokens)
    words = (word for word in tokenizer.get_vocab() if word not in special)
    return sorted({word.lstrip(" Ġ▁") for word in words} - {""})
