"""The extras that a recipe's models and trainings need, asked for before a run begins.

Engines and data sets ask for theirs when they are read, before anything is computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any, NamedTuple

from constitutional.errors import MissingExtraError
from constitutional.recipe.whole import Recipe


class Need(NamedTuple):
    """A package, the extra that installs it, and what of the recipe needs it."""

    package: str
    extra: str
    what: str


def check_extras(recipe: Recipe) -> None:
    """Raise MissingExtraError for the first package that the run would miss."""
    for need in _needs(recipe):
        if find_spec(need.package) is None:
            raise MissingExtraError(*need)


def _needs(recipe: Recipe) -> Iterator[Need]:
    if recipe.execution == "ray":
        yield Need("ray", "ray", "execution: ray")
    if recipe.models.quantize is not None:
        yield Need("bitsandbytes", "quant", "models.quantize")
    for name, training in _trainings(recipe):
        lora = getattr(training, "lora", None)
        if lora is not None:
            yield Need("peft", "lora", f"{name}.lora")
            if lora.quantize is not None:
                yield Need("bitsandbytes", "quant", f"{name}.lora.quantize")
    if recipe.rl is not None and recipe.rl.algorithm != "ppo":
        yield Need("trl", "trl", f"rl.algorithm {recipe.rl.algorithm}")


def _trainings(recipe: Recipe) -> Iterator[tuple[str, Any]]:
    """Those that the recipe runs, by their section."""
    yield "finetune", recipe.finetune
    rl, evaluation = recipe.rl, recipe.evaluation
    if rl is not None:
        yield "rl.pmp", rl.pmp
        yield "rl.preference", rl.preference
        yield f"rl.{rl.algorithm}", rl.training
    if evaluation is not None and evaluation.harm_score is not None:
        yield "evaluation.harm_score.training", evaluation.harm_score.training
