"""Settings of the `vllm` engine, apart from it so that a recipe is read without it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class VllmSettings(BaseModel):
    """A model that vLLM runs in this process. Sampling is from the whole distribution."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    engine: Literal["vllm"]
    #: A folder or a name on the hub.
    model: str = Field(min_length=1)
    style: Literal["auto", "transcript", "chat"] = "auto"
    #: A system prompt for every request of this engine; chat alone has a place for one.
    system: str | None = None
    #: The folder of a LoRA adapter on the model, as peft saves one.
    lora: str | None = Field(default=None, min_length=1)
    #: ``auto`` is bfloat16, as everywhere on a GPU.
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    #: GPUs over which each layer is split.
    tensor_parallel_size: int = Field(default=1, ge=1)
    #: The share of each GPU's memory that vLLM takes for weights and cache.
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    #: Tokens of a prompt and its answer together; None: as many as the model's positions.
    max_model_len: int | None = Field(default=None, ge=1)
