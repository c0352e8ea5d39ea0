"""The templates, and what every page has: navigation, styles, the script.

Everything that is put into a template is escaped, text of models first of all; no template marks
anything as safe.
"""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from constitutional.errors import ConstitutionalError
from constitutional.web import formats
from constitutional.web.security import Door

#: A year: the address changes with the contents.
_FOREVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class Section:
    """A part of the application: its routes, and its line in the navigation.

    ``path`` is the first part of the addresses of ``router``, such as ``/arena``. ``door`` lets
    requests below it in without the application's token, such as raters with links of their own.
    """

    title: str
    path: str
    router: Any
    door: Door | None = None


class Statics:
    """The files beside the templates, read once: no path from a request is ever opened."""

    def __init__(self) -> None:
        folder = resources.files("constitutional.web") / "static"
        self._files = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}

    def address(self, name: str) -> str:
        """Where a page finds the file; another address for other contents."""
        return f"/static/{name}?v={hashlib.sha256(self._files[name]).hexdigest()[:12]}"

    async def __call__(self, request: Request) -> Response:
        """The file of a request, or 404."""
        name = request.path_params["name"]
        if name not in self._files:
            return Response("not found", status_code=404, media_type="text/plain")
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        return Response(self._files[name], media_type=kind, headers={"Cache-Control": _FOREVER})


class Pages:
    """Renders the templates of ``constitutional/web/templates``.

    ``runs`` are the names of the runs by which their pages are addressed, with their titles.
    """

    def __init__(self, runs: Mapping[str, str], sections: Sequence[Section], statics: Statics):
        self._environment = Environment(
            loader=PackageLoader("constitutional.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._runs = runs
        self._environment.globals.update(
            runs=runs, sections=sections, static=statics.address, policy=formats.policy
        )
        self._environment.filters.update(formats.FILTERS)

    def page(
        self, request: Request, template: str, *, status: int = 200, **values: Any
    ) -> HTMLResponse:
        """A page; ``values`` are what its template asks for."""
        page = self._environment.get_template(template)
        here, run = request.url.path, request.path_params.get("run")
        # the page that says that there is no such run is a page too
        given = {"here": here, "run": run if run in self._runs else None, **values}
        # a model's text may hold half a character, which UTF-8 cannot carry
        text = page.render(**given).encode("utf-8", "replace")
        return HTMLResponse(text, status_code=status)

    def refusal(self, status: int, sentence: str) -> HTMLResponse:
        """The page of a request that is not answered."""
        page = self._environment.get_template("refused.html")
        return HTMLResponse(page.render(sentence=sentence, status=status), status_code=status)


def pages(request: Request) -> Pages:
    """The pages of the application that a request is for."""
    found: Pages = request.app.state.pages
    return found


def say(status: int) -> Any:
    """A handler that shows the sentence of one of our errors."""

    async def handle(request: Request, error: ConstitutionalError) -> Response:
        return pages(request).page(request, "sorry.html", status=status, sentence=str(error))

    return handle
