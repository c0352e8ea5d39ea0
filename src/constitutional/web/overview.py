"""The first page of a run: what it is, how far it is, and what came out."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from constitutional.web.index.query import counts
from constitutional.web.rendering import pages
from constitutional.web.served import all_runs, served_run


def home(request: Request) -> Response:
    """The runs; the run itself where there is only one."""
    runs = all_runs(request)
    if len(runs) == 1:
        return RedirectResponse(f"/runs/{runs[0].name}", status_code=303)
    return pages(request).page(request, "runs.html", served=runs)


def overview(request: Request) -> Response:
    """A run."""
    served = served_run(request)
    run = served.run
    return pages(request).page(
        request,
        "overview.html",
        served=served,
        stages=run.stages,
        metrics=run.metrics,
        recipe=run.recipe,
        indexed=counts(served.index.path),
    )


def router() -> Any:
    """The routes of the overview."""
    routes = APIRouter()
    routes.add_api_route("/", home, methods=["GET"])
    routes.add_api_route("/runs/{run}", overview, methods=["GET"])
    return routes
