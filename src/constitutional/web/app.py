"""The application: runs to look at, and the sections that others add."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

from constitutional.errors import MissingExtraError
from constitutional.web.security import Application, Guard

try:
    from fastapi import FastAPI
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import Response
except ImportError as error:
    raise MissingExtraError(error.name or "fastapi", "web", "cai serve") from error

from constitutional.errors import ConstitutionalError
from constitutional.web import chains, comparisons, overview, training, warning
from constitutional.web.rendering import Pages, Section, Statics, pages, say
from constitutional.web.served import ServedRun


def make_app(
    runs: Sequence[ServedRun],
    *,
    token: str | None = None,
    hosts: Iterable[str] = (),
    sections: Sequence[Section] = (),
) -> Application:
    """The application over ``runs``, for any ASGI server.

    Without a ``token`` it answers to this machine's own names and ``hosts`` alone; with one, only
    to requests that bring it. ``sections`` are shown beside the runs (see :class:`Section`).
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        for run in runs:
            run.start()
        yield
        for run in runs:
            run.stop()

    app = FastAPI(
        title="constitutional",
        lifespan=lifespan,
        openapi_url=None,
        redirect_slashes=False,
        exception_handlers={
            warning.NotWarned: warning.warn_first,
            ConstitutionalError: say(500),
            HTTPException: _http_error,
            Exception: _fault,
        },
    )
    statics = Statics()
    app.state.runs = {run.name: run for run in runs}
    app.state.pages = Pages({run.name: run.title for run in runs}, sections, statics)
    app.add_api_route("/static/{name}", statics, methods=["GET"])
    for part in (overview, chains, comparisons, training, warning):
        app.include_router(part.router())
    for section in sections:
        app.include_router(section.router)
    # around all of it: what FastAPI adds stands within its own answers to faults
    return Guard(
        app,
        refusal=app.state.pages.refusal,
        token=token,
        hosts=hosts,
        doors={section.path: section.door for section in sections if section.door is not None},
    )


async def _http_error(request: Request, error: HTTPException) -> Response:
    sentences = {404: "There is no such page.", 405: "This page takes no such request."}
    sentence = sentences.get(error.status_code, str(error.detail))
    return pages(request).page(request, "sorry.html", status=error.status_code, sentence=sentence)


async def _fault(request: Request, _: Exception) -> Response:
    sentence = "The program failed at this page. The terminal that it was started from says where."
    return pages(request).page(request, "sorry.html", status=500, sentence=sentence)
