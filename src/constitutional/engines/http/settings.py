"""Settings of the `openai` engine, apart from it so that a recipe is read without it."""

from __future__ import annotations

import hashlib
import json
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from constitutional.engines.base import Style
from constitutional.engines.http.dialects import DIALECTS, Dialect, ServerName, Way
from constitutional.refusal import refusal

#: Part of every fingerprint; raise it when the same settings would ask for other texts.
ENGINE_VERSION = "1"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Prices(_Section):
    """What a server charges, in US dollars for a million tokens."""

    prompt: float = Field(ge=0)
    completion: float = Field(ge=0)
    #: Prompt tokens that the server had in its cache; None where they cost like the others.
    cached_prompt: float | None = Field(default=None, ge=0)

    def usd(self, *, prompt: int, cached: int, completion: int) -> float:
        """The price of a request in dollars; ``cached`` of its ``prompt`` tokens were cached."""
        of_cached = self.prompt if self.cached_prompt is None else self.cached_prompt
        millionths = (prompt - cached) * self.prompt + cached * of_cached
        return (millionths + completion * self.completion) / 1e6


class Limits(_Section):
    """How hard a server is pressed, and what it may cost. They change no text, so a run may go on
    with others."""

    #: Requests under way at once.
    max_concurrency: int = Field(default=8, ge=1)
    requests_per_minute: float | None = Field(default=None, gt=0)
    #: Prompt and completion together; a prompt is estimated until the server has counted it.
    tokens_per_minute: float | None = Field(default=None, gt=0)
    #: Seconds that an answer may take, from looking up the address to its last byte.
    timeout: float = Field(default=120.0, gt=0)
    #: How often a request is sent again after 408, 409, 429, 5xx, a timeout or a lost connection.
    retries: int = Field(default=6, ge=0)
    #: Requests that may fail for good before the run stops; each leaves its place empty, marked so,
    #: and is written down with its cause. Other processes count their own.
    max_failures: int = Field(default=0, ge=0)
    #: The run stops, and keeps what it has, once this engine has cost so much.
    max_usd: float | None = Field(default=None, gt=0)

    def share(self, of: int, spent: float) -> Limits:
        """Those of one of so many clients, which together keep to these.

        Of what ``max_usd`` leaves after ``spent`` dollars, each gets an equal part. At least one
        request is under way at each, also where there are more clients than requests allowed.
        """

        def part(whole: float | None) -> float | None:
            return None if whole is None else whole / of

        ceiling = self.max_usd
        return self.model_copy(
            update={
                "max_concurrency": max(1, self.max_concurrency // of),
                "requests_per_minute": part(self.requests_per_minute),
                "tokens_per_minute": part(self.tokens_per_minute),
                "max_usd": None if ceiling is None else spent + max(0.0, ceiling - spent) / of,
            }
        )


class OpenAISettings(_Section):
    """A model behind a server that speaks OpenAI's protocol. Contradictions are refused."""

    engine: Literal["openai"]
    #: The name by which the server knows the model.
    model: str = Field(min_length=1)
    #: Up to and with ``/v1``, such as ``http://localhost:8000/v1``; never a key or a password.
    base_url: str
    #: The environment variable that holds the key; None where the server asks for none.
    api_key_env: str | None = None
    #: Which server it is, which decides what it is asked for and trusted with.
    server: ServerName = "other"
    #: ``auto`` is chat: a server does not tell whether its model has a chat template.
    style: Literal["auto", "transcript", "chat"] = "auto"
    #: A system prompt for every request of this engine; chat alone has a place for one.
    system: str | None = None
    #: How a choice such as (A) or (B) is asked for; never otherwise than is said here. ``auto`` is
    #: by log-probabilities: of the choice's tokens from vLLM, else of the likeliest tokens.
    choices: Literal["auto", Way] = "auto"
    #: How many of the likeliest tokens a server is asked for, where it cannot be asked for tokens.
    top_logprobs: int = Field(default=20, ge=2)
    #: Where the words stand that an answer begins with ("The answer is:"): in the assistant's turn,
    #: which the model continues, or at the end of the request, for servers that forbid that.
    answer_prefix: Literal["continue", "request"] = "continue"
    #: Sent to servers of reasoning models that take it, such as ``none`` or ``low``.
    reasoning_effort: str | None = None
    prices: Prices | None = None
    limits: Limits = Limits()

    @property
    def dialect(self) -> Dialect:
        """What this server takes."""
        return DIALECTS[self.server]

    @property
    def way(self) -> Way:
        """How choices are asked for, with ``auto`` resolved."""
        if self.choices != "auto":
            return self.choices
        # tokens stand after a begun answer, and a request has none
        return self.dialect.ways[0] if self.answer_prefix == "continue" else "logprobs"

    @property
    def resolved_style(self) -> Style:
        """The prompt form, with ``auto`` resolved."""
        return "transcript" if self.style == "transcript" else "chat"

    @property
    def fingerprint(self) -> str:
        """A sha256 over all that decides the texts; the server's weights are not seen."""
        plain = self.model_dump(mode="json", exclude={"api_key_env", "limits", "prices"})
        return hashlib.sha256(
            json.dumps([ENGINE_VERSION, plain], sort_keys=True).encode()
        ).hexdigest()

    def share(self, of: int, spent: float) -> OpenAISettings:
        """Those of one of so many clients; ``spent`` dollars are what the engine has cost."""
        return self.model_copy(update={"limits": self.limits.share(of, spent)})

    @field_validator("base_url")
    @classmethod
    def _plain_address(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise refusal(
                "'base_url' must be an address such as http://localhost:8000/v1, found "
                f"{'a text without one' if '@' in url else repr(url)}"
            )
        if "@" in parts.netloc or parts.query or parts.fragment:
            # not shown: it may hold a password
            raise refusal(
                "'base_url' must be without user, password and query, for it is written into the "
                "run: put a key into an environment variable and name that in 'api_key_env'"
            )
        return url.rstrip("/")

    @field_validator("api_key_env")
    @classmethod
    def _a_name(cls, name: str | None) -> str | None:
        if name is not None and not (name.isascii() and name.isidentifier()):
            # not shown: it may be the key itself
            raise refusal(
                "'api_key_env' must be the name of an environment variable (letters, digits, _), "
                "never the key"
            )
        return name

    @model_validator(mode="after")
    def _agree(self) -> OpenAISettings:
        if self.limits.max_usd is not None and self.prices is None:
            raise refusal(
                "'max_usd' needs 'prices' (dollars for a million tokens, prompt and completion)",
                "limits",
            )
        if self.resolved_style == "transcript":
            if self.system is not None:
                raise refusal("'system' is for style chat: a transcript has no place for it")
            if self.answer_prefix != "continue":
                raise refusal(
                    "'answer_prefix' is for style chat: a transcript is always continued",
                    "answer_prefix",
                )
        elif self.answer_prefix == "continue" and not self.dialect.continues:
            raise refusal(
                f"server {self.server!r} does not continue an answer that was begun for it: set "
                "answer_prefix: request, which puts its beginning at the end of the request",
                "answer_prefix",
            )
        if self.way not in self.dialect.ways:
            raise refusal(
                f"choices {self.choices!r} cannot be asked of server {self.server!r}: use one of "
                f"{', '.join(self.dialect.ways)}",
                "choices",
            )
        by_tokens = self.way in ("logprob_token_ids", "generative_scoring")
        if by_tokens and self.answer_prefix != "continue":
            raise refusal(
                f"choices {self.choices!r} stand after a begun answer: leave answer_prefix at "
                "continue, or set choices: logprobs",
                "choices",
            )
        return self
