"""What a run asked of paid or shared servers: requests, tokens and money, by stage and engine.

``RUN/usage.json`` is written after every call of an engine, also of one that failed, so that the
account outlives a kill and a cost ceiling holds over all sessions of a run.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from constitutional.errors import RunFolderError
from constitutional.runs.copies import heal, write_twice
from constitutional.runs.files import explain

USAGE = "usage.json"
_OUTSIDE = "outside of stages"


class Usage(BaseModel):
    """What was asked of a server. ``usd`` is None where nobody gave a price."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Requests that were answered, and how often one was sent again.
    requests: int = 0
    retries: int = 0
    #: Requests that were given up.
    failures: int = 0
    #: ``cached_tokens`` are those of the prompt tokens that the server had in its cache.
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    usd: float | None = None

    def __add__(self, other: Usage) -> Usage:
        priced = [usage.usd for usage in (self, other) if usage.usd is not None]
        return Usage(
            requests=self.requests + other.requests,
            retries=self.retries + other.retries,
            failures=self.failures + other.failures,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            usd=sum(priced) if priced else None,
        )


class UsageBook:
    """The account of a run, kept in its folder."""

    def __init__(self, path: Path, tell: Callable[[str], None]):
        heal(path, tell)
        self._path = path
        self._stage = _OUTSIDE
        self._lock = threading.Lock()
        self._stages = _read(path)

    @contextmanager
    def during(self, stage: str) -> Iterator[None]:
        """What is added in the block belongs to ``stage``."""
        before, self._stage = self._stage, stage
        try:
            yield
        finally:
            self._stage = before

    def add(self, engine: str, usage: Usage) -> None:
        """Add to the account of ``engine`` in the present stage, and write it down."""
        if usage == Usage():
            return
        with self._lock:
            engines = self._stages.setdefault(self._stage, {})
            engines[engine] = engines.get(engine, Usage()) + usage
            text = json.dumps(self.as_json(), indent=2) + "\n"
            try:
                write_twice(self._path, text.encode())
            except OSError as error:
                raise explain(error, self._path) from error

    def of(self, engine: str) -> Usage:
        """All that an engine was asked, over all stages and sessions."""
        each = [engines[engine] for engines in self._stages.values() if engine in engines]
        return sum(each, Usage())

    def as_json(self) -> dict[str, dict[str, dict[str, int | float | None]]]:
        """Plain data: stage, engine, figures. Empty when no server was asked."""
        return {
            stage: {name: usage.model_dump() for name, usage in sorted(engines.items())}
            for stage, engines in sorted(self._stages.items())
        }


def _read(path: Path) -> dict[str, dict[str, Usage]]:
    if not path.exists():
        return {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return {
            stage: {name: Usage.model_validate(usage) for name, usage in engines.items()}
            for stage, engines in data.items()
        }
    except (OSError, ValueError, AttributeError, ValidationError):
        raise RunFolderError(
            f"{path} is no account of what servers were asked, nor is its copy: restore it, or "
            "delete it to count from nothing"
        ) from None
