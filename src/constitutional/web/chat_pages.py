"""The chat's pages: a message to several policies side by side.

With a script the answers come as they are written, as server-sent events; without one the same form
brings the whole page once all have answered. Nothing that was said is kept here: the page carries
the conversation.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fastapi import APIRouter, Depends
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from constitutional.errors import ConstitutionalError, InputError
from constitutional.reading import Run
from constitutional.web.chat.answering import (
    LONGEST_MESSAGE,
    MOST_ROUNDS,
    Asked,
    Event,
    Step,
    ask,
)
from constitutional.web.chat.form import Answered, ChatForm
from constitutional.web.chat.policies import Policies, Policy
from constitutional.web.rendering import Section, pages
from constitutional.web.warning import warned

_PATH = "/chat"
#: So many messages are answered at once; who comes later is asked to try again.
_AT_ONCE = 4


def chat_section(runs: Sequence[tuple[str, Run]]) -> Section:
    """The chat with the policies of ``runs``, each given with its name in addresses."""
    return Section("Chat", _PATH, ChatPages(runs).router())


class ChatPages:
    """The requests of the chat."""

    def __init__(self, runs: Sequence[tuple[str, Run]]):
        self._policies = Policies(runs)
        self._answering = 0

    def router(self) -> Any:
        """The routes; answers come after the warning."""
        routes = APIRouter()
        first = [Depends(warned)]
        routes.add_api_route(_PATH, self.show, methods=["GET"], dependencies=first)
        routes.add_api_route(_PATH, self.answer, methods=["POST"])
        routes.add_api_route(f"{_PATH}/stream", self.stream, methods=["POST"])
        return routes

    def show(self, request: Request) -> Response:
        """An empty conversation."""
        return self._page(request, ChatForm.empty(self._policies.known()))

    async def answer(self, request: Request) -> Response:
        """The whole page, once all have answered: for browsers without a script."""
        form = ChatForm()
        try:
            form = ChatForm.of((await request.form()).multi_items())
            asked, policies = await run_in_threadpool(self._asked, form)
            answered = Answered(policies)
            with self._turn():
                await run_in_threadpool(ask, policies, asked, answered.hear, threading.Event())
        except InputError as error:
            return self._page(request, form, said=str(error), status=400)
        after = form.after(answered.exchange(asked.message))
        return self._page(request, after, last=form, answered=answered)

    async def stream(self, request: Request) -> Response:
        """Events: ``step`` and ``trouble`` as they come, and in the end ``end`` or ``refused``."""
        given = (await request.form()).multi_items()
        return StreamingResponse(self._events(given), media_type="text/event-stream")

    async def _events(self, given: Sequence[tuple[str, object]]) -> AsyncIterator[str]:
        stopped = threading.Event()
        try:
            form = ChatForm.of(given)
            asked, policies = await run_in_threadpool(self._asked, form)
            answered = Answered(policies)
            with self._turn():
                async for event in _told(policies, asked, stopped):
                    answered.hear(event)
                    kind = "step" if isinstance(event, Step) else "trouble"
                    yield _line(kind, event.model_dump())
            exchange = answered.exchange(asked.message)
            after = form.after(exchange)
            yield _line("end", {"answered": exchange is not None, "before": after.carried})
        except ConstitutionalError as error:  # the answer has begun: no page can say it any more
            yield _line("refused", {"sentence": str(error)})
        finally:
            stopped.set()

    def _asked(self, form: ChatForm) -> tuple[Asked, list[Policy]]:
        return form.asked(self._policies.known())

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One of the few places in which a message is answered."""
        if self._answering >= _AT_ONCE:
            raise InputError(f"{_AT_ONCE} messages are being answered: try again in a moment")
        self._answering += 1
        try:
            yield
        finally:
            self._answering -= 1

    def _page(
        self,
        request: Request,
        form: ChatForm,
        *,
        last: ChatForm | None = None,
        answered: Answered | None = None,
        said: str = "",
        status: int = 200,
    ) -> Response:
        """The page with ``form``; ``last`` is the one that was just ``answered``."""
        policies = self._policies.known()
        return pages(request).page(
            request,
            "chat.html",
            status=status,
            form=form,
            last=last,
            answered=answered,
            said=said,
            policies=policies,
            can_revise=any(policy.run.can_revise for policy in policies.values()),
            most_rounds=MOST_ROUNDS,
            longest=LONGEST_MESSAGE,
        )


async def _told(
    policies: Sequence[Policy], asked: Asked, stopped: threading.Event
) -> AsyncIterator[Event]:
    """What the policies write, until all have ended; the newest text of each step is enough."""
    loop, news = asyncio.get_running_loop(), asyncio.Event()
    waiting: dict[tuple[str, int | None], Event] = {}

    def take(event: Event) -> None:
        waiting[event.policy, event.number if isinstance(event, Step) else None] = event
        news.set()

    def tell(event: Event) -> None:
        loop.call_soon_threadsafe(take, event)

    asking = asyncio.ensure_future(run_in_threadpool(ask, policies, asked, tell, stopped))
    asking.add_done_callback(lambda _: news.set())
    while not asking.done() or waiting:
        await news.wait()
        news.clear()
        told, waiting = waiting, {}
        for event in told.values():
            yield event
    await asking


def _line(kind: str, data: object) -> str:
    """A server-sent event."""
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n"
