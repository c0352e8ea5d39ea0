"""Constitutional AI (Bai et al. 2022, arXiv 2212.08073): principles in, a better model out.

Nothing heavy is imported here; a model is loaded where one is used.
"""

from constitutional.constitution import (
    Constitution,
    Principle,
    default_constitution,
    load_constitution,
    save_constitution,
)
from constitutional.dialogue.conversation import Conversation, Turn
from constitutional.engines import Engine, SamplingParams, ScriptedEngine, load_engine
from constitutional.errors import ConstitutionalError
from constitutional.supervised import CritiqueRevisionConfig, critique_and_revise

__all__ = [
    "Constitution",
    "ConstitutionalError",
    "Conversation",
    "CritiqueRevisionConfig",
    "Engine",
    "Principle",
    "SamplingParams",
    "ScriptedEngine",
    "Turn",
    "critique_and_revise",
    "default_constitution",
    "load_constitution",
    "load_engine",
    "save_constitution",
]
