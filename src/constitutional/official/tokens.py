"""How much of a text a model's tokenizer knows."""

from __future__ import annotations

from collections.abc import Sequence


def unknown_tokens(model: str, texts: Sequence[str]) -> dict[str, int | float]:
    """How many tokens of the texts are the unknown-word token; none with byte-level tokenizers."""
    from constitutional.dialogue.encoding import encode_texts
    from constitutional.engines.loading import load_tokenizer

    tokenizer = load_tokenizer(model)
    rows = encode_texts(tokenizer, texts)
    tokens = sum(map(len, rows))
    unknown = sum(row.count(tokenizer.unk_token_id) for row in rows)
    share = unknown / tokens if tokens else 0.0
    return {"tokens": tokens, "unknown tokens": unknown, "unknown share": share}
