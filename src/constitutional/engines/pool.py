"""The engines of a run by name: what they are as plain data, and those loaded in this process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, Protocol

from constitutional.engines import load_engine
from constitutional.engines.base import Engine, Quantize
from constitutional.engines.http.settings import OpenAISettings
from constitutional.engines.settings import EngineSettings
from constitutional.engines.system import SystemPrompted
from constitutional.engines.vllm.settings import VllmSettings
from constitutional.errors import EngineError
from constitutional.runs.answers import AnswerLog
from constitutional.runs.usage import Usage


class Account(Protocol):
    """What servers were asked; a run's is :class:`~constitutional.runs.usage.UsageBook`."""

    def of(self, engine: str) -> Usage:
        """All that an engine was asked so far."""
        ...

    def add(self, engine: str, usage: Usage) -> None:
        """Add to the account of an engine."""
        ...


@dataclass(frozen=True)
class EngineSpecs:
    """How the engines of a run are loaded: data that can be sent to another process.

    A name that is not among ``named`` is a model folder or a name on the hub. ``expected`` are
    fingerprints that engines must have, where another process has taken them.
    """

    named: Mapping[str, EngineSettings]
    style: Literal["auto", "transcript", "chat"]
    device: str
    dtype: str
    batch_size: int
    quantize: Quantize | None = None
    expected: Mapping[str, str] = field(default_factory=dict)

    def share(self, of: int, spent: Account) -> Mapping[str, EngineSettings]:
        """The settings for one of so many processes, whose limits add up to those of the run."""
        return {
            name: settings.share(of, spent.of(name).usd or 0.0)
            if isinstance(settings, OpenAISettings)
            else settings
            for name, settings in self.named.items()
        }


class Engines:
    """Engines by name, loaded at their first use and then shared.

    What servers are asked is added to ``account``; their answers are kept in ``log`` until the
    block that they are for is done.
    """

    def __init__(self, specs: EngineSpecs, account: Account, log: AnswerLog | None = None):
        self.specs = specs
        self.account = account
        self._log = log
        self._loaded: dict[str, Engine] = {}
        self._fingerprints: dict[str, str] = {}

    def __getitem__(self, name: str) -> Engine:
        """The engine of that name in the recipe, or of a model folder or hub name."""
        if name not in self._loaded:
            engine = self._load(name)
            expected = self.specs.expected.get(name)
            if expected not in (None, engine.fingerprint):
                raise EngineError(
                    f"{engine.name} ({name}) is here not what it is where the run was started: its "
                    "weights, tokenizer or number format differ; give every machine the same files "
                    "and set models.dtype"
                )
            self._loaded[name] = engine
        return self._loaded[name]

    def fingerprint(self, name: str) -> str:
        """The engine's; it is kept when the engine is released."""
        if name not in self._fingerprints:
            self._fingerprints[name] = self[name].fingerprint
        return self._fingerprints[name]

    @property
    def fingerprints(self) -> dict[str, str]:
        """Those asked for so far, by name."""
        return dict(self._fingerprints)

    def release(self) -> None:
        """Let go of the models in this process, so that what comes next has their memory.

        Each is loaded again at its next use. Servers stay connected.
        """
        for name, engine in list(self._loaded.items()):
            if not isinstance(self.specs.named.get(name), OpenAISettings):
                engine.close()
                del self._loaded[name]

    def _load(self, name: str) -> Engine:
        settings = self.specs.named.get(name)
        if isinstance(settings, OpenAISettings):
            return self._server(name, settings)
        if isinstance(settings, VllmSettings):
            from constitutional.engines.vllm.engine import VllmEngine

            return VllmEngine(settings)
        if settings is None:
            return self._local(name, self.specs.style)
        engine = self._local(settings.model, settings.style)
        return engine if settings.system is None else SystemPrompted(engine, settings.system)

    def _local(self, model: str, style: Literal["auto", "transcript", "chat"]) -> Engine:
        specs = self.specs
        return load_engine(
            model,
            style=style,
            device=specs.device,
            dtype=specs.dtype,
            batch_size=specs.batch_size,
            quantize=specs.quantize,
        )

    def _server(self, name: str, settings: OpenAISettings) -> Engine:
        from constitutional.engines.http import OpenAIEngine

        return OpenAIEngine(
            settings,
            who=f"engine {name!r} ({settings.model})",
            spent=self.account.of(name).usd or 0.0,
            record=partial(self.account.add, name),
            log=self._log,
        )
