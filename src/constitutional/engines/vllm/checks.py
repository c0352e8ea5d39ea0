"""What can be told before vLLM starts: whether it is there, and whether it takes an adapter."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

from constitutional.errors import MissingExtraError, ModelError

#: The ranks that vLLM's `max_lora_rank` takes (0.29, `vllm/config/lora.py`, MaxLoRARanks).
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


def check_installed() -> None:
    """Raise MissingExtraError where vLLM is not installed."""
    if importlib.util.find_spec("vllm") is None:
        raise MissingExtraError("vllm", "vllm", "The engine vllm")


def rank_to_reserve(folder: str | Path) -> int:
    """The least of vLLM's ranks that holds the adapter of a folder. Raises ModelError.

    vLLM itself refuses the same adapters, minutes later (`vllm/lora/peft_helper.py`).
    """
    settings = _adapter_config(Path(folder))
    unfit = {
        "DoRA (use_dora)": settings.get("use_dora", False),
        "whole modules (modules_to_save)": settings.get("modules_to_save"),
        "biases (bias)": settings.get("bias", "none") != "none",
    }
    for what, found in unfit.items():
        if found:
            raise ModelError(f"{folder}: vLLM cannot run an adapter with {what}: merge it first")
    rank = settings.get("r")
    if not isinstance(rank, int) or not 0 < rank <= RANKS[-1]:
        raise ModelError(f"{folder}: vLLM runs adapters of rank 1 to {RANKS[-1]}, found {rank!r}")
    return next(each for each in RANKS if each >= rank)


def _adapter_config(folder: Path) -> dict[str, Any]:
    path = folder / "adapter_config.json"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{folder} is no LoRA adapter: it has no {path.name}") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read as an adapter's settings: {error}") from None
    if not isinstance(settings, dict) or settings.get("peft_type") != "LORA":
        raise ModelError(f"{path}: expected the settings of a LoRA adapter (peft_type LORA)")
    if not (folder / "adapter_model.safetensors").is_file():
        raise ModelError(f"{folder} has no adapter_model.safetensors beside its settings")
    return settings
