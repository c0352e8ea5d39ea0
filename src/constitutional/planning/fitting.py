"""What does not fit, and which keys of the recipe would make it fit: found by trying them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from constitutional.planning.building import Build
from constitutional.planning.plan import Misfit, StagePlan, Target, build_of, stage_memories
from constitutional.planning.stages import stages_of
from constitutional.planning.work import Stage
from constitutional.recipe import Recipe

#: Where to stop looking for a number of GPUs.
MOST_GPUS = 4096


def misfits(build: Build, plans: Sequence[StagePlan], target: Target) -> Iterator[Misfit]:
    """The stages whose estimate is above what a device has room for."""
    room = target.room
    if room is None:
        return
    stages = stages_of(build)
    for stage, plan in zip(stages, plans, strict=True):
        if plan.memory.peak.value > room:
            found = tuple(_remedies(build, stage, target))
            yield Misfit(stage=stage.name, needs=plan.memory.peak, has=room, remedies=found)


def _remedies(build: Build, stage: Stage, target: Target) -> Iterator[str]:
    """Each change alone that is enough, then the most of all together, then more GPUs."""
    alone = False
    smallest: dict[str, Any] = {}
    for changes in _ladders(build.recipe, stage):
        for change in changes:
            smallest |= change
            if _fits(build, change, stage.name, target):
                alone = True
                yield _words(change)
                break
    if not alone and smallest and _fits(build, smallest, stage.name, target):
        yield _words(smallest)
    if target.gpus is not None:
        number = target.gpus.count * 2
        while number <= MOST_GPUS:
            gpus = target.gpus.model_copy(update={"count": number})
            if _fits(build, {}, stage.name, target.model_copy(update={"gpus": gpus})):
                yield f"{number} x {gpus.gpu.name} in place of {target.name}"
                return
            number *= 2


def _ladders(recipe: Recipe, stage: Stage) -> Iterator[list[dict[str, Any]]]:
    """For each key that this stage's memory depends on, ever stronger changes of it."""
    trains = [work for work in stage.works if work.kind == "train"]
    if len(trains) < len(stage.works):
        size = recipe.models.batch_size
        yield [{"models.batch_size": size >> n} for n in range(1, size.bit_length())]
    if not trains:
        if recipe.models.dtype in ("auto", "float32"):
            yield [{"models.dtype": "bfloat16"}]
        return
    section = trains[0].section
    settings = _at(recipe.model_dump(mode="json"), section)
    if section == "evaluation":
        section, settings = "evaluation.harm_score.training", settings["harm_score"]["training"]
    if "minibatch_size" in settings:
        size = settings["minibatch_size"]
        yield [{f"{section}.minibatch_size": size >> n} for n in range(1, size.bit_length())]
        if section == "rl.ppo" and settings["lora"] is None:
            yield [{"rl.ppo.lora": {"rank": 16}}]
        return
    size, added = settings["batch_size"], settings["accumulate"]
    yield [
        {f"{section}.batch_size": size >> n, f"{section}.accumulate": added << n}
        for n in range(1, size.bit_length())
        if size % (1 << n) == 0
    ]
    if settings["lora"] is None:
        yield [{f"{section}.lora": {"rank": 16}}]
    length = settings["max_length"]
    yield [{f"{section}.max_length": length >> n} for n in range(1, 4) if length >> n >= 128]


def _fits(build: Build, changes: dict[str, Any], name: str, target: Target) -> bool:
    data = build.recipe.model_dump(mode="json")
    for key, value in changes.items():
        section, _, last = key.rpartition(".")
        _at(data, section)[last] = value
    try:
        recipe = Recipe.model_validate(data)
    except ValueError:  # a size that does not divide another
        return False
    changed = build_of(recipe, build.sizes, build.shapes, target)
    stages = stages_of(changed)
    for stage, memory in zip(stages, stage_memories(stages, target, build.recipe), strict=True):
        if stage.name == name:
            return target.room is not None and memory.peak.value <= target.room
    return False


def _at(data: dict[str, Any], section: str) -> dict[str, Any]:
    for key in section.split("."):
        data = data[key]
    return data


def _words(changes: dict[str, Any]) -> str:
    return ", ".join(f"{key}: {_value(value)}" for key, value in changes.items())


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {v}" for k, v in value.items()) + "}"
    return str(value)
