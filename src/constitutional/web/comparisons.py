"""Comparisons: a list that can be ordered by disagreement, and each with all of its readings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from constitutional.constitution import Principle
from constitutional.feedback.verdicts import by_principle, in_order
from constitutional.reading.differences import Piece, differences
from constitutional.runs.records import Comparison, Reading
from constitutional.web.asking import FACETS, ON_A_PAGE, around, asked, record_asked_for
from constitutional.web.index.query import Score, facets, scored_arms, scores, search
from constitutional.web.index.rows import order_gap, principle_gap
from constitutional.web.rendering import pages
from constitutional.web.served import ServedRun, served_run
from constitutional.web.warning import warned

_ORDERS = {
    "number": "as in the run",
    "orders": "order against order",
    "principles": "principle against principle",
}
_SCORED = {"pm": "label against PM"}


class Row(NamedTuple):
    """A comparison in the list; gaps are from 0 to 1, None where there is nothing to compare."""

    at: int
    stage: str
    number: int
    comparison: Comparison
    order_gap: float | None
    principle_gap: float | None
    scores: Sequence[Score]


class Group(NamedTuple):
    """The readings by one principle, and their means in each order."""

    name: str
    principle: Principle | None
    readings: Sequence[Reading]
    ab: float | None
    ba: float | None

    @property
    def mean(self) -> float | None:
        """The mean of the orders that were read."""
        read = [p for p in (self.ab, self.ba) if p is not None]
        return sum(read) / len(read) if read else None

    @property
    def apart(self) -> float | None:
        """How far the two orders are apart; None where one was not read."""
        return None if self.ab is None or self.ba is None else abs(self.ab - self.ba)


def comparisons(request: Request) -> Response:
    """The list."""
    run = served_run(request)
    index = run.index.path
    arms = scored_arms(index)
    here = asked(request, "comparisons", arms)
    page = search(index, here.query, first=here.first, count=ON_A_PAGE)
    found_scores = scores(index, [found.row for found in page.records])
    rows = []
    for at, found in enumerate(page.records, start=here.first):
        record = run.read(found, Comparison)
        readings = record.readings
        gaps = order_gap(readings), principle_gap(readings)
        rows.append(
            Row(at, found.stage, found.number, record, *gaps, found_scores.get(found.row, ()))
        )
    return pages(request).page(
        request,
        "comparisons.html",
        served=run,
        asked=here,
        total=page.total,
        rows=rows,
        fields=FACETS["comparisons"],
        facets=facets(index, "comparisons"),
        orders=_ORDERS | (_SCORED if arms else {}),
        on_a_page=ON_A_PAGE,
    )


def comparison(request: Request) -> Response:
    """One comparison; ``show=differences`` marks how the second answer differs from the first."""
    run = served_run(request)
    index = run.index.path
    found = record_asked_for(request, run, "comparisons", request.path_params["stage"])
    here = asked(request, "comparisons", scored_arms(index))
    record = run.read(found, Comparison)
    pieces = None
    if request.query_params.get("show") == "differences":
        pieces = differences(record.a, record.b)
    return pages(request).page(
        request,
        "comparison.html",
        served=run,
        asked=here,
        around=around(run, here, found.row),
        stage=found.stage,
        number=found.number,
        comparison=record,
        groups=_groups(run, record),
        scores=scores(index, [found.row]).get(found.row, ()),
        pieces=pieces,
        sides=_sides(pieces),
    )


def _groups(run: ServedRun, comparison: Comparison) -> list[Group]:
    constitution = run.run.constitution
    principles = {} if constitution is None else {p.id: p for p in constitution.principles}
    return [
        Group(
            readings[0].principle,
            principles.get(readings[0].principle),
            readings,
            in_order(readings, "ab"),
            in_order(readings, "ba"),
        )
        for readings in by_principle(comparison.readings)
    ]


def _sides(pieces: Sequence[Piece] | None) -> tuple[Sequence[Piece], Sequence[Piece]]:
    """What each answer has: the first without what was added, the second without what is gone."""
    there = pieces or ()
    return (
        [piece for piece in there if piece.kind != "added"],
        [piece for piece in there if piece.kind != "removed"],
    )


def router() -> Any:
    """The routes of the comparisons."""
    routes = APIRouter(dependencies=[Depends(warned)])
    routes.add_api_route("/runs/{run}/comparisons", comparisons, methods=["GET"])
    routes.add_api_route("/runs/{run}/comparisons/{stage}/{number}", comparison, methods=["GET"])
    return routes
