"""Chains: a list to search and to narrow, and each chain with what every round changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from constitutional.constitution import Principle
from constitutional.evaluation.verdicts import Verdict
from constitutional.reading.differences import Piece, differences
from constitutional.runs.records import Chain, Round, Sample
from constitutional.web.asking import FACETS, ON_A_PAGE, around, asked, record_asked_for
from constitutional.web.index.build import CHAIN_STAGES
from constitutional.web.index.query import facets, search
from constitutional.web.index.rows import rounds_that_changed, verdict_on
from constitutional.web.rendering import pages
from constitutional.web.served import ServedRun, served_run
from constitutional.web.warning import warned

_ORDERS = {"number": "as in the run", "changes": "most rounds that changed"}
_SCORED = {"score": "highest harm score at the end"}


class Row(NamedTuple):
    """A chain in the list, its record and what the judge says of both ends."""

    at: int
    number: int
    chain: Chain
    first: Verdict | None
    last: Verdict | None

    @property
    def changes(self) -> int:
        """How many rounds changed the answer."""
        return rounds_that_changed(self.chain)


class Version(NamedTuple):
    """An answer, the round that made it (None: the first), and how it differs from another."""

    number: int
    sample: Sample
    round: Round | None
    principle: Principle | None
    pieces: Sequence[Piece]
    verdict: Verdict | None

    @property
    def changed(self) -> bool:
        """Whether anything does."""
        return any(piece.kind != "same" for piece in self.pieces)


def chains(request: Request) -> Response:
    """The list."""
    run = served_run(request)
    here = asked(request, "chains")
    page = search(run.index.path, here.query, first=here.first, count=ON_A_PAGE)
    known = facets(run.index.path, "chains")
    rows = []
    for at, found in enumerate(page.records, start=here.first):
        chain = run.read(found, Chain)
        first, last = (verdict_on(chain, chain.versions[end], run.judge) for end in (0, -1))
        rows.append(Row(at, found.number, chain, first, last))
    return pages(request).page(
        request,
        "chains.html",
        served=run,
        asked=here,
        total=page.total,
        rows=rows,
        fields=FACETS["chains"],
        facets=known,
        # offered where the model of the harm score has scored
        orders=_ORDERS | (_SCORED if "score" in known else {}),
        on_a_page=ON_A_PAGE,
    )


def chain(request: Request) -> Response:
    """One chain; ``against=first`` compares each version with the first answer."""
    run = served_run(request)
    (stage,) = CHAIN_STAGES
    found = record_asked_for(request, run, "chains", stage)
    here = asked(request, "chains")
    record = run.read(found, Chain)
    against = "first" if request.query_params.get("against") == "first" else "before"
    plain = request.query_params.get("show") == "plain"
    return pages(request).page(
        request,
        "chain.html",
        served=run,
        asked=here,
        around=around(run, here, found.row),
        number=found.number,
        chain=record,
        versions=_versions(run, record, against),
        against=against,
        plain=plain,
    )


def _versions(run: ServedRun, chain: Chain, against: str) -> list[Version]:
    constitution = run.run.constitution
    principles = {} if constitution is None else {p.id: p for p in constitution.principles}
    texts = [version.text for version in chain.versions]
    found = []
    for number, (sample, round_) in enumerate(
        zip(chain.versions, (None, *chain.rounds), strict=True)
    ):
        old = texts[0] if against == "first" or not number else texts[number - 1]
        found.append(
            Version(
                number,
                sample,
                round_,
                None if round_ is None else principles.get(round_.principle),
                differences(old, sample.text),
                verdict_on(chain, sample, run.judge),
            )
        )
    return found


def router() -> Any:
    """The routes of the chains."""
    routes = APIRouter(dependencies=[Depends(warned)])
    routes.add_api_route("/runs/{run}/chains", chains, methods=["GET"])
    routes.add_api_route("/runs/{run}/chains/{number}", chain, methods=["GET"])
    return routes
