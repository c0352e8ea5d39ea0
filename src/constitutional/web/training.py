"""Training: the curves of each arm, also while it runs, and what its snapshots answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from constitutional.reading import Run, Training
from constitutional.report.names import stage_title
from constitutional.runs.records import Answer
from constitutional.web.asking import page_number
from constitutional.web.charts import Chart, Line, chart, points
from constitutional.web.formats import policy
from constitutional.web.rendering import pages
from constitutional.web.served import served_run
from constitutional.web.warning import warned

#: The charts by entry of the history, a second one dashed (``docs/metrics.md`` defines them).
_PANELS = {
    "Reward: raw score of the arm's preference model": ("reward",),
    "Score by the held-out preference model": ("reward_held_out",),
    "KL from the start in nats: k1, dashed k3": ("kl_k1", "kl_k3"),
    "Entropy, nats a token": ("entropy",),
    "Length in tokens": ("response_length",),
    "Share of answers that end": ("end_of_text_rate",),
    "Share clipped": ("clip_share",),
    "Explained variance of the values": ("explained_variance",),
    "Margin of the label's answer": ("margin",),
    "Agreement with the labels": ("agreement",),
}
#: Trainings that are no arm, with their losses.
_OTHERS = ("sft", "sl_cai", "preference_pretraining")
#: Prompts at a time under the curves.
_PROMPTS = 4


class Asked(NamedTuple):
    """A prompt, and what the policies along a training answered to it, in the order of steps."""

    first: Answer
    answers: Sequence[Answer]


def training(request: Request) -> Response:
    """The page; its part ``live`` is asked for again while the run goes on."""
    served = served_run(request)
    run = served.run
    trainings = [found for found in map(run.training, run.arms) if found is not None]
    page = page_number(request)
    prompts, last = _answers(run, page)
    return pages(request).page(
        request,
        "training.html",
        served=served,
        live=not run.finished,
        trainings=trainings,
        charts=_charts(trainings),
        losses=_losses(run),
        prompts=prompts,
        page=page,
        last=last,
    )


def _charts(trainings: Sequence[Training]) -> list[Chart]:
    found = []
    for title, keys in _PANELS.items():
        lines = [
            Line(_name(training.arm, key if dashed else ""), there, look, dashed=dashed)
            for look, training in enumerate(trainings)
            for dashed, key in zip((False, True), keys, strict=False)
            if (there := points(training.history, key))
        ]
        found.append(chart(title, lines))
    return [one for one in found if one is not None]


def _name(arm: str, key: str) -> str:
    return f"{policy(arm)}, {key.rpartition('_')[2]}" if key else policy(arm)


def _losses(run: Run) -> list[Chart]:
    stages = [stage.name for stage in run.stages]
    names = [name for name in stages if name in _OTHERS or name.startswith("preference_model_")]
    found = (
        chart(f"Loss: {stage_title(name)}", [Line("loss", run.losses(name))]) for name in names
    )
    return [one for one in found if one is not None]


def _answers(run: Run, page: int) -> tuple[list[Asked], int]:
    """Some of the evaluation prompts, red-team ones first, and how many pages of them there are.

    Policies that have not answered all prompts yet are left out.
    """
    tables = {policy: run.answers(policy) for policy in run.policies}
    prompts = max(map(len, tables.values()), default=0)
    whole = [table for table in tables.values() if len(table) == prompts]
    last = -(-prompts // _PROMPTS)
    numbers = range(prompts)[(min(page, last) - 1) * _PROMPTS :][:_PROMPTS]
    rows = [[table[number] for table in whole] for number in numbers]
    return [Asked(row[0], row) for row in rows], last


def router() -> Any:
    """The routes of the trainings."""
    routes = APIRouter(dependencies=[Depends(warned)])
    routes.add_api_route("/runs/{run}/training", training, methods=["GET"])
    return routes
