"""An option that several commands have."""

from __future__ import annotations

from enum import StrEnum


class PromptStyle(StrEnum):
    """How a model is spoken to."""

    AUTO = "auto"
    TRANSCRIPT = "transcript"
    CHAT = "chat"
