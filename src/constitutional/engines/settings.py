"""Settings of the engines that a recipe names, by the key ``engine``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from constitutional.engines.http.settings import OpenAISettings
from constitutional.engines.vllm.settings import VllmSettings


class TransformersSettings(BaseModel):
    """A model in this process. Device, number format and batches are those of section models."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    engine: Literal["transformers"]
    #: A folder or a name on the hub.
    model: str = Field(min_length=1)
    style: Literal["auto", "transcript", "chat"] = "auto"
    #: A system prompt for every request of this engine; chat alone has a place for one.
    system: str | None = None


EngineSettings = Annotated[
    TransformersSettings | OpenAISettings | VllmSettings, Field(discriminator="engine")
]
