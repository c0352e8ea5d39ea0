"""What every stage of a run is given."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from constitutional.constitution import Constitution
from constitutional.engines import Engine, load_engine
from constitutional.inputs import Inputs, Model
from constitutional.recipe import Recipe
from constitutional.runs import Progress, RunFolder, fingerprint_of


@dataclass
class Context:
    """A run in progress. Engines are loaded at their first use and then shared."""

    recipe: Recipe
    inputs: Inputs
    run: RunFolder
    progress: Progress
    _engines: dict[str, Engine] = field(default_factory=dict)

    def engine(self, model: str) -> Engine:
        """The engine of a model folder or hub name."""
        if model not in self._engines:
            models = self.recipe.models
            self._engines[model] = load_engine(
                model,
                style=models.style,
                device=models.device,
                dtype=models.dtype,
                batch_size=models.batch_size,
            )
        return self._engines[model]

    @property
    def constitution(self) -> Constitution:
        """The constitution, in a stage that cannot be without one."""
        if self.inputs.constitution is None:
            raise ValueError("the recipe has no constitution")
        return self.inputs.constitution

    @property
    def helpful_model(self) -> Model:
        """The helpful-only model, in a stage that cannot be without one."""
        if self.inputs.helpful_model is None:
            raise ValueError("the recipe has no helpful model")
        return self.inputs.helpful_model

    def made_from(self, settings: Any, *engines: Engine, **more: str) -> dict[str, str]:
        """The fingerprints of all that a stage of records depends on, besides its items."""
        names = ("engine", *(f"engine {n}" for n in range(2, len(engines) + 1)))
        return {
            **{name: engine.fingerprint for name, engine in zip(names, engines, strict=False)},
            "batch_size": str(self.recipe.models.batch_size),
            "settings": fingerprint_of([settings]),
            "seed": str(self.recipe.seed),
            **more,
        }
