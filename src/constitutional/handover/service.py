"""A preference model as an HTTP service: ``/get_reward``, ``/score``, ``/health``, ``/metrics``.

The reward is the raw score less the stored mean of held-out answers, as PPO here is given it. A
request that is wrong gets a 4xx with ``{"detail": sentence}``; it neither stops the service nor
spoils the requests that it would have been scored with.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from constitutional.errors import ConstitutionalError, InputError, MissingExtraError
from constitutional.handover.batching import Batcher, Metrics, Overloaded, ScoringFailed
from constitutional.handover.protocol import (
    RewardRequest,
    ScoreRequest,
    answers_of,
    queries_of,
    read_body,
)
from constitutional.preference.combined import Item, logistic

if TYPE_CHECKING:
    from constitutional.preference.model import PreferenceModel

try:
    import uvicorn
    from fastapi import FastAPI, Request, Response
    from fastapi.responses import JSONResponse, PlainTextResponse
except ImportError as error:
    raise MissingExtraError(error.name or "fastapi", "serve", "cai serve-pm") from error

#: A longer body is refused.
MAX_BODY_BYTES = 16_000_000


class Service:
    """The endpoints over one preference model. Raises ModelError where it has no stored mean."""

    def __init__(self, model: PreferenceModel, *, max_body_bytes: int = MAX_BODY_BYTES):
        self._model, self._mean, self._limit = model, model.mean, max_body_bytes
        self.metrics = Metrics()
        self._batcher = Batcher(model.scores_of_tokens, self.metrics)
        added = model.tokenizer.added_tokens_decoder.values()
        self._special_tokens = [str(token) for token in added if token.special]

    def application(self) -> FastAPI:
        """The service for any ASGI server."""
        app = FastAPI(
            title="constitutional: preference model",
            lifespan=self._lifespan,
            openapi_url=None,
            exception_handlers={
                ConstitutionalError: _refusal(422),
                _TooLarge: _refusal(413),
                Overloaded: _refusal(503),
                ScoringFailed: _refusal(500),
            },
        )
        endpoints = {"/get_reward": self.get_reward, "/score": self.score}
        for path, endpoint in endpoints.items():
            app.add_api_route(path, endpoint, methods=["POST"])
        app.add_api_route("/health", self.health, methods=["GET"])
        app.add_api_route("/metrics", self.prometheus, methods=["GET"])
        known = {*endpoints, "/health", "/metrics"}

        async def count(request: Request, go_on: Callable[[Any], Awaitable[Any]]) -> Response:
            response = await go_on(request)
            path = request.url.path if request.url.path in known else "other"
            self.metrics.requests[path, response.status_code] += 1
            return response

        app.middleware("http")(count)
        return app

    async def get_reward(self, request: Request) -> Response:
        """OpenRLHF's remote reward model; ``scores`` are probabilities between 0 and 1."""
        tokenizer = self._model.tokenizer
        items = queries_of(
            read_body(await self._body(request), RewardRequest),
            style=self._model.card.style,
            special_tokens=self._special_tokens,
            rewritten=lambda text: str(
                tokenizer.decode(tokenizer.encode(text, add_special_tokens=False))
            ),
        )
        scores = await self._scores(items)
        rewards = [score - self._mean for score in scores]
        return JSONResponse(
            {
                "rewards": rewards,
                "scores": [logistic(reward) for reward in rewards],
                "extra_logs": {"pm_score": scores},
            }
        )

    async def score(self, request: Request) -> Response:
        """Answers with the messages before them."""
        scores = await self._scores(answers_of(read_body(await self._body(request), ScoreRequest)))
        return JSONResponse({"scores": scores, "rewards": [score - self._mean for score in scores]})

    async def health(self) -> Response:
        """That it runs, and what is served."""
        card = self._model.card
        return JSONResponse(
            {
                "status": "ok",
                "preference_model": Path(self._model.name).name,
                "style": card.style,
                "mean": card.mean,
                "deviation": card.deviation,
            }
        )

    async def prometheus(self) -> Response:
        """What was done since the start, for Prometheus."""
        return PlainTextResponse(self.metrics.text(), media_type="text/plain; version=0.0.4")

    async def _scores(self, items: Sequence[Item]) -> list[float]:
        rows = []
        for number, item in enumerate(items, start=1):
            row = self._model.tokens(item.conversation, item.response)
            if not self._model.fits(row):
                raise InputError(
                    f"answer {number} has {len(row)} tokens with its conversation, more than this "
                    "preference model reads: let the policy write less"
                )
            rows.append(row)
        return await self._batcher.scores(rows)

    async def _body(self, request: Request) -> bytes:
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > self._limit:
                raise _TooLarge(
                    f"the body has more than {self._limit} bytes: send fewer answers at a time"
                )
        return bytes(body)

    @asynccontextmanager
    async def _lifespan(self, _: Any) -> AsyncIterator[None]:
        task = asyncio.create_task(self._batcher.run())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class _TooLarge(Exception):
    """A body over the limit."""


def _refusal(status: int) -> Callable[[Any, Exception], Awaitable[Any]]:
    """A handler that answers with the error's sentence."""

    async def handle(_: Request, error: Exception) -> Response:
        return JSONResponse({"detail": str(error)}, status_code=status)

    return handle


def serve(
    model: PreferenceModel, *, host: str, port: int, tell: Callable[[str], None] = print
) -> None:
    """Serve until interrupted; ``tell`` gets the address once requests are taken.

    Raises InputError where the address cannot be listened at, ModelError where the model has no
    stored mean.
    """
    app = Service(model).application()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(
            f"{host}:{port} cannot be listened at ({why}): choose another --host or --port"
        ) from error
    tell(f"http://{host}:{listening.getsockname()[1]}")
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])
