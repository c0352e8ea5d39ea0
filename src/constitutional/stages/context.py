"""What every stage of a run is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from constitutional.constitution import Constitution, Principle
from constitutional.engines.pool import Engines, EngineSpecs
from constitutional.execution.base import Execution, Work
from constitutional.execution.here import Here
from constitutional.inputs import Inputs, Model
from constitutional.recipe import Recipe
from constitutional.runs import Progress, Records, RunFolder, fingerprint_of

T = TypeVar("T", bound=BaseModel)
R = TypeVar("R", bound=BaseModel)


@dataclass
class Context:
    """A run in progress. ``execution`` is where its work is done: in this process, or elsewhere."""

    recipe: Recipe
    inputs: Inputs
    run: RunFolder
    progress: Progress
    execution: Execution = field(default_factory=Here)

    @cached_property
    def engines(self) -> Engines:
        """The run's engines, by the names of the recipe, model folders and hub names."""
        models = self.recipe.models
        specs = EngineSpecs(
            self.inputs.engines,
            models.style,
            models.device,
            models.dtype,
            models.batch_size,
            models.quantize,
        )
        return Engines(specs, self.run.usage, self.run.answers)

    def records(
        self,
        name: str,
        *,
        made_from: dict[str, str],
        record_type: type[R],
        items: Sequence[T],
        work: Work[T, R],
        title: str,
    ) -> Records[R]:
        """A stage of records: one for each item, made by ``work`` wherever the run's work is done.

        ``made_from`` is all that they depend on, see :meth:`made_from`.
        """
        return self.run.stage_records(
            name,
            inputs=made_from,
            record_type=record_type,
            items=items,
            block_size=self.recipe.block,
            make=partial(self.execution.make, work, self.engines),
            progress=self.progress,
            title=title,
        )

    def train(self, train: Callable[..., Any], *args: Any, work: Path, **settings: Any) -> None:
        """Call a function that trains, wherever the run's work is done, with a ``progress``.

        What it is given has to be data; what it makes it leaves in ``work``.
        """
        training = partial(train, *args, work=work, **settings)
        self.execution.train(training, work, self.progress)

    @property
    def constitution(self) -> Constitution:
        """The constitution, in a stage that cannot be without one."""
        if self.inputs.constitution is None:
            raise ValueError("the recipe has no constitution")
        return self.inputs.constitution

    @cached_property
    def principles(self) -> dict[str, Principle]:
        """The constitution's principles by their ids."""
        return {principle.id: principle for principle in self.constitution.principles}

    @property
    def helpful_model(self) -> Model:
        """The helpful-only model, in a stage that cannot be without one."""
        if self.inputs.helpful_model is None:
            raise ValueError("the recipe has no helpful model")
        return self.inputs.helpful_model

    def made_from(self, settings: Any, *engines: str, **more: str) -> dict[str, str]:
        """The fingerprints of all that a stage of records depends on, besides its items.

        ``engines`` are the names of those that it asks.
        """
        names = ("engine", *(f"engine {n}" for n in range(2, len(engines) + 1)))
        marks = [self.engines.fingerprint(engine) for engine in engines]
        return {
            **dict(zip(names, marks, strict=False)),
            "batch_size": str(self.recipe.models.batch_size),
            "settings": fingerprint_of([settings]),
            "seed": str(self.recipe.seed),
            **more,
        }
