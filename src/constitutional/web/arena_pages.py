"""The arena's pages: who votes, two answers side by side, and what the votes say.

All of it is links and forms; keys press the buttons where there is a script. A rater is known by a
cookie that a link or a name brought. Raters see no ratings while they vote: from how these move
they would learn which policy gave which answer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from constitutional.errors import InputError, MissingExtraError

try:
    import anyio.to_thread
    import python_multipart  # noqa: F401  # starlette reads forms by it, and asks for it late
    from fastapi import APIRouter, Depends
    from starlette.exceptions import HTTPException
    from starlette.requests import HTTPConnection, Request
    from starlette.responses import JSONResponse, RedirectResponse, Response
except ImportError as error:
    raise MissingExtraError(error.name or "fastapi", "web", "cai serve") from error

from constitutional.arena.box import Arena
from constitutional.arena.questions import QUESTIONS
from constitutional.arena.raters import find_rater, invite
from constitutional.arena.records import Choice, Goal, Judgement, Rater
from constitutional.arena.votes import AlreadyJudgedError
from constitutional.web.arena_results import shown_results
from constitutional.web.rendering import Section, pages
from constitutional.web.warning import warned

_PATH, _COOKIE = "/arena", "cai_rater"
_NINETY_DAYS = 90 * 24 * 3600
#: So many requests of raters are worked on at once; the others wait their turn, so that fifty take
#: no longer than they must. More threads would only fight for the interpreter.
_THREADS = 4
#: What a page may say about what was just done; the address names one of these and nothing else.
_SAID = {
    "already": "You had judged that pair already; the first vote stands.",
    "undone": "Taken back. Here is the pair again.",
    "unknown": "That link or token is nobody's. Ask whoever runs this arena for a new one.",
}
#: How a rater's button names an answer: by its place.
_PLACES = {"first": 0, "second": 1}


def arena_section(open_arena: Callable[[], Arena]) -> Section:
    """The arena beside the runs; it is opened when somebody first comes to it.

    Raters come in by links of their own, also where the application has a token. To see results and
    to make raters takes that token.
    """
    return Section("Arena", _PATH, ArenaPages(open_arena).router(), door=_raters_enter)


def _raters_enter(request: HTTPConnection) -> bool:
    # the pages behind this door ask for a rater themselves
    return request.url.path in (_PATH, f"{_PATH}/join", f"{_PATH}/leave") or (
        request.url.path.startswith((f"{_PATH}/vote/", f"{_PATH}/undo/"))
    )


class ArenaPages:
    """The requests of the arena."""

    def __init__(self, open_arena: Callable[[], Arena]):
        self._open, self._opening = open_arena, threading.Lock()
        self._opened: Arena | None = None
        self._threads = anyio.CapacityLimiter(_THREADS)

    def router(self) -> Any:
        """The routes; texts of prompts and answers come after the warning."""
        routes = APIRouter()
        routes.add_api_route(_PATH, self.entrance, methods=["GET"])
        routes.add_api_route(f"{_PATH}/raters", self.register, methods=["POST"])
        routes.add_api_route(f"{_PATH}/join", self.join, methods=["GET", "POST"])
        routes.add_api_route(f"{_PATH}/leave", self.leave, methods=["POST"])
        routes.add_api_route(f"{_PATH}/results", self.results, methods=["GET"])
        routes.add_api_route(f"{_PATH}/results/version", self.version, methods=["GET"])
        first = [Depends(warned)]
        routes.add_api_route(
            f"{_PATH}/vote/{{goal}}", self.ask, methods=["GET"], dependencies=first
        )
        routes.add_api_route(f"{_PATH}/vote/{{goal}}", self.vote, methods=["POST"])
        routes.add_api_route(f"{_PATH}/undo/{{goal}}", self.undo, methods=["POST"])
        return routes

    def entrance(self, request: Request) -> Response:
        """Who you are, and which question you take."""
        arena = self._arena()
        rater = self._rater(request, arena)
        turns = {} if rater is None else {goal: arena.turn(rater, goal) for goal in arena.goals}
        return pages(request).page(
            request,
            "arena.html",
            rater=rater,
            turns=turns,
            questions=QUESTIONS,
            said=_said(request),
        )

    async def register(self, request: Request) -> Response:
        """Somebody at this machine, or with the application's token, becomes a rater by a name."""
        name = str((await request.form()).get("name", ""))

        def enter() -> Response:
            token = invite(self._arena().database, name)
            return _known(request, token)

        return await self._done(request, enter)

    async def join(self, request: Request) -> Response:
        """Somebody with a link, or who typed its token, comes in."""
        given = request.query_params if request.method == "GET" else await request.form()
        token = str(given.get("rater", "")).strip()

        def enter() -> Response:
            if find_rater(self._arena().database, token) is None:
                return _to(f"{_PATH}?said=unknown")
            return _known(request, token)

        return await self._done(request, enter)

    async def leave(self, request: Request) -> Response:
        """This browser forgets who the rater is."""
        answer = _to(_PATH)
        answer.delete_cookie(_COOKIE, path=_PATH)
        return answer

    async def ask(self, request: Request) -> Response:
        """The next pair."""
        return await self._done(request, lambda: self._next(request))

    async def vote(self, request: Request) -> Response:
        """A vote, a tie or a skip; then the next pair."""
        form = await request.form()

        def count() -> Response:
            goal = self._goal(request)
            arena, rater = self._voting(request)
            try:
                arena.cast(_judgement(rater, {k: str(v) for k, v in form.items()}))
            except AlreadyJudgedError:
                return _to(f"{_PATH}/vote/{goal}?said=already")
            return _to(f"{_PATH}/vote/{goal}")

        return await self._done(request, count)

    async def undo(self, request: Request) -> Response:
        """A judgement is taken back; its pair comes again."""
        form = await request.form()

        def take_back() -> Response:
            goal = self._goal(request)
            arena, rater = self._voting(request)
            arena.take_back(rater, str(form.get("judgement", "")))
            return _to(f"{_PATH}/vote/{goal}?said=undone")

        return await self._done(request, take_back)

    def results(self, request: Request) -> Response:
        """Ratings, agreement and bias."""
        arena = self._arena()
        version, results = arena.results()
        return pages(request).page(
            request,
            "arena_results.html",
            version=version,
            goals=[shown_results(found) for found in results.goals],
            raters=results.raters,
            questions=QUESTIONS,
            pool=arena.pool,
        )

    def version(self, request: Request) -> Response:
        """What the script of the results asks, to see whether there is news."""
        return JSONResponse({"version": self._arena().results()[0]})

    def _next(self, request: Request) -> Response:
        arena, goal = self._arena(), self._goal(request)
        rater = self._rater(request, arena)
        if rater is None:
            return _to(_PATH)
        turn = arena.turn(rater, goal)
        return pages(request).page(
            request,
            "arena_vote.html",
            goal=goal,
            question=QUESTIONS[goal],
            rater=rater,
            turn=turn,
            last=None if turn.last is None else _in_words(turn.last),
            # made here, so that a doubled click and a form that is sent again are one vote
            vote=uuid4(),
            said=_said(request),
        )

    def _arena(self) -> Arena:
        with self._opening:
            if self._opened is None:
                self._opened = self._open()
            return self._opened

    def _goal(self, request: Request) -> Goal:
        for goal in self._arena().goals:
            if goal == request.path_params["goal"]:
                return goal
        raise HTTPException(404)

    def _rater(self, request: Request, arena: Arena) -> Rater | None:
        return find_rater(arena.database, request.cookies.get(_COOKIE))

    def _voting(self, request: Request) -> tuple[Arena, Rater]:
        arena = self._arena()
        rater = self._rater(request, arena)
        if rater is None:
            raise InputError("only raters vote: come in by your link, or say who you are first")
        return arena, rater

    async def _done(self, request: Request, do: Callable[[], Response]) -> Response:
        """What ``do`` answers, worked out beside the event loop; a sentence where it refuses."""
        try:
            return await anyio.to_thread.run_sync(do, limiter=self._threads)
        except InputError as error:
            return pages(request).page(request, "sorry.html", status=400, sentence=str(error))


