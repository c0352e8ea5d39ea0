"""The shape of a decoder, as its ``config.json`` tells it: what parameters and sums depend on.

Weights are never read. The known families are the dense decoders whose parameter counts a test
holds equal to those of `transformers`; a model of another family is refused rather than guessed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from constitutional.engines.adapter_folders import base_of, is_adapter_folder
from constitutional.engines.http.settings import Prices
from constitutional.errors import ModelError
from constitutional.planning.amounts import Amount
from constitutional.planning.known import KNOWN

#: What a family has beside the common form of Llama: biases on queries, keys and values; norms of
#: queries and keys; how many norms a layer has; and whether embeddings are tied by default.
_FAMILIES: Mapping[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {},
    "qwen2": {"qkv_bias": True},
    "qwen3": {"qk_norm": True},
    "gemma": {"tied": True},
    "gemma2": {"tied": True, "norms": 4},
    "gemma3_text": {"tied": True, "norms": 4, "qk_norm": True},
}
_CONFIG = "config.json"


class Server(BaseModel):
    """What a model is behind, so that nothing of it is in memory here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prices: Prices | None = None
    #: Requests for each choice that is weighed: one where any token can be asked for, else as many
    #: as its tokens, or its votes.
    requests_per_choice: Amount
    #: Whether the shape is that of the model; else nothing is known of its arithmetic.
    shape_is_known: bool = True


class ModelShape(BaseModel):
    """A dense decoder. ``width`` is that of the residual stream, ``inner`` that of the MLP."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    layers: int = Field(ge=1)
    width: int = Field(ge=1)
    inner: int = Field(ge=1)
    heads: int = Field(ge=1)
    #: Heads of keys and values: fewer than ``heads`` with grouped-query attention.
    kv_heads: int = Field(ge=1)
    head_size: int = Field(ge=1)
    vocabulary: int = Field(ge=1)
    tied: bool = False
    #: An MLP with a gate has three matrices, one without has two.
    gated: bool = True
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    norms: int = 2
    server: Server | None = None

    @property
    def computes_here(self) -> bool:
        """Whether its work takes time of the planned machine. A server that takes no money for its
        tokens is taken to run on the same GPUs."""
        server = self.server
        return server is None or (server.shape_is_known and server.prices is None)

    @property
    def attention_width(self) -> int:
        """Width of the queries of all heads."""
        return self.heads * self.head_size

    @property
    def kv_width(self) -> int:
        """Width of the keys of all their heads, and of the values."""
        return self.kv_heads * self.head_size

    @property
    def matrices(self) -> int:
        """Entries of one layer's matrices: what a token is multiplied with in it."""
        attention = 2 * self.width * (self.attention_width + self.kv_width)
        return attention + (3 if self.gated else 2) * self.width * self.inner

    @property
    def linear_layers(self) -> tuple[tuple[int, int], ...]:
        """(in, out) of every matrix of one layer; adapters go on these."""
        d, a, k, f = self.width, self.attention_width, self.kv_width, self.inner
        mlp = ((d, f),) * (2 if self.gated else 1) + ((f, d),)
        return ((d, a), (d, k), (d, k), (a, d), *mlp)

    @property
    def parameters(self) -> int:
        """All weights of the causal language model; tied embeddings count once."""
        embeddings = self.vocabulary * self.width * (1 if self.tied else 2)
        return embeddings + self.layers * self._layer + self.width

    @property
    def trunk_parameters(self) -> int:
        """Without the output matrix, as in a preference model, whose head is one row."""
        return self.vocabulary * self.width + self.layers * self._layer + 2 * self.width

    @property
    def _layer(self) -> int:
        biases = self.qkv_bias * (self.attention_width + 2 * self.kv_width)
        biases += self.output_bias * self.width
        biases += self.mlp_bias * ((2 if self.gated else 1) * self.inner + self.width)
        return self.matrices + biases + self.norms * self.width + self.qk_norm * 2 * self.head_size


def shape_of(model: str, *, as_written: str | None = None) -> ModelShape:
    """The shape of a model folder, a ``config.json``, a hub model or a known size such as ``52B``.

    A hub model is looked up in the hub's cache, then in the table of :mod:`.known`; nothing is
    fetched. ``as_written`` is what the recipe calls it. Raises ModelError.
    """
    name = as_written or model
    path = Path(model)
    if is_adapter_folder(path):
        return shape_of(base_of(path), as_written=as_written or _folder_name(path))
    file = path / _CONFIG if path.is_dir() else path
    if file.suffix == ".json" and file.is_file():
        return shape_from_config(_read(file), _folder_name(path) if as_written is None else name)
    if (cached := _in_hub_cache(model)) is not None:
        return shape_from_config(_read(cached), name)
    if model in KNOWN:
        return ModelShape.model_validate({"name": name, **KNOWN[model]})
    raise ModelError(
        f"the shape of {name} is not known: {model} is no folder here, its config.json is not in "
        "the hub's cache, and it is none of the sizes in the table; give it with --shape "
        f"{name}=FILE, its config.json, or --shape {name}=SIZE, one of {', '.join(KNOWN)}"
    )


def shape_from_config(config: Mapping[str, Any], name: str) -> ModelShape:
    """The shape that a `transformers` configuration describes. Raises ModelError."""
    config = config.get("text_config") or config
    family = str(config.get("model_type"))
    if family not in _FAMILIES:
        raise ModelError(
            f"{name} is of the family {family!r}, whose memory and arithmetic are not known here: "
            f"known are {', '.join(_FAMILIES)}"
        )
    try:
        heads, width = int(config["num_attention_heads"]), int(config["hidden_size"])
        special = dict(_FAMILIES[family])
        return ModelShape(
            name=name,
            layers=config["num_hidden_layers"],
            width=width,
            inner=config["intermediate_size"],
            heads=heads,
            kv_heads=config.get("num_key_value_heads") or heads,
            head_size=config.get("head_dim") or width // heads,
            vocabulary=config["vocab_size"],
            tied=bool(config.get("tie_word_embeddings", special.pop("tied", False))),
            qkv_bias=special.pop("qkv_bias", bool(config.get("attention_bias"))),
            output_bias=bool(config.get("attention_bias")) and family != "qwen2",
            mlp_bias=bool(config.get("mlp_bias")),
            **special,
        )
    except KeyError as error:
        raise ModelError(f"the config.json of {name} lacks {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        fault = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise ModelError(f"the config.json of {name} is no model's: {fault}") from None
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise ModelError(f"the config.json of {name} is no model's: {error}") from None


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be read as JSON: {error}") from None
    if not isinstance(found, dict):
        raise ModelError(f"{file} holds no configuration: expected an object")
    return found


def _in_hub_cache(model: str) -> Path | None:
    if model.count("/") != 1 or Path(model).exists():
        return None
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(model, _CONFIG)
    except HFValidationError:
        return None
    return Path(found) if isinstance(found, str) else None


def _folder_name(path: Path) -> str:
    return path.resolve().name if path.is_dir() else path.resolve().parent.name
