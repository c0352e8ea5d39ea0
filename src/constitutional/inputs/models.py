"""The models of a recipe: where each is, the form it reads, and what it may be taken for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from constitutional.engines.base import Style
from constitutional.engines.files import files_hash
from constitutional.engines.http.settings import OpenAISettings
from constitutional.engines.settings import EngineSettings
from constitutional.engines.vllm.checks import check_installed, rank_to_reserve
from constitutional.engines.vllm.settings import VllmSettings
from constitutional.errors import InputError
from constitutional.recipe import Recipe, resource
from constitutional.runs.lines import fingerprint_of


@dataclass(frozen=True)
class Model:
    """A model as a run reads it: where it is, its prompt form, and a hash of its files.

    ``path`` is a folder, a hub name, or the name of an engine of the recipe, whose settings are
    then hashed in place of files that are elsewhere.
    """

    path: str
    style: Style
    fingerprint: str


@dataclass(frozen=True)
class ModelReader:
    """Finds the models that a recipe names; ``base`` is the folder its paths start from."""

    recipe: Recipe
    base: Path

    def model(self, name: str) -> Model:
        """A model folder, a hub name, or an engine of the recipe. Raises InputError, ModelError."""
        settings = self.recipe.engines.get(name)
        if isinstance(settings, OpenAISettings):
            from constitutional.engines.http.official import check_ready

            check_ready(settings)
            return Model(name, settings.resolved_style, settings.fingerprint)
        if isinstance(settings, VllmSettings):
            check_installed()
        style = self.recipe.models.style if settings is None else settings.style
        if style == "auto":
            has_template = getattr(self.tokenizer(name), "chat_template", None)
            style = "chat" if has_template else "transcript"
        path = self._path(name)
        if settings is None:
            return Model(path, style, files_hash(path))
        if settings.system is not None and style != "chat":
            raise InputError(
                f"engine {name!r} reads transcripts, which have no place for its 'system' prompt: "
                "leave it out, or use a model with a chat template"
            )
        if isinstance(settings, VllmSettings):
            return Model(name, style, self._vllm_hash(settings, style))
        fingerprint = fingerprint_of([{"style": style, "system": settings.system}])
        return Model(name, style, f"{files_hash(path)}-{fingerprint[:16]}")

    def known_or_other(self, name: str, known: Mapping[str, Model | None]) -> Model:
        """One of the ``known`` models by its name, or another model."""
        if name in known and known[name] is None:
            raise InputError(f"the recipe speaks of the {name} model, and its 'models' name none")
        return known.get(name) or self.model(name)

    def tokenizer(self, name: str) -> Any:
        """The tokenizer of a model or an engine; None for a model behind a server."""
        from constitutional.engines.loading import load_tokenizer

        if isinstance(self.recipe.engines.get(name), OpenAISettings):
            return None
        return load_tokenizer(self._path(name))

    def engines(self) -> dict[str, EngineSettings]:
        """The settings of the recipe's engines, with model folders found from anywhere."""
        return {name: self._found(settings) for name, settings in self.recipe.engines.items()}

    def _found(self, settings: EngineSettings) -> EngineSettings:
        if isinstance(settings, OpenAISettings):
            return settings
        changes = {"model": resource(settings.model, self.base)}
        if isinstance(settings, VllmSettings) and settings.lora is not None:
            changes["lora"] = resource(settings.lora, self.base)
        return settings.model_copy(update=changes)

    def _vllm_hash(self, settings: VllmSettings, style: Style) -> str:
        """Over the files of model and adapter, and the settings that decide the texts."""
        adapter = settings.lora and resource(settings.lora, self.base)
        if adapter:
            rank_to_reserve(adapter)
        plain = settings.model_dump(exclude={"model", "lora", "gpu_memory_utilization"})
        files = [files_hash(resource(settings.model, self.base)), adapter and files_hash(adapter)]
        return f"vllm:{fingerprint_of([{**plain, 'style': style, 'files': files}])}"

    def _path(self, name: str) -> str:
        settings = self.recipe.engines.get(name)
        return resource(name if settings is None else settings.model, self.base)
