"""One seam to every model: sample texts, and weigh fixed choices. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from constitutional.engines.base import (
    Capabilities,
    ChatPrompt,
    Completion,
    Engine,
    Message,
    Prompt,
    Quantize,
    SamplingParams,
    Style,
    TextPrompt,
)
from constitutional.engines.scripted import ScriptedEngine, ScriptedRequest, plain_text
from constitutional.errors import ModelError, nearest

__all__ = [
    "Capabilities",
    "ChatPrompt",
    "Completion",
    "Engine",
    "Message",
    "Prompt",
    "SamplingParams",
    "ScriptedEngine",
    "ScriptedRequest",
    "Style",
    "TextPrompt",
    "load_engine",
    "plain_text",
]

KINDS = ("transformers",)
_WITH_SETTINGS = {
    "openai": (
        "a model behind a server needs an address and more: use "
        "constitutional.engines.http.OpenAIEngine, or"
    ),
    "vllm": (
        "vLLM takes settings of its own: use constitutional.engines.vllm.engine.VllmEngine, or"
    ),
}


def load_engine(
    spec: str | Path,
    *,
    style: Literal["auto", "transcript", "chat"] = "auto",
    device: str = "auto",
    dtype: str = "auto",
    batch_size: int = 64,
    quantize: Quantize | None = None,
) -> Engine:
    """An engine from ``transformers:MODEL`` or plain ``MODEL``, a folder or a name on the hub.

    The other settings are those of :meth:`~.local.LocalEngine.load`. A model behind a server takes
    more settings: :class:`constitutional.engines.http.OpenAIEngine`. Raises ModelError.
    """
    model = spec
    if isinstance(spec, str) and ":" in spec and not Path(spec).exists():
        kind, _, model = spec.partition(":")
        if kind in _WITH_SETTINGS:
            raise ModelError(
                f"{spec}: {_WITH_SETTINGS[kind]} name it in section 'engines' of a recipe"
            )
        if kind not in KINDS:
            raise ModelError(f"{spec}: no engine is called {kind!r}; {nearest(kind, KINDS)}")
    from constitutional.engines.local import LocalEngine

    return LocalEngine.load(
        model,
        style=style,
        device=device,
        dtype=dtype,
        batch_size=batch_size,
        quantize=quantize,
    )
