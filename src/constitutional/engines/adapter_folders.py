"""Folders that hold low-rank adapters in peft's form, and the base that they belong on.

Nothing is loaded here: what is asked is where the base is, so that shapes, fingerprints and prompt
forms are known without peft or torch.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from constitutional.errors import ModelError

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"


def is_adapter_folder(model: str | Path) -> bool:
    """Whether ``model`` is a folder of adapters alone, without the model they belong on."""
    folder = Path(model)
    return (folder / ADAPTER_CONFIG).is_file() and not (folder / "config.json").is_file()


def base_of(folder: str | Path) -> str:
    """The base that the adapters in ``folder`` name: a folder that is there, or a hub name.

    Raises ModelError.
    """
    file = Path(folder) / ADAPTER_CONFIG
    try:
        settings: Any = json.loads(file.read_text(encoding="utf-8"))
        base = settings["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError):
        base = None
    if not isinstance(base, str) or not base:
        raise ModelError(f"{file} does not say which model its adapters belong on")
    if settings.get("task_type") == "SEQ_CLS":
        raise ModelError(
            f"{folder} holds the adapters of a preference model, which writes no text: give the "
            "adapters of a language model"
        )
    if not Path(base).is_dir() and (base.startswith(("/", ".", "~")) or base.count("/") != 1):
        raise ModelError(
            f"{folder} holds adapters of the model {base}, which is not there: put it back, or "
            f"write where it is now as base_model_name_or_path in {ADAPTER_CONFIG}"
        )
    return base


def weights_folder(model: str | Path) -> Path:
    """The folder that has the configuration of ``model``: its own, or that of its adapters' base.

    A hub name comes back as it is. Raises ModelError.
    """
    return Path(base_of(model)) if is_adapter_folder(model) else Path(model)
