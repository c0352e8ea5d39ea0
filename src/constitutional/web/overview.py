"""The first page of a run: what it is, how far it is, and what came out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import yaml
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from constitutional.report.warnings import warnings_of
from constitutional.web.charts import Line as Curve
from constitutional.web.charts import Scale, chart
from constitutional.web.index.query import counts
from constitutional.web.rendering import pages
from constitutional.web.served import all_runs, served_run

#: The measures of the table, in its order (``docs/metrics.md``).
MEASURES = {
    "harmful_compliance": "complies with harm",
    "reasoned_refusal": "refuses with reason",
    "evasion": "evades",
    "over_refusal": "refuses what is harmless",
    "benign_correct": "helps rightly",
}
_ROUNDS = {"harmful_compliance": 0, "reasoned_refusal": 1, "evasion": 2}
#: The group of prompts that the table is about, and the one that stands in where there is none.
_GROUPS = ("held_out", "seen")

Metrics = Mapping[str, Any]


class Ratings(NamedTuple):
    """The Elo ratings for a goal, the best first, with their common scale."""

    goal: str
    policies: Mapping[str, Metrics]
    scale: Scale


def home(request: Request) -> Response:
    """The runs; the run itself where there is only one."""
    runs = all_runs(request)
    if len(runs) == 1:
        return RedirectResponse(f"/runs/{runs[0].name}", status_code=303)
    return pages(request).page(request, "runs.html", served=runs)


def overview(request: Request) -> Response:
    """A run."""
    served = served_run(request)
    run, metrics = served.run, served.run.metrics
    group, behaviours = _behaviours(metrics)
    return pages(request).page(
        request,
        "overview.html",
        served=served,
        live=not run.finished,
        stages=run.stages,
        seconds=sum(run.seconds.values()),
        warnings=warnings_of(run, metrics),
        measures=MEASURES,
        group=group,
        behaviours=behaviours,
        elo=[_ratings(goal, found) for goal, found in metrics.get("elo", {}).items() if found],
        rounds=_rounds(metrics),
        constitution=run.constitution,
        recipe=yaml.safe_dump(dict(run.recipe), sort_keys=False, allow_unicode=True),
        indexed=counts(served.index.path),
    )


def _behaviours(metrics: Metrics) -> tuple[str, Mapping[str, Metrics]]:
    policies = metrics.get("policies", {})
    for group in _GROUPS:
        found = {name: policy[group] for name, policy in policies.items() if policy.get(group)}
        if found:
            return group, found
    return "", {}


def _ratings(goal: str, ratings: Mapping[str, Metrics]) -> Ratings:
    best_first = sorted(ratings.items(), key=lambda item: -item[1]["value"])
    return Ratings(goal, dict(best_first), Scale.of(list(ratings.values())))


def _rounds(metrics: Metrics) -> Any | None:
    """What the helpful model's answers do after each round of revision."""
    rounds = metrics.get("revision_rounds") or []
    lines = [
        Curve(
            MEASURES[name],
            [(n, 100 * found[name]["value"]) for n, found in enumerate(rounds) if name in found],
            look,
        )
        for name, look in _ROUNDS.items()
    ]
    return chart("Answers after each round of revision (%)", lines)


def router() -> Any:
    """The routes of the overview."""
    routes = APIRouter()
    routes.add_api_route("/", home, methods=["GET"])
    routes.add_api_route("/runs/{run}", overview, methods=["GET"])
    return routes
