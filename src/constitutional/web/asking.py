"""What a list of records was asked for, as it stands in an address; and the way back to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request

from constitutional.web.index import Found, Page, Query, Where
from constitutional.web.index.query import ORDERS, Table, find, search
from constitutional.web.served import ServedRun

#: Records on one page of a list.
ON_A_PAGE = 25
#: What a list can be narrowed by, with the words of its field.
FACETS: Mapping[Table, Mapping[str, str]] = {
    "chains": {
        "principle": "Principle",
        "first": "First answer",
        "last": "Last answer",
        "flag": "Flag",
        "score": "Harm score at the end",
        "tag": "Tag",
    },
    "comparisons": {
        "principle": "Principle",
        "label": "Label",
        "goal": "Goal",
        "labeller": "Labeller",
        "reading": "Readings",
        "tag": "Tag",
    },
}
#: Nobody types more.
_LONGEST = 300


@dataclass(frozen=True)
class Asked:
    """A query, and where in its answer one is: on ``page``, from 1, or at record ``at``, from 0."""

    query: Query
    page: int = 1
    at: int | None = None

    @property
    def first(self) -> int:
        """The number of the page's first record."""
        return (self.page - 1) * ON_A_PAGE

    def address(self, **changes: object) -> str:
        """The query string of this; ``changes`` replace parameters, None leaves one out."""
        where, order = self.query.where, self.query.order
        parameters: dict[str, object] = {
            "q": where.text or None,
            **where.labels,
            "order": None if order == "number" else order,
            "arm": self.query.arm if order == "pm" else None,
            **changes,
        }
        given = {name: value for name, value in parameters.items() if value is not None}
        return f"?{urlencode(given)}" if given else "?"

    def back(self) -> str:
        """The query string of the list's page that holds the record ``at``."""
        page = 1 if self.at is None else self.at // ON_A_PAGE + 1
        return self.address(page=page if page > 1 else None)


def asked(request: Request, table: Table, arms: Sequence[str] = ()) -> Asked:
    """What a request asks for. What makes no sense in an address counts as not given.

    ``arms`` are those whose preference models have scored; the first one unless another is named.
    """
    given = request.query_params
    labels = {facet: given[facet] for facet in FACETS[table] if given.get(facet)}
    order = given.get("order", "number")
    known = order in ORDERS[table] and (order != "pm" or bool(arms))
    arm = given.get("arm", "")
    query = Query(
        table,
        Where(given.get("q", "")[:_LONGEST], labels),
        order if known else "number",
        arm if arm in arms else next(iter(arms), None),
    )
    return Asked(query, page_number(request), _number(given.get("at")))


def page_number(request: Request) -> int:
    """The page that is asked for, from 1."""
    return max(1, _number(request.query_params.get("page")) or 1)


def around(run: ServedRun, here: Asked, row: int) -> tuple[Page, int] | None:
    """The records before and behind one, and the place of this one among them; None elsewhere.

    None too where the list has changed since the address was made, or there never was one.
    """
    if here.at is None:
        return None
    first = max(0, here.at - 1)
    page = search(run.index.path, here.query, first=first, count=here.at - first + 2)
    place = here.at - first
    found = page.records[place : place + 1]
    return (page, place) if found and found[0].row == row else None


def record_asked_for(request: Request, run: ServedRun, table: Table, stage: str) -> Found:
    """The record whose number an address ends in; 404 where there is none."""
    number = _number(str(request.path_params["number"]))
    found = None if number is None else find(run.index.path, table, stage, number)
    if found is None:
        raise HTTPException(404)
    return found


def _number(text: str | None) -> int | None:
    """A whole number of a size that a list can have; None for anything else."""
    fits = text is not None and text.isascii() and text.isdigit() and len(text) < 9
    return int(text) if fits and text is not None else None
