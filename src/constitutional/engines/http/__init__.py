"""The `openai` engine: models behind any server that speaks OpenAI's protocol. Imports no torch."""

from __future__ import annotations

from constitutional.engines.http.engine import OpenAIEngine
from constitutional.engines.http.settings import Limits, OpenAISettings, Prices

__all__ = ["Limits", "OpenAIEngine", "OpenAISettings", "Prices"]
