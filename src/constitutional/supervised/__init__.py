"""The supervised stage: critiques, revisions, and finetuning on them. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

from constitutional.constitution import Constitution
from constitutional.dialogue import Conversation, PromptRecord, prompt_id
from constitutional.engines.base import Engine
from constitutional.runs.records import Chain
from constitutional.supervised.critique_revision import CritiqueRevision
from constitutional.supervised.settings import CritiqueRevisionConfig

__all__ = ["CritiqueRevision", "CritiqueRevisionConfig", "critique_and_revise"]


def critique_and_revise(
    prompts: Sequence[str | Conversation],
    engine: Engine,
    constitution: Constitution,
    *,
    settings: CritiqueRevisionConfig | None = None,
    seed: int = 0,
) -> list[Chain]:
    """A chain of response, critiques and revisions for each prompt, without a run folder.

    A prompt is what a human says, or a conversation that ends in a human turn.
    """
    conversations = [p if isinstance(p, Conversation) else Conversation.of(p) for p in prompts]
    records = [
        PromptRecord(id=prompt_id(c), conversation=c, kind="red_team", source="given")
        for c in conversations
    ]
    stage = CritiqueRevision(engine, constitution, settings or CritiqueRevisionConfig(), seed)
    return stage.chains(records)
