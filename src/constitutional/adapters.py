"""Low-rank adapters (LoRA, Hu et al. 2021, arXiv 2106.09685): begun, kept, merged.

A training with adapters leaves a plain folder into which they are merged, and beside it the folder
``adapter``: peft's own two files, and ``adapter_base.json``, which says by a fingerprint which base
they belong on. Networks whose adapters belong on the same base can share it in memory
(:mod:`constitutional.rl.one_base`).

On a base in 4 bits (QLoRA, Dettmers et al. 2023, arXiv 2305.14314) the adapters are the same. They
are merged into the base in its own number format, since 4 bits could not hold what they add.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import set_seed

from constitutional.engines.adapter_folders import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from constitutional.engines.base import Quantize
from constitutional.errors import InputError, MissingExtraError, ModelError
from constitutional.training import small_seed
from constitutional.training_settings import LoraSettings

#: The folder beside a merged model, and the file in it that is ours.
ADAPTER, BASE = "adapter", "adapter_base.json"


class _Base(BaseModel):
    """What ``adapter_base.json`` holds: the base's fingerprint, and how the adapters were begun."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: str
    settings: LoraSettings


@dataclass(frozen=True)
class Kept:
    """The adapters that a training left in ``folder``."""

    folder: Path
    fingerprint: str
    settings: LoraSettings

    @property
    def base(self) -> str:
        """The base as it was called then: a folder or a hub name."""
        config = json.loads((self.folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        return str(config["base_model_name_or_path"])

    def tensors(self) -> dict[str, Tensor]:
        """The weights by peft's names, a head that was trained with them included."""
        found: dict[str, Tensor] = load_file(self.folder / ADAPTER_WEIGHTS)
        return found


def with_adapters(
    network: Any,
    settings: LoraSettings,
    seed: int,
    *,
    what: str,
    head: str | None = None,
    go_on: Kept | None = None,
    name: str = "default",
) -> Any:
    """The network with adapters, which begin at random by ``seed``, or as those of ``go_on``.

    ``head`` names a layer that has none and is trained whole. ``what`` is for the sentence that
    says what needs peft; ``name`` tells apart several on one network.
    """
    try:
        from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
    except ImportError as error:
        raise MissingExtraError("peft", "lora", f"{what} with LoRA") from error
    set_seed(small_seed(seed))
    targets = list(settings.target_modules) if settings.target_modules else "all-linear"
    adapters = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        target_modules=targets,
        task_type=None if head is None else "SEQ_CLS",
        modules_to_save=None if head is None else [head],
    )
    try:
        begun = get_peft_model(network, adapters, adapter_name=name)
    except ValueError as error:
        raise InputError(f"no adapters can be put on {targets}: {error}") from error
    if go_on is not None:
        set_peft_model_state_dict(begun, go_on.tensors())
    return begun


def keep_adapters(
    trained: Any,
    result: Path,
    *,
    base: str | Path,
    fingerprint: str,
    settings: LoraSettings,
    name: str = "default",
) -> None:
    """Write ``result / "adapter"``: the adapters ``name`` of the peft model ``trained``.

    ``fingerprint`` is that of ``base`` (:func:`base_fingerprint`).
    """
    from peft import get_peft_model_state_dict

    folder = result / ADAPTER
    folder.mkdir(parents=True, exist_ok=True)
    tensors = get_peft_model_state_dict(trained, adapter_name=name, save_embedding_layers=False)
    save_file(
        {key: t.detach().cpu().contiguous() for key, t in tensors.items()}, folder / ADAPTER_WEIGHTS
    )
    config = {
        **json.loads(json.dumps(trained.peft_config[name].to_dict(), default=sorted)),
        "base_model_name_or_path": str(Path(base).resolve() if Path(base).is_dir() else base),
        "inference_mode": True,
    }
    (folder / ADAPTER_CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    (folder / BASE).write_text(
        _Base(fingerprint=fingerprint, settings=settings).model_dump_json(indent=2) + "\n"
    )


def quantize_of(settings: LoraSettings | None) -> Quantize | None:
    """In how few bits the base is held while it is trained with ``settings``."""
    return None if settings is None else settings.quantize


def kept_adapters(result: str | Path) -> Kept | None:
    """The adapters beside a merged model; None where there are none. Raises ModelError."""
    folder = Path(result) / ADAPTER
    if not (folder / BASE).is_file():
        return None
    try:
        base = _Base.model_validate_json((folder / BASE).read_bytes())
    except ValidationError as error:
        raise ModelError(f"{folder / BASE} cannot be read: {error.errors()[0]['msg']}") from error
    return Kept(folder, base.fingerprint, base.settings)


def merged(trained: Any, settings: LoraSettings, plain: Callable[[], Any]) -> Any:
    """The network with its adapters merged in. One in 4 bits stays as it is: the adapters go into
    the base that ``plain`` loads in its own number format."""
    if settings.quantize is None:
        return trained.merge_and_unload()
    from peft import get_peft_model_state_dict

    tensors = get_peft_model_state_dict(trained, save_embedding_layers=False)
    return merged_into(plain(), trained.peft_config["default"], tensors)


def merged_into(plain: Any, config: Any, tensors: dict[str, Tensor]) -> Any:
    """``plain`` with adapters of peft's ``config`` and these ``tensors`` merged in."""
    from peft import get_peft_model, set_peft_model_state_dict

    with_them = get_peft_model(plain, config, autocast_adapter_dtype=False)
    set_peft_model_state_dict(with_them, tensors)
    return with_them.merge_and_unload()


def base_fingerprint(model: str | Path) -> str:
    """A sha256 over the configuration and weight files of a folder, or of a hub model's copy here.

    Hub models have been loaded before, so that the copy is there.
    """
    folder = Path(model) if Path(model).is_dir() else _hub_copy(str(model))
    hasher = hashlib.sha256()
    for path in sorted([folder / "config.json", *folder.glob("*.safetensors")]):
        hasher.update(path.name.encode())
        with path.open("rb") as file:
            hasher.update(hashlib.file_digest(file, "sha256").digest())
    return hasher.hexdigest()


def _hub_copy(model: str) -> Path:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(model, "config.json")
    if not isinstance(found, str):
        raise ModelError(f"{model} is no folder here, and not in the hub's cache")
    return Path(found).parent
