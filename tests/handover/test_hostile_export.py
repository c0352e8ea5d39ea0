"""Attacks in what a preference model scores and in what is handed over to other programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.hostile.attacks import hostile_texts
from tests.hostile.seen import roles

from constitutional.dialogue import Conversation
from constitutional.handover.run import HandOver
from constitutional.preference.model import PreferenceModel
from constitutional.rl.rollout import Prompts
from constitutional.rl.settings import DPOConfig

TEXTS = tuple(hostile_texts())[::2]
HARMLESS = "Use water."


@pytest.fixture(params=["transcript_pm", "chat_pm"])
def pm(request: pytest.FixtureRequest) -> PreferenceModel:
    found: PreferenceModel = request.getfixturevalue(request.param)
    return found


def control_in(tokenizer: Any, ids: list[int]) -> list[int]:
    return [i for i in ids if i in tokenizer.added_tokens_decoder and i != tokenizer.unk_token_id]


def test_a_scored_text_has_its_own_turns_and_control_tokens_alone(pm: PreferenceModel) -> None:
    ordinary = control_in(pm.tokenizer, pm.tokens(Conversation.of(HARMLESS), HARMLESS))
    for text in TEXTS:
        assert control_in(pm.tokenizer, pm.tokens(Conversation.of(text), text)) == ordinary
        if pm.card.style == "transcript":
            assert roles(pm.text(Conversation.of(text), text)) == ["human", "assistant"]


def test_what_is_handed_over_makes_no_control_tokens_elsewhere(pm: PreferenceModel) -> None:
    hand = HandOver(
        run=Path(),
        arm="rl_cai",
        policy="",
        preference_model=Path(),
        card=pm.card,
        tokenizer=pm.tokenizer,
        config=DPOConfig(),
        prompts=Prompts((), ()),
        comparisons=(),
        seed=0,
    )

    def elsewhere(text: str) -> list[int]:
        return control_in(pm.tokenizer, pm.tokenizer.encode(text, add_special_tokens=False))

    for text in TEXTS:
        spoken = Conversation.of(text, text, text)
        for message in hand.messages(spoken):
            assert elsewhere(message["content"]) == []
        assert elsewhere(hand.answered(text)) == [pm.card.end_id]
        if pm.card.style == "transcript":
            whole = hand.text(spoken) + hand.answered(text)
            assert roles(whole) == ["human", "assistant", "human", "assistant"]
        # our own service sees to it itself, and gets what was written
        assert [m["content"] for m in json.loads(hand.unaltered(spoken))] == [text] * 3