def _judgement(rater: Rater, form: dict[str, str]) -> Judgement:
    shown = form.get("shown")
    choice = _choice(form.get("choice"), shown) if shown in ("ab", "ba") else None
    if choice is None:
        raise InputError("a vote names first, second, tie or skip: use the buttons of the page")
    return Judgement(
        form.get("vote", ""),
        rater.id,
        form.get("pair", ""),
        choice,
        "ab" if shown == "ab" else "ba",
    )


def _choice(button: str | None, shown: str) -> Choice | None:
    if button == "tie" or button == "skip":
        return "tie" if button == "tie" else "skip"
    if button not in _PLACES:
        return None
    return "a" if shown[_PLACES[button]] == "a" else "b"


def _in_words(judgement: Judgement) -> dict[str, str]:
    """The last judgement for its rater: its id, and what it was, by the places of the answers."""
    place = judgement.shown.find(judgement.choice)
    said = {"tie": "a tie", "skip": "skipped"}.get(judgement.choice, f"answer {place + 1}")
    return {"id": judgement.id, "said": said}


def _said(request: Request) -> str:
    return _SAID.get(request.query_params.get("said", ""), "")


def _to(address: str) -> RedirectResponse:
    return RedirectResponse(address, status_code=303)


def _known(request: Request, token: str) -> Response:
    answer = _to(_PATH)
    answer.set_cookie(
        _COOKIE,
        token,
        max_age=_NINETY_DAYS,
        path=_PATH,
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )
    return answer
