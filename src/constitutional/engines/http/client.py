"""Requests within the limits of an engine: at once, a minute, in dollars; retries; an account.

A request that waits to be sent again holds no place among those under way, so that a faulty server
costs what it takes to answer and little more.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Generic, TypeVar

from constitutional.engines.http.limits import Bucket, backoff
from constitutional.engines.http.official import Failure
from constitutional.engines.http.settings import OpenAISettings
from constitutional.engines.http.wire import Body, Request, prompt_end, tokens_of
from constitutional.errors import EngineError
from constitutional.runs.answers import AnswerLog
from constitutional.runs.usage import Usage

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

#: A server that asks for a longer wait than this is not waited for.
PATIENCE = 900.0
#: How often an answer that cannot be read is asked for again: it may have been paid for.
REREAD = 3
#: Seconds from which on the user is told of a wait, and between two such lines.
TOLD = 10.0
#: Characters of English in a token, roughly, for what a prompt will take of a token allowance.
_CHARACTERS = 4

#: Sends a body to a path of the server; raises Failure.
Post = Callable[[str, Body], Awaitable[Body]]
#: Finds in an answer, to a body that was sent, what it was asked for.
Read = Callable[[Body, Body], T]


def _to_stderr(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


@dataclass
class Client:
    """Sends requests within the limits of an engine and keeps its account.

    ``spent`` is what earlier sessions of the run have cost; ``record`` gets the account of each
    call; ``log`` keeps answers until their block is done; ``tell`` gets a sentence about a long
    wait. Clock, sleep and chance are given by tests.
    """

    who: str
    settings: OpenAISettings
    post: Post
    spent: float = 0.0
    record: Callable[[Usage], None] = lambda usage: None
    log: AnswerLog = field(default_factory=AnswerLog)
    tell: Callable[[str], None] = _to_stderr
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[object]] | None = None
    rng: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        limits = self.settings.limits
        self._requests = _bucket(limits.requests_per_minute, self.clock)
        self._tokens = _bucket(limits.tokens_per_minute, self.clock)
        self._usage = Usage()
        self._failures = 0
        self._told = -TOLD

    @property
    def where(self) -> str:
        """Who is asked, and at which address, for errors."""
        return f"{self.who} at {self.settings.base_url}"

    def ask(self, requests: Sequence[Request], read: Read[T], *, free: bool = False) -> list[T]:
        """What ``read`` finds in the answers, in order. The first failure ends those that wait.

        An answer in which it finds nothing, or what no answer holds, is asked for again. Raises
        EngineError. What was answered is in the account also then; ``free`` requests, which no
        model works on, are not.
        """
        found = self._ask(requests, _Call(read, free))
        return [each for each in found if each is not None]

    def ask_each(self, requests: Sequence[Request], read: Read[T]) -> list[T | None]:
        """The same, and None for each request that fails for good, up to ``max_failures``."""
        return self._ask(requests, _Call(read, may_fail=True))

    def _ask(self, requests: Sequence[Request], call: _Call[T]) -> list[T | None]:
        if not requests:
            return []
        keys = [self.log.key(self.settings.base_url, *request) for request in requests]
        try:
            return run_in_background(self._all(requests, keys, call))
        finally:
            usage, self._usage = self._usage, Usage()
            self.record(usage)
            self.log.counted()

    async def _all(
        self, requests: Sequence[Request], keys: Sequence[str], call: _Call[T]
    ) -> list[T | None]:
        call.begin(self.settings.limits.max_concurrency)
        work = [self._one(request, key, call) for request, key in zip(requests, keys, strict=True)]
        tasks = [asyncio.create_task(each) for each in work]
        try:
            _, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            call.stop.set()
            if rest:  # what is under way is paid for: it is waited for, and kept
                await asyncio.wait(rest)
        finally:
            for task in tasks:
                task.cancel()
        failed = [error for task in tasks if task.done() and (error := task.exception())]
        first = [error for error in failed if not isinstance(error, _Ended)]
        if failed:
            raise (first or failed)[0]
        return [task.result() for task in tasks]

    async def _one(self, request: Request, key: str, call: _Call[T]) -> T | None:
        kept = self.log.get(key)
        if kept is not None:
            if not kept.counted and not call.free:
                self._count(kept.answer)
            return call.read(kept.answer, request.body)
        attempt = 1
        while True:
            async with call.places:
                try:
                    return await self._try(request, key, call)
                except Failure as problem:
                    failure = problem
            if not self._again(failure, attempt):
                return self._given_up(failure, attempt, request, call)
            await self._wait(failure, attempt, call)
            attempt += 1

    async def _try(self, request: Request, key: str, call: _Call[T]) -> T:
        """Send a request once. Raises Failure, and EngineError where nothing more may be sent."""
        if call.stop.is_set():
            raise _Ended(f"{self.who}: another request of the same call failed")
        self._refuse_above_ceiling()
        estimate = 0.0 if call.free else _estimate(request.body)
        await self._wait_for_allowance(estimate, call)
        answer = await self.post(request.path, request.body)
        with reading():
            found = call.read(answer, request.body)
            if not call.free:
                self._count(answer, estimate)
        self.log.put(key, answer)
        return found

    async def _wait_for_allowance(self, estimate: float, call: _Call[T]) -> None:
        waits = [
            self._requests.take(1) if self._requests else 0.0,
            self._tokens.take(estimate) if self._tokens else 0.0,
        ]
        if max(waits) > 0:
            await self._pause(max(waits), "the requests and tokens a minute of 'limits'", call)

    def _again(self, failure: Failure, attempt: int) -> bool:
        most = self.settings.limits.retries
        return (
            failure.again
            and not (failure.after is not None and failure.after > PATIENCE)
            and attempt <= (min(REREAD, most) if failure.malformed else most)
        )

    async def _wait(self, failure: Failure, attempt: int, call: _Call[T]) -> None:
        self._usage += Usage(retries=1)
        if not failure.malformed:  # a server that answers needs no rest
            pause = backoff(attempt, failure.after, self.rng)
            again = f"try {attempt + 1} of {self.settings.limits.retries + 1} ({failure})"
            await self._pause(pause, again, call)

    async def _pause(self, seconds: float, before: str, call: _Call[T]) -> None:
        now = self.clock()
        if seconds >= TOLD and now - self._told >= TOLD:
            self._told = now
            self.tell(f"{self.where}: waits {seconds:.0f} s for {before}.")
        if self.sleep is not None:
            await self.sleep(seconds)
            return
        with suppress(TimeoutError):  # a wait ends when the call does
            await asyncio.wait_for(call.stop.wait(), seconds)

    def _given_up(
        self, failure: Failure, attempt: int, request: Request, call: _Call[T]
    ) -> T | None:
        """None where the request may fail; raises EngineError where the run has to stop."""
        tries = "" if attempt == 1 else f" (tried {attempt} times)"
        too_long = failure.after is not None and failure.after > PATIENCE
        asks = f"; it asks to wait {failure.after:.0f} s" if too_long else ""
        cause, most = f"{failure}{asks}{tries}", self.settings.limits.max_failures
        if call.may_fail and failure.alone and not too_long and self._failures < most:
            self._failures += 1
            self._usage += Usage(failures=1)
            self.log.fail(self.who, cause, prompt_end(request.body), request.seed)
            return None
        many = f"; {self._failures} others failed before it" if self._failures else ""
        raise EngineError(f"{self.where}: {cause}{many}")

    def _count(self, answer: Body, estimate: float = 0.0) -> None:
        tokens = tokens_of(answer)
        if self._tokens:
            self._tokens.take(tokens.prompt + tokens.completion - estimate)
        prices = self.settings.prices
        usd = None if prices is None else prices.usd(**tokens._asdict())
        self.spent += usd or 0.0
        self._usage += Usage(
            requests=1,
            prompt_tokens=tokens.prompt,
            cached_tokens=tokens.cached,
            completion_tokens=tokens.completion,
            usd=usd,
        )

    def _refuse_above_ceiling(self) -> None:
        ceiling = self.settings.limits.max_usd
        if ceiling is not None and self.spent >= ceiling:
            raise EngineError(
                f"{self.who} has cost {self.spent:.4f} dollars, and max_usd is {ceiling:g}: what "
                "is finished is kept; raise max_usd and give the same command to go on"
            )


@contextmanager
def reading() -> Iterator[None]:
    """Within, an answer is read; Failure is raised where it is not what was asked for."""
    try:
        yield
    except EngineError as error:
        raise Failure(str(error), again=True, malformed=True) from None
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise Failure(f"its answer lacks {error}", again=True, malformed=True) from None


class _Ended(EngineError):
    """A request that was not sent, because another one failed."""


class _Call(Generic[T_co]):
    """What the requests of one call share."""

    def __init__(self, read: Read[T_co], free: bool = False, *, may_fail: bool = False):
        self.read, self.free, self.may_fail = read, free, may_fail

    def begin(self, places: int) -> None:
        """Make what waits; in the event loop."""
        self.places, self.stop = asyncio.Semaphore(places), asyncio.Event()


def run_in_background(work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``, done in an event loop of its own thread.

    Not in a loop of this thread: there may be one already, as in a notebook. An interrupt ends it.
    """
    future = asyncio.run_coroutine_threadsafe(work, _loop(os.getpid()))
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


@cache
def _loop(process: int) -> asyncio.AbstractEventLoop:
    """The event loop of this process, in which all servers are asked; it ends with the process."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="requests to servers", daemon=True).start()
    return loop


def _bucket(per_minute: float | None, clock: Callable[[], float]) -> Bucket | None:
    return None if per_minute is None else Bucket(per_minute, clock)


def _estimate(body: Body) -> float:
    """Tokens that a request may take, before the server has counted them."""
    texts = [str(message["content"]) for message in body.get("messages", ())]
    prompt = body.get("prompt", "")
    length = len(prompt) * (_CHARACTERS if isinstance(prompt, list) else 1)
    asked = body.get("max_tokens") or body.get("max_completion_tokens") or 0
    return (length + sum(map(len, texts))) / _CHARACTERS + float(asked)
