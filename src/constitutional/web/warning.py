"""The warning before red-team text: once in a session of the browser, by a plain form."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from constitutional.web.rendering import pages

_COOKIE, _SEEN = "cai_warned", "yes"


class NotWarned(Exception):
    """Whoever asks has not been warned yet."""


async def warned(request: Request) -> None:
    """A dependency of every page with text of prompts or models: raises NotWarned the first time.

    What is not a page of its own (a form that is sent, a stream) is no place for a warning: those
    who get there have seen one.
    """
    if request.method == "GET" and request.cookies.get(_COOKIE) != _SEEN:
        raise NotWarned


async def warn_first(request: Request, _: NotWarned) -> Response:
    """To the warning, and from there back to what was asked for."""
    url = request.url
    back = f"{url.path}?{url.query}" if url.query else url.path
    return RedirectResponse(f"/warning?{urlencode({'next': back})}", status_code=303)


async def show(request: Request) -> Response:
    """The warning."""
    return pages(request).page(request, "warning.html", next=_local(request))


async def accept(request: Request) -> Response:
    """Remembers that it was seen, until the browser is closed."""
    answer = RedirectResponse(_local(request), status_code=303)
    answer.set_cookie(_COOKIE, _SEEN, httponly=True, samesite="lax")
    return answer


def _local(request: Request) -> str:
    """The address to go on to, on this server whatever it says: one slash, no other machine."""
    asked = request.query_params.get("next", "/").lstrip("/\\")
    path, mark, query = asked.partition("?")
    return "/" + quote(path) + mark + quote(query, safe="=&%+,:;/")


def router() -> Any:
    """The routes of the warning."""
    routes = APIRouter()
    routes.add_api_route("/warning", show, methods=["GET"])
    routes.add_api_route("/warning", accept, methods=["POST"])
    return routes
