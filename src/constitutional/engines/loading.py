"""Loading a model and its tokenizer, and telling in one sentence why it cannot be done."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GenerationConfig,
)
from transformers.utils import logging as transformers_logging

from constitutional.engines.adapter_folders import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    base_of,
    is_adapter_folder,
)
from constitutional.engines.base import Quantize
from constitutional.errors import MissingExtraError, ModelError, nearest

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
#: The device of a model whose layers are spread over all GPUs, by accelerate's device map.
SPREAD = "spread"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "tokenizer_config.json")
#: transformers replaces functions of its own while it builds a model, and puts them back: two
#: threads at once would leave its models without tied weights for as long as the process lives.
_ONE_AT_A_TIME = threading.Lock()
#: Settings that say where a configuration came from, and not how the model computes.
_ORIGIN = {"_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version"}


def load_parts(
    model: str | Path, *, device: str, dtype: str, quantize: Quantize | None = None
) -> tuple[Any, Any]:
    """The model (in evaluation mode, on its device) and the tokenizer of a folder or a hub name.

    A folder of adapters is loaded on its base, and merged into it unless that is ``quantize``d.
    Weights are read from safetensors files only, and no code that comes with a model is run.
    Raises ModelError, and MissingExtraError.
    """
    adapters, model = _apart(model)
    local = _checked_folder(model)
    common = {"trust_remote_code": False, "local_files_only": local}
    placed, place = placing(device, dtype, quantize)
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(_of_tokenizer(adapters) or model), **common)
        # the bars of a download are worth seeing
        with _ONE_AT_A_TIME, without_bars() if local else nullcontext():
            network, info = AutoModelForCausalLM.from_pretrained(
                str(model), **common, **placed, use_safetensors=True, output_loading_info=True
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
    if adapters is not None:
        network = on_base(network, adapters, merge=quantize is None)
    return (network if "device_map" in placed else network.to(place)).eval(), tokenizer


def placing(
    device: str, dtype: str, quantize: Quantize | None
) -> tuple[dict[str, Any], torch.device]:
    """What ``from_pretrained`` is told of number format and device, and the device of inputs.

    In 4 bits the matrices of the layers are NF4 with double quantisation and are computed with in
    bfloat16 (Dettmers et al. 2023, arXiv 2305.14314, s. 3); embeddings, norms and heads stay in
    ``dtype``. Such a model is placed while it is loaded, as is one that is spread over GPUs.
    """
    place = chosen_device(device)
    placed: dict[str, Any] = {"dtype": chosen_dtype(dtype, place)}
    if quantize is not None:
        if find_spec("bitsandbytes") is None:
            raise MissingExtraError("bitsandbytes", "quant", "a model in 4 bits")
        placed["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
        placed["device_map"] = {"": place}
    if device == SPREAD:
        placed["device_map"] = "auto"
    return placed, place


def on_base(network: Any, adapters: Path, *, merge: bool) -> Any:
    """The base with the adapters of a folder: merged in, or beside weights that cannot hold them.

    Raises ModelError where they do not fit.
    """
    try:
        from peft import PeftModel
    except ImportError as error:
        raise MissingExtraError("peft", "lora", f"{adapters}, a folder of adapters,") from error
    try:
        with_them = PeftModel.from_pretrained(network, str(adapters), local_files_only=True)
    except Exception as error:  # as in load_parts
        raise ModelError(f"the adapters in {adapters} do not fit: {_first_line(error)}") from error
    return with_them.merge_and_unload() if merge else with_them.base_model.model


def _apart(model: str | Path) -> tuple[Path | None, str | Path]:
    """The folder of adapters, if ``model`` is one, and the model itself or their base."""
    if not is_adapter_folder(model):
        return None, model
    if not (Path(model) / ADAPTER_WEIGHTS).is_file():
        raise ModelError(f"{model} has an {ADAPTER_CONFIG}, but no {ADAPTER_WEIGHTS}")
    return Path(model), base_of(model)


def _of_tokenizer(adapters: Path | None) -> Path | None:
    """The folder of adapters where it brings a tokenizer."""
    brings = adapters and any((adapters / name).is_file() for name in TOKENIZER_FILES)
    return adapters if brings else None


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
    adapters, model = _apart(model)
    local = _checked_folder(model)
    try:
        return AutoTokenizer.from_pretrained(
            str(_of_tokenizer(adapters) or model), trust_remote_code=False, local_files_only=local
        )
    except Exception as error:  # as in load_parts
        raise ModelError(_why(model, error, local=local)) from error


def chosen_device(device: str) -> torch.device:
    """``auto`` is the GPU where there is one, else the CPU; ``spread`` begins on the first GPU."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device("cuda" if device == SPREAD else device)
    except RuntimeError as error:
        raise ModelError(
            f"device {device!r} is not known; use auto, cpu, cuda or spread"
        ) from error
    if place.type == "cuda" and not torch.cuda.is_available():
        raise ModelError(
            f"device {device!r} was asked for, but torch finds no GPU; use cpu or auto"
        )
    return place


def chosen_dtype(dtype: str, device: torch.device) -> torch.dtype | Literal["auto"]:
    """``auto`` is bfloat16 on a GPU and float32 on a CPU; ``stored`` is the files' own format."""
    if dtype == "stored":
        return "auto"  # as transformers calls it
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
    first_line = _first_line(error)
    if local or not isinstance(error, OSError):
        return f"{model} cannot be loaded as a causal language model: {first_line}"
    return (
        f"{model} is no folder here and cannot be had from the hub "
        f"(check the name and the connection, or give a local folder): {first_line}"
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def eos_ids(model: Any, tokenizer: Any) -> list[int]:
    """All tokens that end a text, by the generation settings, the configuration and the tokenizer.

    This is the one thing read from the generation settings; sampling defaults stay unread.
    """
    settings = (getattr(model, "generation_config", None), model.config, tokenizer)
    found: set[int] = set()
    for value in (getattr(each, "eos_token_id", None) for each in settings):
        found.update([value] if isinstance(value, int) else value or [])
    return sorted(found)


def end_ids(model: str | Path, tokenizer: Any) -> list[int]:
    """The same of a model whose weights are not loaded here. Raises ModelError."""
    local = _checked_folder(model)
    common = {"trust_remote_code": False, "local_files_only": local}
    try:
        config = AutoConfig.from_pretrained(str(model), **common)
    except Exception as error:  # as in load_parts
        raise ModelError(_why(model, error, local=local)) from error
    try:
        settings = GenerationConfig.from_pretrained(str(model), local_files_only=local)
    except OSError:  # many models have none
        settings = None
    return eos_ids(SimpleNamespace(config=config, generation_config=settings), tokenizer)


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
