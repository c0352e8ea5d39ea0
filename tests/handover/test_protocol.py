"""Reading OpenRLHF's texts, without a service."""

from __future__ import annotations

import pytest

from constitutional.dialogue import Conversation
from constitutional.errors import InputError
from constitutional.handover.protocol import RewardRequest, queries_of
from constitutional.preference.combined import Response

LABEL = '[{"role": "user", "content": "Why?"}]'


def test_a_prompt_that_the_tokenizer_writes_otherwise_is_found() -> None:
    # SentencePiece puts a blank before a text when its ids are decoded
    request = RewardRequest(query=[" <u>Why?<a> So.</s>"], prompts=["<u>Why?<a>"], labels=[LABEL])
    found = queries_of(
        request, style="chat", special_tokens=["</s>"], rewritten=lambda text: f" {text}"
    )
    assert found == [Response(Conversation.of("Why?"), "So.")]
    with pytest.raises(InputError, match="does not begin with its prompt"):
        queries_of(request, style="chat", special_tokens=[], rewritten=lambda text: text)
