"""The official client, asked politely: limits, retries, a cost ceiling, an account, and no key in
any word that leaves this file.
"""

from __future__ import annotations

import importlib.util
import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

from constitutional.engines.http.limits import Bucket, backoff, retry_after
from constitutional.engines.http.settings import OpenAISettings
from constitutional.engines.http.wire import Body, Request, tokens_of
from constitutional.errors import EngineError, InputError, MissingExtraError
from constitutional.runs.usage import Usage

RETRIED = frozenset({408, 409, 429})
#: A server that asks for a longer wait than this is not waited for.
PATIENCE = 900.0
#: Characters of a server's message that are shown.
LONGEST = 300
#: Characters of English in a token, roughly, for what a prompt will take of a token allowance.
_CHARACTERS = 4


class Failure(Exception):
    """A request that brought no answer: why, and whether and when it may be sent again."""

    def __init__(self, why: str, *, again: bool, after: float | None = None):
        super().__init__(why)
        self.again, self.after = again, after


#: Sends a body to a path of the server; raises Failure.
Post = Callable[[str, Body], Body]


def api_key(settings: OpenAISettings) -> str | None:
    """The key from the environment. Raises InputError where the named variable is not set."""
    if settings.api_key_env is None:
        return None
    key = os.environ.get(settings.api_key_env)
    if not key:
        raise InputError(
            f"{settings.model} at {settings.base_url} needs a key in the environment variable "
            f"{settings.api_key_env} ('api_key_env'), which is not set: export it"
        )
    return key


def check_ready(settings: OpenAISettings) -> None:
    """Raise MissingExtraError or InputError where no request could be sent."""
    if importlib.util.find_spec("openai") is None:
        raise MissingExtraError("openai", "openai", "The engine of a server")
    api_key(settings)


class OfficialClient:
    """Posts through the `openai` package. Raises MissingExtraError and InputError when made."""

    def __init__(self, settings: OpenAISettings):
        check_ready(settings)
        import openai

        self._openai: Any = openai
        self._key = api_key(settings)
        self._timeout = settings.limits.timeout
        self._client = openai.OpenAI(
            api_key=self._key or "none",
            base_url=settings.base_url,
            timeout=self._timeout,
            max_retries=0,  # ours are counted, and wait as long as they are told to
        )

    def __call__(self, path: str, body: Body) -> Body:
        """The answer to ``body``; raises Failure."""
        openai = self._openai
        # Raised below and not in the handlers: the client's own exceptions carry the request with
        # its headers, and must not hang on ours.
        try:
            answer: Any = self._client.post(path, cast_to=object, body=body)
            if isinstance(answer, dict):
                return answer
            why, again, after = f"no JSON object: {answer!r}", False, None
        except openai.APIStatusError as error:
            why, again, after = _status(error)
        except openai.APITimeoutError:
            why, again, after = f"no answer within {self._timeout:g} s", True, None
        except openai.APIConnectionError as error:
            cause = type(error.__cause__).__name__ if error.__cause__ else "no connection"
            why, again, after = f"it cannot be reached, or broke off ({cause})", True, None
        except (openai.OpenAIError, ValueError) as error:
            why, again, after = f"its answer cannot be read ({type(error).__name__})", True, None
        # before it is cut short, or half of an echoed key would be left
        why = why if self._key is None else why.replace(self._key, "[key]")
        raise Failure(
            why if len(why) <= LONGEST else f"{why[:LONGEST]}...", again=again, after=after
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _status(error: Any) -> tuple[str, bool, float | None]:
    """Why a request was refused, whether it may be sent again, and after how many seconds."""
    body = error.body
    said = body.get("message") or body.get("detail") if isinstance(body, dict) else None
    said = " ".join(str(said or error.response.text).split())
    again = error.status_code in RETRIED or error.status_code >= 500
    if error.code == "insufficient_quota":
        again = False  # a 429 that no waiting cures
    why = f"status {error.status_code}: {said}" if said else f"status {error.status_code}"
    return why, again, retry_after(error.response.headers)


@dataclass
class Client:
    """Sends requests within the limits of an engine and keeps its account.

    ``spent`` is what earlier sessions of the run have cost; ``record`` gets the account of each
    call. Clock, sleep and chance are given by tests.
    """

    who: str
    settings: OpenAISettings
    post: Post
    spent: float = 0.0
    record: Callable[[Usage], None] = lambda usage: None
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] | None = None
    rng: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        limits = self.settings.limits
        self._requests = _bucket(limits.requests_per_minute, self.clock)
        self._tokens = _bucket(limits.tokens_per_minute, self.clock)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._pause = self.sleep or self._stop.wait  # a wait ends when the call does
        self._usage = Usage()

    def ask(self, requests: Sequence[Request], *, free: bool = False) -> list[Body]:
        """The answers, in order. The first failure ends all that are not under way.

        Raises EngineError. What was answered is in the account also then; ``free`` requests, which
        no model works on, are not.
        """
        if not requests:
            return []
        workers = min(self.settings.limits.max_concurrency, len(requests))
        pool = ThreadPoolExecutor(workers, thread_name_prefix="openai engine")
        self._stop.clear()
        try:
            futures = [pool.submit(self._one, request, free) for request in requests]
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
            return [future.result() for future in futures]
        finally:
            self._stop.set()
            pool.shutdown(cancel_futures=True)
            with self._lock:
                usage, self._usage = self._usage, Usage()
            self.record(usage)

    def _one(self, request: Request, free: bool) -> Body:
        estimate = 0.0 if free else _estimate(request.body)
        for attempt in range(1, self.settings.limits.retries + 2):
            if self._stop.is_set():
                raise EngineError(f"{self.who}: another request of the same call failed")
            self._refuse_above_ceiling()
            self._wait_for_allowance(estimate)
            try:
                answer = self.post(request.path, request.body)
            except Failure as failure:
                self._wait_or_give_up(failure, attempt)
                continue
            if not free:
                self._count(answer, estimate)
            return answer
        raise AssertionError("the last attempt returns or raises")

    def _wait_for_allowance(self, estimate: float) -> None:
        waits = [
            self._requests.take(1) if self._requests else 0.0,
            self._tokens.take(estimate) if self._tokens else 0.0,
        ]
        if max(waits) > 0:
            self._pause(max(waits))

    def _wait_or_give_up(self, failure: Failure, attempt: int) -> None:
        tries = "" if attempt == 1 else f" (tried {attempt} times)"
        too_long = failure.after is not None and failure.after > PATIENCE
        if not failure.again or too_long or attempt > self.settings.limits.retries:
            asks = f"; it asks to wait {failure.after:.0f} s" if too_long else ""
            where = f"{self.who} at {self.settings.base_url}"
            raise EngineError(f"{where}: {failure}{asks}{tries}") from None
        with self._lock:
            self._usage += Usage(retries=1)
            pause = backoff(attempt, failure.after, self.rng)
        self._pause(pause)

    def _count(self, answer: Body, estimate: float) -> None:
        try:
            tokens = tokens_of(answer)
        except EngineError as error:
            raise EngineError(f"{self.who} at {self.settings.base_url}: {error}") from None
        if self._tokens:
            self._tokens.take(tokens.prompt + tokens.completion - estimate)
        prices = self.settings.prices
        usd = None if prices is None else prices.usd(**tokens._asdict())
        with self._lock:
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


def _bucket(per_minute: float | None, clock: Callable[[], float]) -> Bucket | None:
    return None if per_minute is None else Bucket(per_minute, clock)


def _estimate(body: Body) -> float:
    """Tokens that a request may take, before the server has counted them."""
    texts = [str(message["content"]) for message in body.get("messages", ())]
    prompt = body.get("prompt", "")
    length = len(prompt) * (_CHARACTERS if isinstance(prompt, list) else 1)
    asked = body.get("max_tokens") or body.get("max_completion_tokens") or 0
    return (length + sum(map(len, texts))) / _CHARACTERS + float(asked)
