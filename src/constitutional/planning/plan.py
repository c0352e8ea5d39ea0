"""The plan of a recipe: every stage with its tokens, arithmetic, memory, time and disk."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from constitutional.planning.amounts import Amount, total
from constitutional.planning.api import api_of
from constitutional.planning.arithmetic import work_flops
from constitutional.planning.building import Build, Shapes
from constitutional.planning.hardware import USABLE, GPUs
from constitutional.planning.memory import (
    Memory,
    model_memory,
    trained_weights,
    training_weights,
    work_memory,
)
from constitutional.planning.sizes import Sizes
from constitutional.planning.speed import Rates, gpu_seconds
from constitutional.planning.stages import disk_of, stages_of
from constitutional.planning.work import BYTES, Stage
from constitutional.recipe import Recipe


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Target(_Record):
    """Where a run is to be: GPUs, or this machine with its ``memory`` and measured ``rates``."""

    gpus: GPUs | None = None
    memory: float | None = None
    rates: Rates | None = None

    @property
    def name(self) -> str:
        """Such as ``8 x H100``."""
        return "this machine" if self.gpus is None else f"{self.gpus.count} x {self.gpus.gpu.name}"

    @property
    def on_gpu(self) -> bool:
        """Whether it has GPUs."""
        return self.gpus is not None and not self.gpus.gpu.cpu

    @property
    def number(self) -> int:
        """Of devices between which a model is divided."""
        return 1 if self.gpus is None else self.gpus.count

    @property
    def room(self) -> float | None:
        """Bytes that a run can fill on each device; None where that is not known."""
        return self.memory if self.gpus is None else self.gpus.gpu.memory * USABLE


class StagePlan(_Record):
    """One stage. ``memory`` is of each device, in bytes; ``seconds`` None where not known."""

    name: str
    requests: Amount
    prompt_tokens: Amount
    new_tokens: Amount
    trained_tokens: Amount
    flops: Amount
    memory: Memory
    seconds: Amount | None
    disk: Amount


class Misfit(_Record):
    """A stage that needs more memory than a device has, and what would make it fit."""

    stage: str
    needs: Amount
    has: float
    remedies: tuple[str, ...]


class Plan(_Record):
    """What a run will take. ``disk_passing`` is needed besides while the largest stage runs.

    ``device_hours`` are GPU hours where ``on`` names GPUs. ``api_usd`` None is unknown, or nothing
    to pay (``api`` says which): never 0 for want of a price.
    """

    recipe: str
    on: str
    stages: tuple[StagePlan, ...]
    misfits: tuple[Misfit, ...]
    hours: Amount | None
    device_hours: Amount | None
    disk: Amount
    disk_passing: Amount
    api: str
    api_usd: Amount | None
    notes: tuple[str, ...]


def make_plan(
    recipe: Recipe,
    sizes: Sizes,
    shapes: Shapes,
    target: Target,
    *,
    notes: Sequence[str] = (),
) -> Plan:
    """The plan of ``recipe`` on ``target``."""
    from constitutional.planning.fitting import misfits

    build = build_of(recipe, sizes, shapes, target)
    stages = stages_of(build)
    memories = stage_memories(stages, target, recipe)
    plans = tuple(
        _stage_plan(stage, memory, target) for stage, memory in zip(stages, memories, strict=True)
    )
    known = [plan.seconds for plan in plans if plan.seconds is not None]
    hours = total(known) * (1 / 3600) if len(known) == len(plans) else None
    disk = disk_of(stages)
    api = api_of(shapes, stages)
    return Plan(
        recipe=recipe.name,
        on=target.name,
        stages=plans,
        misfits=tuple(misfits(build, plans, target)),
        hours=hours,
        device_hours=hours * target.number if hours is not None and target.on_gpu else None,
        disk=disk.kept,
        disk_passing=disk.passing,
        api=api.words,
        api_usd=api.usd,
        notes=tuple(notes),
    )


def build_of(recipe: Recipe, sizes: Sizes, shapes: Shapes, target: Target) -> Build:
    """What the stages are built from, with the number format that sampling will take."""
    gpu, dtype = target.on_gpu, recipe.models.dtype
    if dtype == "auto":
        dtype = "bfloat16" if gpu else "float32"
    return Build(recipe, sizes, shapes, dtype, gpu)


def stage_memories(
    stages: Sequence[Stage], target: Target, recipe: Recipe | None = None
) -> list[Memory]:
    """The memory of each device in each stage. Models that were loaded stay until a training or a
    policy's evaluation, which begin by letting them go. ``recipe`` says what is divided over the
    devices; without one all is."""
    loaded: dict[str, float] = {}
    memories = []
    for stage in stages:
        if stage.releases:
            loaded.clear()
        for name, shape, format in stage.loads:
            if shape.server is None:
                loaded.setdefault(name, model_memory(shape, format, stage.quantize))
        over = target.number if recipe is None else divided_over(stage, target, recipe)
        memories.append(_memory(stage, sum(loaded.values()), target, over))
    return memories


def divided_over(stage: Stage, target: Target, recipe: Recipe) -> int:
    """How many devices one copy of a stage's models is divided over.

    With section ``training`` each process of ``ddp`` and of PPO holds all of it, and with
    ``execution: ray`` each actor. What a recipe is silent about is taken as divided over all
    devices, as an engine that shards would do.
    """
    if any(work.kind == "train" for work in stage.works):
        ppo = any(work.critic for work in stage.works)
        whole = recipe.training is not None and (ppo or recipe.training.config == "ddp")
        return 1 if whole else target.number
    if recipe.execution == "ray":
        return min(max(1, int(recipe.ray.gpus)), target.number)
    return target.number


def _memory(stage: Stage, engines: float, target: Target, over: int) -> Memory:
    """Of the stage's largest work. Weights, their gradients and moments, and the cache are divided
    over so many devices, the examples of a training's step over all; of what is sampled each device
    has a batch of its own."""
    beside = sum(model_memory(shape, format, None) for shape, format in stage.beside)
    resident, gpu = engines + beside, target.on_gpu
    training = [work for work in stage.works if work.kind == "train"]
    found = []
    for work in stage.works:
        there = resident
        if work.kind != "train" and training:  # it samples with what it trains
            moments = 2 * trained_weights(training[0]) * BYTES["float32"]
            there += training_weights(training[0]) + moments
        if work.kind == "train":  # a step's examples are those of all devices together
            rows = math.ceil(work.batch / target.number)
            work = work.model_copy(update={"batch": rows})
        found.append(_divided(work_memory(work, there, gpu=gpu), over))
    return max(found, key=lambda memory: memory.peak.value)


def _divided(memory: Memory, number: int) -> Memory:
    share = 1 / number
    parts = {
        name: getattr(memory, name) * share
        for name in ("weights", "gradients", "optimiser", "kv_cache")
    }
    saved = {name: getattr(memory, name).value - part.value for name, part in parts.items()}
    less = sum(saved.values())
    low, value, high = memory.peak.ends
    floor = memory.activations.low
    low, value = max(floor, low - less), max(floor, value - less)
    peak = Amount(low=min(low, value), value=value, high=max(value, high - less))
    return Memory(**parts, activations=memory.activations, peak=peak)


def _stage_plan(stage: Stage, memory: Memory, target: Target) -> StagePlan:
    seconds = None
    if target.gpus is not None:
        seconds = total(gpu_seconds(work, target.gpus) for work in stage.works)
    elif target.rates is not None:
        seconds = total(target.rates.seconds(work) for work in stage.works)
    return StagePlan(
        name=stage.name,
        requests=stage.requests,
        prompt_tokens=stage.prompt_tokens,
        new_tokens=stage.new_tokens,
        trained_tokens=stage.trained_tokens,
        flops=total(work_flops(work) for work in stage.works),
        memory=memory,
        seconds=seconds,
        disk=stage.saved.kept,
    )
