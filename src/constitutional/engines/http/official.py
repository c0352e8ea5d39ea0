"""The official client: where a key goes in, and no word comes out with the key in it."""

from __future__ import annotations

import asyncio
import importlib.util
import os
from typing import Any
from urllib.parse import quote

from constitutional.engines.http.limits import retry_after
from constitutional.engines.http.settings import OpenAISettings
from constitutional.engines.http.wire import Body
from constitutional.errors import InputError, MissingExtraError

#: Answers that may be other ones when the same is asked again.
RETRIED = frozenset({408, 409, 425, 429})
#: Answers that refuse the one request and say nothing of the others.
REFUSED = frozenset({400, 413, 422, 451})
#: Seconds for a connection; a server that is there takes much less.
CONNECT = 15.0
#: Characters of a server's message that are shown.
LONGEST = 300


class Failure(Exception):
    """A request that brought no answer, and why.

    ``again``: whether it may be sent again, and ``after`` how many seconds if the server says so;
    ``alone``: whether others may be answered all the same. ``malformed``: it was answered, and the
    answer cannot be read.
    """

    def __init__(
        self,
        why: str,
        *,
        again: bool,
        after: float | None = None,
        alone: bool | None = None,
        malformed: bool = False,
    ):
        super().__init__(why)
        self.again, self.after, self.malformed = again, after, malformed
        self.alone = again if alone is None else alone


def api_key(settings: OpenAISettings) -> str | None:
    """The key from the environment. Raises InputError where it is not set or cannot be sent."""
    if settings.api_key_env is None:
        return None
    key = os.environ.get(settings.api_key_env)
    if not key:
        raise InputError(
            f"{settings.model} at {settings.base_url} needs a key in the environment variable "
            f"{settings.api_key_env} ('api_key_env'), which is not set: export it"
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise InputError(
            f"the key in the environment variable {settings.api_key_env} holds a blank, a line "
            "break or another character that no key has: export it without"
        )
    return key


def check_ready(settings: OpenAISettings) -> None:
    """Raise MissingExtraError or InputError where no request could be sent."""
    if importlib.util.find_spec("openai") is None:
        raise MissingExtraError("openai", "openai", "The engine of a server")
    api_key(settings)


def redacted(said: Any, key: str | None) -> Any:
    """What a server said, texts in plain data, without the key that it may echo."""
    if key is None:
        return said
    if isinstance(said, str):
        return said.replace(key, "[key]").replace(quote(key, safe=""), "[key]")
    if isinstance(said, dict):
        return {redacted(name, key): redacted(value, key) for name, value in said.items()}
    if isinstance(said, list):
        return [redacted(value, key) for value in said]
    return said


class OfficialClient:
    """Posts through the `openai` package. Raises MissingExtraError and InputError when made."""

    def __init__(self, settings: OpenAISettings):
        check_ready(settings)
        import openai

        self._openai: Any = openai
        self._key = api_key(settings)
        self._timeout = settings.limits.timeout
        self._client = openai.AsyncOpenAI(
            api_key=self._key or "none",
            base_url=settings.base_url,
            timeout=openai.Timeout(self._timeout, connect=min(CONNECT, self._timeout)),
            max_retries=0,  # ours are counted, and wait as long as they are told to
            # prompts and key go where the recipe says, and nowhere else
            http_client=openai.DefaultAsyncHttpxClient(follow_redirects=False),
        )

    async def __call__(self, path: str, body: Body) -> Body:
        """The answer to ``body``, without the key; raises Failure."""
        # Raised below and not in the handlers: the client's own exceptions carry the request with
        # its headers, and must not hang on ours.
        failure = answer = None
        try:
            # its own limits are for each part of an answer, of which a slow server sends many
            async with asyncio.timeout(self._timeout):
                answer = await self._client.post(path, cast_to=object, body=body)
        except Exception as error:
            failure = self._explained(error)
        if failure is not None:
            raise failure
        if not isinstance(answer, dict):
            raise self._failure(f"no JSON object: {answer!r}", again=True, malformed=True)
        found: Body = redacted(answer, self._key)
        return found

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    def _explained(self, error: Exception) -> Failure:
        openai = self._openai
        late = f"no whole answer within {self._timeout:g} s"
        match error:
            case openai.APIStatusError():
                return self._status(error)
            case TimeoutError() | openai.APITimeoutError():
                return self._failure(late, again=True)
            case openai.APIConnectionError():
                cause = type(error.__cause__).__name__ if error.__cause__ else "no connection"
                return self._failure(f"it cannot be reached, or broke off ({cause})", again=True)
            case openai.OpenAIError() | ValueError():
                why = f"its answer cannot be read ({type(error).__name__})"
                return self._failure(why, again=True, malformed=True)
        raise error

    def _status(self, error: Any) -> Failure:
        body, status = error.body, error.status_code
        said = body.get("message") or body.get("detail") if isinstance(body, dict) else None
        said = " ".join(str(said or error.response.text).split())
        why = f"status {status}: {said}" if said else f"status {status}"
        if 300 <= status < 400:
            there = error.response.headers.get("location", "nowhere")
            why = f"status {status}: it sends to {there}: set that as base_url if it is right"
        if error.code == "insufficient_quota":  # a 429 that no waiting cures
            return self._failure(why, again=False)
        again = status in RETRIED or status >= 500
        after = retry_after(error.response.headers)
        return self._failure(why, again=again, after=after, alone=again or status in REFUSED)

    def _failure(self, why: str, **more: Any) -> Failure:
        # redacted before it is cut short, or half of an echoed key would be left
        why = redacted(why, self._key)
        return Failure(why if len(why) <= LONGEST else f"{why[:LONGEST]}...", **more)
