"""A word-level tokenizer that gives back every text that it knows, byte for byte.

A token is a word with the blank before it; role markers, choice letters and brackets are tokens of
their own. A word outside the vocabulary becomes ``<unk>``, which every stage refuses by name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from constitutional.dialogue.quoting import MARKERS

UNKNOWN, END, PAD = "<unk>", "<|endoftext|>", "<pad>"

_MARKERS = "|".join((*MARKERS.values(), "H", "A"))
_TOKEN = (
    rf"\n\n(?:{_MARKERS}):"  # a role marker with its blank line
    r"|\n+"
    r"| ?\((?:A|B|H)\)"  # a choice letter
    r"| ?\[\[\[|\]\]\]"
    r"| ?[A-Za-z]+(?:'[a-z]+)?"
    r"| ?[0-9]+"
    r"| ?[^\sA-Za-z0-9]"
    r"| +"
)


def _pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Split(Regex(_TOKEN), behavior="isolated")


def build_tokenizer(documents: Iterable[str], context: int) -> PreTrainedTokenizerFast:
    """The tokenizer of all words in the documents, the most frequent first."""
    split = _pre_tokenizer()
    counts: Counter[str] = Counter()
    for document in documents:
        counts.update(token for token, _ in split.pre_tokenize_str(document))
    words = [w for w, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    vocabulary = {word: i for i, word in enumerate([PAD, END, UNKNOWN, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token=UNKNOWN,
        eos_token=END,
        pad_token=PAD,
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )
