"""From a recipe's file to its plan: shapes, sizes, and the machine it is planned for."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from constitutional.dialogue.presets import PRESETS
from constitutional.engines.http.settings import OpenAISettings
from constitutional.errors import ConstitutionalError, InputError, ModelError
from constitutional.inputs import Inputs, load_inputs
from constitutional.planning.amounts import amount, between
from constitutional.planning.assumed import assumed
from constitutional.planning.building import Shapes
from constitutional.planning.hardware import GPUs
from constitutional.planning.machine import hub, memory_bytes
from constitutional.planning.plan import Plan, Target, make_plan
from constitutional.planning.shape import ModelShape, Server, shape_of
from constitutional.planning.sizes import Sizes
from constitutional.recipe import SNAPSHOTS, Recipe, resource

#: ``owner/name``, with a data set's split behind a colon; a suffix of a file is none of the hub's.
_HUB_NAME = re.compile(
    r"[\w.-]+/[\w.-]+(?<!\.jsonl)(?<!\.json)(?<!\.csv)(?<!\.txt)(?<!\.parquet)(:\w+)?"
)


#: Requests that a choice takes of a server that cannot be asked for its tokens: one for each.
LETTERS = between(1, 2, 3)
_SIZES = ("layers", "width", "inner", "heads", "kv_heads", "head_size", "vocabulary")


class Known(NamedTuple):
    """What a plan is made from, and the sentences that say what it rests on."""

    sizes: Sizes
    shapes: Shapes
    target: Target
    notes: tuple[str, ...]


def plan_recipe(
    recipe: Recipe,
    base: Path,
    *,
    gpus: GPUs | None = None,
    shapes: Sequence[str] = (),
    calibrate: bool = False,
) -> Plan:
    """The plan of ``recipe``; see :func:`find_out`."""
    known = find_out(recipe, base, gpus=gpus, shapes=shapes, calibrate=calibrate)
    return make_plan(recipe, known.sizes, known.shapes, known.target, notes=known.notes)


def find_out(
    recipe: Recipe,
    base: Path,
    *,
    gpus: GPUs | None = None,
    shapes: Sequence[str] = (),
    calibrate: bool = False,
) -> Known:
    """What can be known of ``recipe``, whose paths are relative to ``base``, before it is run.

    ``shapes`` are ``NAME=WHAT`` for models that are not here. Prompts are read and tokenised where
    they are here; else their number is taken from the recipe's limits and their lengths are
    assumed, and a note says so. Raises a ConstitutionalError for what cannot be planned.
    """
    given = _given(shapes)
    found = _shapes(recipe, base, given)
    inputs, why = _inputs(recipe, base)
    notes: list[str] = []
    if inputs is None:
        notes.append(f"prompts are not here ({why}): counts by 'limit', lengths assumed")
        sizes = assumed(recipe, why)
    else:
        from constitutional.planning.counting import counted

        sizes = counted(recipe, inputs)
    rates = None
    if calibrate:
        if found.helpful is not None and found.helpful.server is not None:
            raise InputError("--calibrate measures models here, and 'helpful' is behind a server")
        if inputs is None:
            raise InputError(f"--calibrate needs the recipe's models and prompts: {why}")
        from constitutional.planning.calibration import calibrate as measure

        measured = measure(recipe, inputs, found.helpful or found.pretrained)
        rates = measured.rates
        sizes = sizes.model_copy(update={"new": measured.new})
        notes.append(f"lengths and rates were measured here for {measured.seconds:.0f} s")
    else:
        notes.append("lengths of new texts are assumed: 10 to 100% of max_new_tokens, half of it")
    target = Target(gpus=gpus, memory=memory_bytes(), rates=rates)
    return Known(sizes, found, target, (*notes, *_of_servers(found), *_how(target, recipe)))


def _of_servers(shapes: Shapes) -> Iterator[str]:
    for shape in shapes.served:
        where = (
            "its time is counted as on these GPUs"
            if shape.computes_here
            else "its operations and time are not counted"
        )
        yield f"engine {shape.name!r} is behind a server: {where}, its memory is not"


def _how(target: Target, recipe: Recipe) -> list[str]:
    if target.gpus is not None:
        notes = ["times are from data sheets and assumed shares of them; none was checked on a GPU"]
        if target.number > 1 and recipe.training is None:
            shared = "weights, gradients, optimiser, cache and the examples of a training's step"
            notes.append(f"{shared} are taken as divided over the GPUs")
        return notes
    if target.rates is None:
        return ["times are unknown: --gpu NAME:N takes a data sheet, --calibrate measures here"]
    return []


def _given(shapes: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in shapes:
        name, equals, what = text.partition("=")
        if not (name and equals and what):
            raise InputError(
                "--shape takes NAME=FILE or NAME=SIZE, such as my/model=config.json, "
                f"found {text!r}"
            )
        found[name] = what
    return found


def _shapes(recipe: Recipe, base: Path, given: Mapping[str, str]) -> Shapes:
    unused = set(given)

    def shape(name: str) -> ModelShape:
        unused.discard(name)
        settings = recipe.engines.get(name)
        if isinstance(settings, OpenAISettings):
            return _served(name, given.get(name) or settings.model, settings, votes)
        model = name if settings is None else settings.model
        return shape_of(given.get(name) or resource(model, base), as_written=name)

    votes = 1 if recipe.rl is None else recipe.rl.feedback.votes
    models = recipe.models
    pretrained = shape(models.pretrained)
    helpful = None if models.helpful is None else shape(models.helpful)
    known = {"pretrained": pretrained, models.pretrained: pretrained}
    if helpful is not None and models.helpful is not None:
        known |= {"helpful": helpful, models.helpful: helpful}

    def known_or_other(name: str) -> ModelShape:
        if name not in known:
            known[name] = shape(name)
        return known[name]

    rl, evaluation = recipe.rl, recipe.evaluation
    others = [] if rl is None else [name for name in rl.contrast if name != SNAPSHOTS]
    judge = None if evaluation is None or evaluation.ai_judge is None else evaluation.ai_judge.model
    labels = None if rl is None or rl.feedback_model == "pretrained" else rl.feedback_model
    found = Shapes(
        pretrained=pretrained,
        helpful=helpful,
        contrast=tuple((name, known_or_other(name)) for name in others),
        ai_judge=None if judge is None else known_or_other(judge),
        critic=None if models.critic is None else known_or_other(models.critic),
        feedback=None if labels is None else known_or_other(labels),
    )
    if unused:
        raise InputError(f"--shape: the recipe names no model {sorted(unused)[0]!r}")
    return found


def _served(name: str, model: str, settings: OpenAISettings, votes: int) -> ModelShape:
    """The shape of a model behind a server; one that is not known stands for a price alone."""
    each = {"votes": amount(votes), "logprobs": LETTERS}.get(settings.way, amount(1))
    server = Server(prices=settings.prices, requests_per_choice=each)
    try:
        return shape_of(model, as_written=name).model_copy(update={"server": server})
    except ModelError:
        least = dict.fromkeys(_SIZES, 1)
        server = server.model_copy(update={"shape_is_known": False})
        return ModelShape.model_validate({"name": name, "server": server, **least})


def _inputs(recipe: Recipe, base: Path) -> tuple[Inputs | None, str]:
    """What the run will read, or why it cannot be had: names on a hub that is not reachable."""
    if not any(_on_hub(name, base) for name in _names(recipe.model_dump(mode="json"))):
        return load_inputs(recipe, base), ""
    state = hub()
    if state != "reachable":
        # the libraries would go on trying for minutes; they read this when they are imported
        os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
    try:
        return load_inputs(recipe, base), ""
    except ConstitutionalError as error:
        if state == "reachable":
            raise
        return None, f"the hub is {state}: {error}"


def _names(section: dict[str, Any]) -> Iterator[str]:
    """Every model, file and data set that the recipe names."""
    if section.get("preset") and not section.get("file"):
        yield PRESETS[section["preset"]].hub or ""
    for key, value in section.items():
        if isinstance(value, dict):
            yield from _names(value)
        elif key in ("pretrained", "helpful", "model", "file", "contrast", "demonstrations"):
            yield from [value] if isinstance(value, str) else value or ()


def _on_hub(name: str, base: Path) -> bool:
    """Whether a name is none of a file here, and could be one of the hub's."""
    return _HUB_NAME.fullmatch(name) is not None and not Path(resource(name, base)).exists()
