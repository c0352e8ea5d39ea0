"""Loading a model and its tokenizer, and telling in one sentence why it cannot be done."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from constitutional.errors import ModelError, nearest

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "tokenizer_config.json")
#: Settings that say where a configuration came from, and not how the model computes.
_ORIGIN = {"_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version"}


def load_parts(model: str | Path, *, device: str, dtype: str) -> tuple[Any, Any]:
    """The model (in evaluation mode, on its device) and the tokenizer of a folder or a hub name.

    Weights are read from safetensors files only, and no code that comes with a model is run.
    Raises ModelError.
    """
    place = chosen_device(device)
    number_format = chosen_dtype(dtype, place)
    local = _checked_folder(model)
    common = {"trust_remote_code": False, "local_files_only": local}
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(model), **common)
        # the bars of a download are worth seeing
        with without_bars() if local else nullcontext():
            network, info = AutoModelForCausalLM.from_pretrained(
                str(model),
                **common,
                use_safetensors=True,
                dtype=number_format,
                output_loading_info=True,
            )
    except Exception as error:  # whatever the libraries raise on a broken model, the user sees why
        raise ModelError(_why(model, error, local=local)) from error
    if info["missing_keys"]:
        # transformers would fill these with random numbers and go on.
        missing = sorted(info["missing_keys"])
        raise ModelError(
            f"{model}: its weights lack {len(missing)} of the tensors that its config.json asks "
            f"for, the first being {missing[0]}"
        )
    return network.to(place).eval(), tokenizer


@contextmanager
def without_bars() -> Iterator[None]:
    """Without the progress bars of transformers, which know nothing of ours."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def load_tokenizer(model: str | Path) -> Any:
    """The tokenizer of a model folder or a hub name alone. Raises ModelError as load_parts does."""
    local = _checked_folder(model)
    try:
        return AutoTokenizer.from_pretrained(
            str(model), trust_remote_code=False, local_files_only=local
        )
    except Exception as error:  # as in load_parts
        raise ModelError(_why(model, error, local=local)) from error


def chosen_device(device: str) -> torch.device:
    """``auto`` is the GPU where there is one, else the CPU."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise ModelError(f"device {device!r} is not known; use auto, cpu or cuda") from error
    if place.type == "cuda" and not torch.cuda.is_available():
        raise ModelError(
            f"device {device!r} was asked for, but torch finds no GPU; use cpu or auto"
        )
    return place


def chosen_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """``auto`` is bfloat16 on a GPU and float32 on a CPU."""
    if dtype == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    if dtype not in DTYPES:
        raise ModelError(f"dtype {dtype!r} is not known: {nearest(dtype, ['auto', *DTYPES])}")
    return DTYPES[dtype]


def _checked_folder(model: str | Path) -> bool:
    """Whether ``model`` is a local folder; False for a hub name. Raises ModelError for neither."""
    path = Path(model)
    if not path.exists():
        if isinstance(model, Path) or model.startswith(("/", ".", "~")) or model.count("/") != 1:
            raise ModelError(f"{model}: there is no such folder, and it is no name on the hub")
        return False
    if not path.is_dir():
        raise ModelError(f"{model} is a file; a model is a folder with config.json in it")
    if not (path / "config.json").is_file():
        raise ModelError(f"{model} is no model folder: it has no config.json")
    if not any(path.glob("*.safetensors")):
        raise ModelError(f"{model} holds no weights in safetensors form (*.safetensors)")
    if not any((path / name).is_file() for name in TOKENIZER_FILES):
        raise ModelError(f"{model} has no tokenizer: no {TOKENIZER_FILES[0]} beside its weights")
    return True


def _why(model: str | Path, error: Exception, *, local: bool) -> str:
    first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
    if local or not isinstance(error, OSError):
        return f"{model} cannot be loaded as a causal language model: {first_line}"
    return (
        f"{model} is no folder here and cannot be had from the hub "
        f"(check the name and the connection, or give a local folder): {first_line}"
    )


def eos_ids(model: Any, tokenizer: Any) -> list[int]:
    """All tokens that end a text, by the generation settings, the configuration and the tokenizer.

    This is the one thing read from the generation settings; sampling defaults stay unread.
    """
    settings = (getattr(model, "generation_config", None), model.config, tokenizer)
    found: set[int] = set()
    for value in (getattr(each, "eos_token_id", None) for each in settings):
        found.update([value] if isinstance(value, int) else value or [])
    return sorted(found)


def position_limit(config: Any) -> int | None:
    """The most tokens that the model's positions reach, where the configuration says so."""
    limit = getattr(config.get_text_config(), "max_position_embeddings", None)
    return limit if isinstance(limit, int) and limit > 0 else None


def digest(model: Any, tokenizer: Any, extra: Iterable[str]) -> str:
    """A sha256 over weights (names, number formats, bytes), configuration, tokenizer, ``extra``."""
    hasher = hashlib.sha256()
    config = {key: value for key, value in model.config.to_dict().items() if key not in _ORIGIN}
    for text in (*extra, _stable(config), *_tokenizer_texts(tokenizer)):
        hasher.update(text.encode() + b"\0")
    for name, tensor in sorted(model.state_dict().items()):
        hasher.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        flat = tensor.detach().cpu().contiguous().flatten()
        hasher.update(memoryview(flat.view(torch.uint8).numpy()))
    return hasher.hexdigest()


def _tokenizer_texts(tokenizer: Any) -> tuple[str, ...]:
    template = _stable(tokenizer.chat_template)
    special = _stable({name: str(token) for name, token in tokenizer.special_tokens_map.items()})
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return template, special, _stable(tokenizer.get_vocab())
    rules = json.loads(backend.to_str())
    # Leftovers of the last call, not of the tokenizer.
    rules.pop("padding", None)
    rules.pop("truncation", None)
    return template, special, _stable(rules)


def _stable(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
